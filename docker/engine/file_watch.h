#ifndef GANTRY_DOCKER_ENGINE_FILE_WATCH_H_
#define GANTRY_DOCKER_ENGINE_FILE_WATCH_H_

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/unique_fd.h"

namespace gantry::docker {

// Tells of changes in directories, for any number of those who want to know, on one thread (which
// begins with the first of them). Thread-safe.
class FileWatch {
 public:
  using Id = uint64_t;

  FileWatch() = default;
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;

  // `callback` runs on the watch's thread whenever a file in `directory` is written or made; it
  // must not block. The errors of inotify_add_watch(2).
  absl::StatusOr<Id> Add(const std::string& directory, std::function<void()> callback);
  // A callback may still be running when this returns.
  void Remove(Id id);

 private:
  struct Watcher {
    int watch;
    std::function<void()> callback;
  };

  absl::Status Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();

  absl::Mutex mutex_;
  base::UniqueFd inotify_, stop_;
  std::thread thread_;
  std::map<Id, Watcher> watchers_ ABSL_GUARDED_BY(mutex_);
  std::map<int, int> uses_ ABSL_GUARDED_BY(mutex_);  // of a watch
  Id next_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ENGINE_FILE_WATCH_H_
