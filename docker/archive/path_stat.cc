#include "docker/archive/path_stat.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <climits>
#include <deque>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr int kMaxLinks = 255;

bool FollowsLast(absl::string_view path) {
  return absl::EndsWith(path, "/") || absl::EndsWith(path, "/.") || path == ".";
}

std::string LastComponent(absl::string_view path) {
  if (absl::EndsWith(path, "/.")) return ".";
  while (path.size() > 1 && absl::EndsWith(path, "/")) path.remove_suffix(1);
  if (path == "/") return "/";
  return std::string(path.substr(path.rfind('/') + 1));
}

absl::StatusOr<std::string> ReadLink(int fd) {
  std::string target(PATH_MAX, '\0');
  const ssize_t n = readlinkat(fd, "", target.data(), target.size());
  if (n < 0) return base::ErrnoStatus(errno, "read link");
  target.resize(static_cast<size_t>(n));
  return target;
}

}  // namespace

std::string CleanPath(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.push_back(part);
    }
  }
  std::string clean = absl::StrCat("/", absl::StrJoin(parts, "/"));
  if (absl::EndsWith(path, "/.") || path == ".") {
    absl::StrAppend(&clean, clean == "/" ? "." : "/.");
  } else if (absl::EndsWith(path, "/") && clean != "/") {
    clean += '/';
  }
  return clean;
}

std::string ResolveLinks(int root_fd, absl::string_view path) {
  std::deque<std::string> left = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::vector<std::string> done;
  int links = 0;
  while (!left.empty()) {
    const std::string part = std::move(left.front());
    left.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (!done.empty()) done.pop_back();
      continue;
    }
    done.push_back(part);
    auto fd = base::OpenUnder(root_fd, absl::StrJoin(done, "/"), O_PATH | O_NOFOLLOW);
    if (!fd.ok()) continue;
    auto target = ReadLink(fd->get());
    if (!target.ok() || ++links > kMaxLinks) continue;
    if (absl::StartsWith(*target, "/")) {
      done.clear();
    } else {
      done.pop_back();
    }
    std::vector<std::string> more = absl::StrSplit(*target, '/', absl::SkipEmpty());
    left.insert(left.begin(), more.begin(), more.end());
  }
  return absl::StrCat("/", absl::StrJoin(done, "/"));
}

absl::StatusOr<OpenedPath> OpenPath(int root_fd, absl::string_view path) {
  const std::string clean = CleanPath(path);
  OpenedPath out;
  const int flags = O_PATH | (FollowsLast(clean) ? 0 : O_NOFOLLOW);
  GANTRY_ASSIGN_OR_RETURN(out.fd, base::OpenUnder(root_fd, clean, flags));
  if (fstatat(out.fd.get(), "", &out.stat.st, AT_EMPTY_PATH) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("stat ", clean));
  }
  out.stat.name = LastComponent(clean);
  if (S_ISLNK(out.stat.st.st_mode)) out.stat.link_target = ResolveLinks(root_fd, clean);
  return out;
}

uint32_t GoFileMode(mode_t mode) {
  uint32_t out = mode & 0777;
  if (S_ISDIR(mode)) out |= 1u << 31;
  if (S_ISLNK(mode)) out |= 1u << 27;
  if (S_ISBLK(mode)) out |= 1u << 26;
  if (S_ISFIFO(mode)) out |= 1u << 25;
  if (S_ISSOCK(mode)) out |= 1u << 24;
  if (mode & S_ISUID) out |= 1u << 23;
  if (mode & S_ISGID) out |= 1u << 22;
  if (S_ISCHR(mode)) out |= 1u << 26 | 1u << 21;
  if (mode & S_ISVTX) out |= 1u << 20;
  return out;
}

std::string PathStatHeader(const PathStat& stat) {
  const base::OrderedJson json = {
      {"name", stat.name},
      {"size", stat.st.st_size},
      {"mode", GoFileMode(stat.st.st_mode)},
      {"mtime", base::FormatRfc3339(absl::TimeFromTimespec(stat.st.st_mtim))},
      {"linkTarget", stat.link_target}};
  return absl::Base64Escape(json.dump(-1, ' ', false, base::OrderedJson::error_handler_t::replace));
}

bool IsKernelFileSystem(int fd) {
  struct statfs fs = {};
  if (fstatfs(fd, &fs) != 0) return true;
  switch (static_cast<unsigned long>(fs.f_type)) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case BPF_FS_MAGIC:
    case DEVPTS_SUPER_MAGIC:
      return true;
    default:
      return false;
  }
}

}  // namespace gantry::docker
