#ifndef GANTRY_BASE_FILE_H_
#define GANTRY_BASE_FILE_H_

// Files, without surprises: reads are capped, replacements are atomic, removal follows no link and
// crosses no mount, and paths that somebody else named are resolved beneath a directory descriptor.
// All functions may block on the disk and may be called from any thread.

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::base {

// open(2) with O_CLOEXEC, retried on EINTR. `path` must be ours (a configured directory and names
// that we chose), never one that an image, a tar, a container or a client named.
absl::StatusOr<UniqueFd> Open(const std::string& path, int flags, mode_t mode = 0);

// openat(2) with O_CLOEXEC for a single name (no '/', not "." or ".."): InvalidArgument otherwise.
absl::StatusOr<UniqueFd> OpenChild(int dir_fd, absl::string_view name, int flags, mode_t mode = 0);

enum class Resolve {
  // `path` is taken as if `dir_fd` were "/": absolute paths, ".." and symbolic links stay inside.
  kInRoot,
  // `path` must not leave `dir_fd` at any moment; an attempt is PermissionDenied... (EXDEV).
  kBeneath,
  // As kBeneath, and no symbolic link is followed anywhere in it (ELOOP).
  kNoSymlinks,
};

// openat2(2) with RESOLVE_NO_MAGICLINKS and O_CLOEXEC. For every path that is not ours.
absl::StatusOr<UniqueFd> OpenUnder(int dir_fd, const std::string& path, int flags, mode_t mode = 0,
                                   Resolve resolve = Resolve::kInRoot);

// Makes every missing directory of `path` beneath `root_fd` as Resolve::kInRoot sees it (existing
// symbolic links are followed inside the root) and returns the last one, opened O_PATH|O_DIRECTORY.
// New directories get `mode` (umask applies) and owner `uid`:`gid`.
absl::StatusOr<UniqueFd> MakeDirsUnder(int root_fd, absl::string_view path, mode_t mode,
                                       uid_t uid = 0, gid_t gid = 0);

// Reads at most `limit` bytes; ResourceExhausted if there are more. For files of unknown kind:
// opens O_NONBLOCK and refuses all but regular files (FailedPrecondition) unless `path` is below
// /proc or /sys.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit = 16u << 20);
absl::StatusOr<std::string> ReadFd(int fd, size_t limit = 16u << 20);

// Writes all of `data`, retried on EINTR and short writes.
absl::Status WriteAll(int fd, absl::string_view data);

// Overwrites (creates with `mode`) in place; for kernel files such as /proc and cgroupfs.
absl::Status WriteFile(const std::string& path, absl::string_view data, mode_t mode = 0600);

enum class Durability { kNone, kSync };

// Replaces `path` atomically: temporary name beside it, write, [fsync], rename, [fsync of
// directory].
absl::Status ReplaceFile(const std::string& path, absl::string_view data, mode_t mode = 0600,
                         Durability durability = Durability::kNone);

absl::Status SyncFd(int fd);
absl::Status SyncDir(const std::string& path);

// mkdir -p for paths of our own. Existing directories keep their mode.
absl::Status MakeDirs(const std::string& path, mode_t mode = 0700);
// As MakeDirs, and the last directory has exactly `mode` and belongs to us afterwards
// (CVE-2024-25621).
absl::Status EnsurePrivateDir(const std::string& path, mode_t mode = 0700);

bool Exists(const std::string& path);

// Names in a directory, without "." and "..", in no order.
absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path);
absl::StatusOr<std::vector<std::string>> ListDirFd(int dir_fd);

// Removes the tree at `dir_fd`/`name`. Follows no symbolic link and crosses no mount: a mount point
// inside gives FailedPrecondition (EBUSY) and what lies behind it is untouched (CVE-2017-1002102).
// A missing `name` is OK.
absl::Status RemoveTreeAt(int dir_fd, const std::string& name);
absl::Status RemoveTree(const std::string& path);

// Both ends close-on-exec.
struct Pipe {
  UniqueFd read;
  UniqueFd write;
};
absl::StatusOr<Pipe> MakePipe(int flags = 0);

}  // namespace gantry::base

#endif  // GANTRY_BASE_FILE_H_
