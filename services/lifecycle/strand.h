#ifndef GANTRY_SERVICES_LIFECYCLE_STRAND_H_
#define GANTRY_SERVICES_LIFECYCLE_STRAND_H_

#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "services/tasks/worker_pool.h"

namespace gantry::services::lifecycle {

// Work that runs in order and never twice at once, on whatever thread of a pool is free. Holds a
// thread only while there is something to do. The pool must outlive it.
class Strand : public std::enable_shared_from_this<Strand> {
 public:
  explicit Strand(WorkerPool* pool) : pool_(pool) {}

  // Any thread; returns at once.
  void Run(absl::AnyInvocable<void()> work) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      queue_.push_back(std::move(work));
      if (busy_) return;
      busy_ = true;
    }
    pool_->Run([self = shared_from_this()] { self->Drain(); });
  }

 private:
  void Drain() {
    while (true) {
      absl::AnyInvocable<void()> work;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (queue_.empty()) {
          busy_ = false;
          return;
        }
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  WorkerPool* const pool_;
  std::mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> queue_;
  bool busy_ = false;
};

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_STRAND_H_
