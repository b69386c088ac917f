#include "services/diff/file_attributes.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace gantry::services {

std::string FdPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

bool IsLayerXattr(absl::string_view name) {
  return !absl::StartsWith(name, "trusted.overlay.") && !absl::StartsWith(name, "user.overlay.");
}

absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd) {
  std::map<std::string, std::string> xattrs;
  std::string path = FdPath(fd);
  std::vector<char> names(4096);
  ssize_t size = listxattr(path.c_str(), names.data(), names.size());
  if (size < 0 && errno == ERANGE) {
    names.resize(XATTR_LIST_MAX);
    size = listxattr(path.c_str(), names.data(), names.size());
  }
  if (size < 0 && (errno == EOPNOTSUPP || errno == EPERM)) return xattrs;
  if (size < 0) return base::ErrnoStatus(errno, "list extended attributes");
  std::vector<char> value(XATTR_SIZE_MAX);
  absl::string_view list(names.data(), static_cast<size_t>(size));
  for (absl::string_view name : absl::StrSplit(list, '\0', absl::SkipEmpty())) {
    if (!IsLayerXattr(name)) continue;
    ssize_t n = getxattr(path.c_str(), std::string(name).c_str(), value.data(), value.size());
    if (n < 0 && (errno == ENODATA || errno == EOPNOTSUPP)) continue;
    if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("read extended attribute ", name));
    xattrs.emplace(name, std::string(value.data(), static_cast<size_t>(n)));
  }
  return xattrs;
}

absl::Status WriteXattrs(int fd, const std::map<std::string, std::string>& xattrs) {
  for (const auto& [name, value] : xattrs) {
    if (!IsLayerXattr(name)) continue;
    if (setxattr(FdPath(fd).c_str(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    bool ignored = errno == EOPNOTSUPP || (errno == EPERM && absl::StartsWith(name, "user."));
    if (!ignored) return base::ErrnoStatus(errno, absl::StrCat("set extended attribute ", name));
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
