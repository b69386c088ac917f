#ifndef GANTRY_SERVICES_CONTENT_TRASH_H_
#define GANTRY_SERVICES_CONTENT_TRASH_H_

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace gantry::services {

// Deletes files and trees without making anybody wait: they are renamed into a directory and
// removed from there by a thread. Thread-safe.
class Trash {
 public:
  // Empties `dir` (of what a crash left there), which must exist and lie on the same file system as
  // all that is thrown into it.
  explicit Trash(std::string dir);
  // Removes what is left before it returns.
  ~Trash();
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // `path` is gone when this returns. OK when it did not exist.
  absl::Status Add(const std::string& path);
  // Until all that was added is removed from the disk.
  void Wait();

 private:
  void Run();

  const std::string dir_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> names_;  // guarded by mutex_
  bool busy_ = false;               // guarded by mutex_
  bool stopping_ = false;           // guarded by mutex_
  std::thread thread_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_TRASH_H_
