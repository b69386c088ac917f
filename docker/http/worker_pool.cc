#include "docker/http/worker_pool.h"

#include <thread>
#include <utility>

namespace gantry::docker::http {

WorkerPool::~WorkerPool() {
  absl::MutexLock lock(&mutex_);
  ending_ = true;
  mutex_.Await(absl::Condition(
      +[](size_t* threads) { return *threads == 0; }, &threads_));
}

void WorkerPool::Run(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  // Each idle thread takes one of the waiting tasks.
  if (tasks_.size() <= idle_ || threads_ >= limit_) return;
  ++threads_;
  std::thread([this] { Work(); }).detach();
}

void WorkerPool::Work() {
  auto ready = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !tasks_.empty() || ending_; };
  absl::MutexLock lock(&mutex_);
  while (true) {
    ++idle_;
    mutex_.AwaitWithTimeout(absl::Condition(&ready), idle_time_);
    --idle_;
    if (tasks_.empty()) break;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    mutex_.Unlock();
    task();
    task = nullptr;
    mutex_.Lock();
  }
  --threads_;
}

}  // namespace gantry::docker::http
