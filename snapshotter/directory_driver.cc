#include "snapshotter/directory_driver.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::snapshotter {
namespace {

constexpr char kUidMappingLabel[] = "containerd.io/snapshot/uidmapping";
constexpr char kGidMappingLabel[] = "containerd.io/snapshot/gidmapping";
constexpr uint64_t kMaxId = 0xfffffffeu;  // (uid_t)-1 means "leave it" to chown

absl::StatusOr<std::optional<uint32_t>> MappedRoot(const Spec& spec, const char* label) {
  auto it = spec.labels.find(label);
  if (it == spec.labels.end() || it->second.empty()) return std::optional<uint32_t>();
  absl::StatusOr<uint32_t> id = MapRootId(it->second);
  if (!id.ok()) return base::Annotate(id.status(), absl::StrCat("label ", label));
  return std::optional<uint32_t>(*id);
}

}  // namespace

absl::Status ValidateId(absl::string_view id) {
  bool digits = std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits && !id.empty() && id.size() <= 20) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("snapshot id \"", id, "\" is not a number"));
}

absl::StatusOr<uint32_t> MapRootId(absl::string_view mapping) {
  for (absl::string_view range : absl::StrSplit(mapping, ',')) {
    std::vector<absl::string_view> parts = absl::StrSplit(range, ':');
    if (parts.size() != 3) {
      return absl::InvalidArgumentError(
          absl::StrCat("id mapping \"", range, "\" is not CONTAINER:HOST:SIZE"));
    }
    GANTRY_ASSIGN_OR_RETURN(uint64_t container, base::ParseDecimal(parts[0], kMaxId));
    GANTRY_ASSIGN_OR_RETURN(uint64_t host, base::ParseDecimal(parts[1], kMaxId));
    GANTRY_ASSIGN_OR_RETURN(uint64_t size, base::ParseDecimal(parts[2], kMaxId));
    if (container == 0 && size > 0) return static_cast<uint32_t>(host);
  }
  return absl::InvalidArgumentError(absl::StrCat("id mapping \"", mapping, "\" does not map 0"));
}

absl::Status DirectoryDriver::OpenRoot(const DriverConfig& config) {
  config_ = config;
  const std::string& root = config.root;
  if (!absl::StartsWith(root, "/") || root.find_first_of(",:\\\n") != std::string::npos) {
    return absl::FailedPreconditionError(
        absl::StrCat("snapshotter root \"", root,
                     "\": must be absolute and free of ',', ':' and '\\' (they cannot be passed in "
                     "overlay mount options); configure another root_path"));
  }
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(root, 0700));
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(root + "/snapshots", 0700));
  GANTRY_ASSIGN_OR_RETURN(snapshots_, base::Open(root + "/snapshots", O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(trash_, Trash::Open(root + "/trash"));
  return absl::OkStatus();
}

std::string DirectoryDriver::PathOf(absl::string_view path) const {
  return absl::StrCat(config_.root, "/snapshots/", path);
}

absl::Status DirectoryDriver::MakeDirAt(int dir_fd, const std::string& path, mode_t mode) {
  if (mkdirat(dir_fd, path.c_str(), mode) != 0 || fchmodat(dir_fd, path.c_str(), mode, 0) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("make snapshot directory ", path));
  return absl::OkStatus();
}

absl::StatusOr<struct stat> DirectoryDriver::Stat(const std::string& path) const {
  struct stat st;
  if (fstatat(snapshots_fd(), path.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("stat ", PathOf(path)));
  return st;
}

absl::Status DirectoryDriver::InheritRoot(const Spec& spec, const std::string& parent_path,
                                          const std::string& path) const {
  GANTRY_ASSIGN_OR_RETURN(std::optional<uint32_t> uid, MappedRoot(spec, kUidMappingLabel));
  GANTRY_ASSIGN_OR_RETURN(std::optional<uint32_t> gid, MappedRoot(spec, kGidMappingLabel));
  mode_t mode = 0755;
  if (!parent_path.empty()) {
    absl::StatusOr<struct stat> parent = Stat(parent_path);
    if (!parent.ok()) return base::Annotate(parent.status(), "failed to stat parent");
    mode = parent->st_mode & 07777;
    if (!uid) uid = parent->st_uid;
    if (!gid) gid = parent->st_gid;
  }
  bool ours = uid.value_or(geteuid()) == geteuid() && gid.value_or(getegid()) == getegid();
  if (!ours && fchownat(snapshots_fd(), path.c_str(), uid.value_or(-1), gid.value_or(-1),
                        AT_SYMLINK_NOFOLLOW) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("failed to chown ", PathOf(path)));
  }
  if ((mode != 0755 || !ours) && fchmodat(snapshots_fd(), path.c_str(), mode, 0) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("chmod ", PathOf(path)));
  return absl::OkStatus();
}

absl::Status DirectoryDriver::Remove(const std::string& id) {
  GANTRY_RETURN_IF_ERROR(ValidateId(id));
  GANTRY_RETURN_IF_ERROR(trash_->Discard(snapshots_fd(), id));
  if (config_.sync_remove) trash_->Wait();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> DirectoryDriver::List() const {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDirFd(snapshots_fd()));
  // Whatever else somebody put there is not ours to judge.
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& name) { return !ValidateId(name).ok(); }),
              names.end());
  return names;
}

absl::Status DirectoryDriver::Sync() {
  if (syncfs(snapshots_fd()) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("sync ", config_.root));
  return absl::OkStatus();
}

}  // namespace gantry::snapshotter
