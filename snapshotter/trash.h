#ifndef GANTRY_SNAPSHOTTER_TRASH_H_
#define GANTRY_SNAPSHOTTER_TRASH_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::snapshotter {

// A directory whose entries are deleted by a thread of its own. Entries arrive by rename, so to
// discard a tree of any size costs one rename. What a crash left behind is deleted after the next
// Open(). Thread-safe.
//
// Deletion follows no symbolic link and crosses no mount (an entry with a mount inside stays and is
// tried again by the next Open()); depth is not limited. The thread yields the disk: after each
// slice of work it rests for about as long.
class Trash {
 public:
  // `path` must be on the file system of what will be discarded. Made with mode 0700 if missing.
  static absl::StatusOr<std::unique_ptr<Trash>> Open(const std::string& path);

  // Stops the thread at the next file; the rest is for the next Open().
  ~Trash();

  // Moves `name` of the directory `dir_fd` in. OK if there is no such name.
  absl::Status Discard(int dir_fd, const std::string& name);

  // Blocks until all that was discarded before has been deleted (or could not be), without rests.
  void Wait();

 private:
  explicit Trash(base::UniqueFd dir) : dir_(std::move(dir)) {}
  void Run();
  bool Stopping();
  void Rest();
  absl::Status RemoveEntry(int parent_fd, const char* name, int depth);
  absl::Status RemoveChildren(base::UniqueFd fd, int depth);

  const base::UniqueFd dir_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> queue_;  // guarded by mutex_
  bool busy_ = false;              // guarded by mutex_
  bool stop_ = false;              // guarded by mutex_
  int waiters_ = 0;                // guarded by mutex_
  int64_t slice_start_ns_ = 0;     // worker only
  std::thread worker_;
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_TRASH_H_
