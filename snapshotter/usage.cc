#include "snapshotter/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::snapshotter {
namespace {

constexpr size_t kMaxDepth = 1000;   // each level holds a descriptor
constexpr int64_t kBlockSize = 512;  // unit of st_blocks, stat(2)

using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;

absl::StatusOr<Dir> OpenStream(base::UniqueFd fd) {
  DIR* raw = fdopendir(fd.get());
  if (raw == nullptr) return base::ErrnoStatus(errno, "read directory");
  fd.Release();
  return Dir(raw, closedir);
}

class Counter {
 public:
  explicit Counter(dev_t device) : device_(device) {}

  void Add(const struct stat& st) {
    if (st.st_dev != device_) return;
    // A directory has one name; only other files can turn up twice.
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !seen_.insert(st.st_ino).second) return;
    usage_.size += st.st_blocks * kBlockSize;
    ++usage_.inodes;
  }

  dev_t device() const { return device_; }
  Usage usage() const { return usage_; }

 private:
  const dev_t device_;
  Usage usage_;
  absl::flat_hash_set<ino_t> seen_;
};

}  // namespace

absl::StatusOr<Usage> CountUsage(base::UniqueFd root) {
  struct stat st;
  if (fstat(root.get(), &st) != 0) return base::ErrnoStatus(errno, "stat");
  Counter counter(st.st_dev);
  counter.Add(st);
  std::vector<Dir> stack;
  GANTRY_ASSIGN_OR_RETURN(Dir first, OpenStream(std::move(root)));
  stack.push_back(std::move(first));
  while (!stack.empty()) {
    int dir_fd = dirfd(stack.back().get());
    dirent* entry = readdir(stack.back().get());
    if (entry == nullptr) {
      stack.pop_back();
      continue;
    }
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
      if (errno == ENOENT) continue;
      return base::ErrnoStatus(errno, absl::StrCat("stat ", entry->d_name));
    }
    counter.Add(st);
    if (!S_ISDIR(st.st_mode) || st.st_dev != counter.device()) continue;
    if (stack.size() >= kMaxDepth) {
      return absl::ResourceExhaustedError(
          absl::StrCat("count usage: directories are nested deeper than ", kMaxDepth));
    }
    base::UniqueFd child(
        openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child) {
      if (errno == ENOENT || errno == ENOTDIR) continue;
      return base::ErrnoStatus(errno, absl::StrCat("open ", entry->d_name));
    }
    GANTRY_ASSIGN_OR_RETURN(Dir stream, OpenStream(std::move(child)));
    stack.push_back(std::move(stream));
  }
  return counter.usage();
}

}  // namespace gantry::snapshotter
