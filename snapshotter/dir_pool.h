#ifndef GANTRY_SNAPSHOTTER_DIR_POOL_H_
#define GANTRY_SNAPSHOTTER_DIR_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::snapshotter {

// A few directories made ahead by a thread of its own, because ext4 takes 60-90 us for each mkdir
// and a snapshot needs three: a request then costs one rename. Only fresh directories are handed
// out, never ones that a snapshot used before: a mount of it may outlive its removal, and would
// then write into its successor. Thread-safe.
class DirPool {
 public:
  // Makes the directory tree `name` in `dir_fd`.
  using Make = std::function<absl::Status(int dir_fd, const std::string& name)>;

  // `path` is made if missing and emptied of what an earlier process left. `size` directories are
  // kept ready.
  static absl::StatusOr<std::unique_ptr<DirPool>> Open(const std::string& path, size_t size,
                                                       Make make);
  ~DirPool();

  // Moves a ready directory to `name` in `dir_fd`; false if none is ready. AlreadyExists.
  absl::StatusOr<bool> Take(int dir_fd, const std::string& name);

  // Blocks until the pool is full, or making failed.
  void WaitUntilFull();

 private:
  DirPool(base::UniqueFd dir, size_t size, Make make)
      : dir_(std::move(dir)), size_(size), make_(std::move(make)) {}
  void Run();

  const base::UniqueFd dir_;
  const size_t size_;
  const Make make_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> ready_;  // guarded by mutex_
  bool failed_ = false;            // guarded by mutex_: until somebody takes one again
  bool stop_ = false;              // guarded by mutex_
  std::thread worker_;
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_DIR_POOL_H_
