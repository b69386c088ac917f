#include "services/lifecycle/loop_thread.h"

#include <utility>

#include "base/log.h"

namespace gantry::services::lifecycle {

void LoopThread::Stop() {
  std::thread thread;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
    thread = std::move(thread_);
  }
  if (!thread.joinable()) return;
  loop_.Stop();
  thread.join();
}

void LoopThread::EnsureRunning() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (stopped_ || thread_.joinable()) return;
  thread_ = std::thread([this] {
    absl::Status ended = loop_.Run();
    if (!ended.ok()) base::LogError("the timers of containers", {{"error", ended.message()}});
  });
}

void LoopThread::After(absl::Duration delay, std::function<void()> callback) {
  Post([delay, callback = std::move(callback)](base::EventLoop* loop) mutable {
    loop->After(delay, std::move(callback));
  });
}

void LoopThread::Post(std::function<void(base::EventLoop*)> function) {
  EnsureRunning();
  loop_.Post([this, function = std::move(function)] { function(&loop_); });
}

}  // namespace gantry::services::lifecycle
