#ifndef GANTRY_SERVICES_DIFF_DIR_CACHE_H_
#define GANTRY_SERVICES_DIFF_DIR_CACHE_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace gantry::services {

// A name in an archive, made harmless: without "." and empty parts, ".." resolved by the text and
// never above the root, as Go's filepath.Clean does and containerd with it. "" is the root itself.
std::string CleanArchivePath(absl::string_view name);
// "a/b/c" → {"a/b", "c"}; "c" → {"", "c"}.
struct SplitPath {
  std::string parent;
  std::string name;
};
SplitPath SplitArchivePath(absl::string_view clean);

// Directories beneath a root, opened by clean paths. Symbolic links in the paths are followed, but
// only inside the root (openat2 RESOLVE_IN_ROOT). Keeps descriptors of those used last. Who
// replaces a directory or a link must call Forget(). Not thread-safe.
class DirCache {
 public:
  struct Dir {
    base::UniqueFd fd;  // O_RDONLY|O_DIRECTORY
    uint64_t inode = 0;
  };
  // Sets owner, mode and so on of a directory that had to be made; `path` is where it lies.
  using OnCreate = std::function<absl::Status(const std::string& path, Dir* dir)>;

  DirCache(base::UniqueFd root, OnCreate on_create) : on_create_(std::move(on_create)) {
    root_.fd = std::move(root);
  }

  absl::Status Init();

  // The directory at the clean `path`. NotFound if there is none, InvalidArgument if something else
  // is there. The pointer is valid until the next call.
  absl::StatusOr<Dir*> Find(const std::string& path);
  // The same; missing directories are made.
  absl::StatusOr<Dir*> FindOrMake(const std::string& path, int depth = 0);
  // The caller has opened the directory at `path`, no part of which is a link.
  void Add(const std::string& path, Dir dir);
  void Forget() { dirs_.clear(); }
  int root_fd() const { return root_.fd.get(); }

 private:
  absl::StatusOr<Dir*> Make(const std::string& path, int depth);

  Dir root_;
  OnCreate on_create_;
  std::unordered_map<std::string, std::unique_ptr<Dir>> dirs_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_DIR_CACHE_H_
