#ifndef GANTRY_DOCKER_HTTP_WORKER_POOL_H_
#define GANTRY_DOCKER_HTTP_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace gantry::docker::http {

// Threads for work that blocks: one is added when a task finds none idle, up to a limit (further
// tasks wait in order), and one that had nothing to do for a while ends. Thread-safe.
class WorkerPool {
 public:
  explicit WorkerPool(size_t limit = 512, absl::Duration idle_time = absl::Seconds(10))
      : limit_(limit), idle_time_(idle_time) {}
  // Waits for the tasks that were given; nobody may add more.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;

  void Run(std::function<void()> task);

 private:
  void Work();

  const size_t limit_;
  const absl::Duration idle_time_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  size_t threads_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_WORKER_POOL_H_
