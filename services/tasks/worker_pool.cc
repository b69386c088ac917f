#include "services/tasks/worker_pool.h"

#include <chrono>
#include <thread>
#include <utility>

namespace gantry::services {

WorkerPool::~WorkerPool() {
  std::unique_lock<std::mutex> lock(mutex_);
  stopping_ = true;
  wake_.notify_all();
  gone_.wait(lock, [this] { return threads_ == 0; });
}

void WorkerPool::Run(absl::AnyInvocable<void()> work) {
  std::lock_guard<std::mutex> lock(mutex_);
  queue_.push_back(std::move(work));
  if (queue_.size() <= waiting_ || threads_ >= max_threads_) {
    wake_.notify_one();
    return;
  }
  ++threads_;
  std::thread([this] { Loop(); }).detach();
}

void WorkerPool::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    ++waiting_;
    bool woken = wake_.wait_for(lock, absl::ToChronoMilliseconds(idle_),
                                [this] { return !queue_.empty() || stopping_; });
    --waiting_;
    if (queue_.empty()) {
      if (stopping_ || !woken) break;
      continue;
    }
    absl::AnyInvocable<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
  --threads_;
  // The pool may be gone as soon as the lock is: nothing may be touched after it.
  gone_.notify_all();
}

}  // namespace gantry::services
