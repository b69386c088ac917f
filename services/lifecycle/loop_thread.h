#ifndef GANTRY_SERVICES_LIFECYCLE_LOOP_THREAD_H_
#define GANTRY_SERVICES_LIFECYCLE_LOOP_THREAD_H_

#include <functional>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "base/event_loop.h"

namespace gantry::services::lifecycle {

// One thread for the timers and pipes of all containers; it begins with the first of them.
// Callbacks run on it and must be quick: they hand their work on.
class LoopThread {
 public:
  LoopThread() = default;
  // Ends the thread; what has not come due never runs.
  ~LoopThread() { Stop(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // As the destructor. Nothing begins afterwards.
  void Stop();

  // Any thread.
  void After(absl::Duration delay, std::function<void()> callback);
  // `function(loop)` on the thread.
  void Post(std::function<void(base::EventLoop*)> function);

 private:
  void EnsureRunning();

  base::EventLoop loop_;
  std::mutex mutex_;
  bool stopped_ = false;  // guarded by mutex_
  std::thread thread_;    // guarded by mutex_
};

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_LOOP_THREAD_H_
