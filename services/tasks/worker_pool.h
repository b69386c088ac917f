#ifndef GANTRY_SERVICES_TASKS_WORKER_POOL_H_
#define GANTRY_SERVICES_TASKS_WORKER_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"

namespace gantry::services {

// Threads for work that may block (starting a shim, waiting for one to go). A thread is made when
// all are busy, up to a limit that is far above what is ever needed unless shims hang, and ends
// after it had nothing to do for a while: an idle supervisor has none.
class WorkerPool {
 public:
  explicit WorkerPool(size_t max_threads = 512, absl::Duration idle = absl::Seconds(10))
      : max_threads_(max_threads), idle_(idle) {}
  // Waits until all that was given has run.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Any thread; returns at once. Work begins in order, as far as threads are free.
  void Run(absl::AnyInvocable<void()> work);

 private:
  void Loop();

  const size_t max_threads_;
  const absl::Duration idle_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable gone_;
  std::deque<absl::AnyInvocable<void()>> queue_;
  size_t threads_ = 0;
  size_t waiting_ = 0;
  bool stopping_ = false;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_WORKER_POOL_H_
