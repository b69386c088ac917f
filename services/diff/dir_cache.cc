#include "services/diff/dir_cache.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxDirs = 256;
// As many links as the kernel follows in one path.
constexpr int kMaxDepth = 40;
constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;

absl::Status NoDirectory(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": not a directory"));
}

absl::StatusOr<uint64_t> InodeOf(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return base::ErrnoStatus(errno, "stat directory");
  return st.st_ino;
}

}  // namespace

std::string CleanArchivePath(absl::string_view name) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return absl::StrJoin(parts, "/");
}

SplitPath SplitArchivePath(absl::string_view clean) {
  size_t slash = clean.rfind('/');
  if (slash == absl::string_view::npos) return {"", std::string(clean)};
  return {std::string(clean.substr(0, slash)), std::string(clean.substr(slash + 1))};
}

absl::Status DirCache::Init() {
  // An O_PATH descriptor would not do for fchown(2) and the like.
  GANTRY_ASSIGN_OR_RETURN(root_.fd, base::OpenUnder(root_.fd.get(), ".", kDirFlags));
  GANTRY_ASSIGN_OR_RETURN(root_.inode, InodeOf(root_.fd.get()));
  return absl::OkStatus();
}

absl::StatusOr<DirCache::Dir*> DirCache::Find(const std::string& path) {
  if (path.empty()) return &root_;
  if (auto it = dirs_.find(path); it != dirs_.end()) return it->second.get();
  auto fd = base::OpenUnder(root_.fd.get(), path, kDirFlags);
  if (!fd.ok()) {
    if (base::ErrnoOf(fd.status()) == ENOTDIR) return NoDirectory(path);
    return fd.status();
  }
  Dir dir{*std::move(fd), 0};
  GANTRY_ASSIGN_OR_RETURN(dir.inode, InodeOf(dir.fd.get()));
  Add(path, std::move(dir));
  return dirs_[path].get();
}

void DirCache::Add(const std::string& path, Dir dir) {
  if (dirs_.size() >= kMaxDirs) dirs_.clear();
  dirs_[path] = std::make_unique<Dir>(std::move(dir));
}

absl::StatusOr<DirCache::Dir*> DirCache::FindOrMake(const std::string& path, int depth) {
  auto found = Find(path);
  if (found.ok() || base::ErrnoOf(found.status()) != ENOENT) return found;
  return Make(path, depth);
}

absl::StatusOr<DirCache::Dir*> DirCache::Make(const std::string& path, int depth) {
  if (depth > kMaxDepth) return base::ErrnoStatus(ELOOP, path);
  SplitPath split = SplitArchivePath(path);
  GANTRY_ASSIGN_OR_RETURN(Dir * parent, FindOrMake(split.parent, depth));
  if (mkdirat(parent->fd.get(), split.name.c_str(), 0755) == 0) {
    GANTRY_ASSIGN_OR_RETURN(Dir * made, Find(path));
    GANTRY_RETURN_IF_ERROR(on_create_(path, made));
    return made;
  }
  if (errno != EEXIST) return base::ErrnoStatus(errno, absl::StrCat("mkdir ", path));
  // A link to what does not exist (yet): the directory it names is made, inside the root.
  char target[PATH_MAX];
  ssize_t size = readlinkat(parent->fd.get(), split.name.c_str(), target, sizeof target);
  if (size < 0) return NoDirectory(path);
  absl::string_view text(target, static_cast<size_t>(size));
  std::string next = absl::StartsWith(text, "/")
                         ? CleanArchivePath(text)
                         : CleanArchivePath(absl::StrCat(split.parent, "/", text));
  GANTRY_RETURN_IF_ERROR(FindOrMake(next, depth + 1).status());
  return Find(path);
}

}  // namespace gantry::services
