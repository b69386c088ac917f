#ifndef GANTRY_BASE_EVENT_LOOP_H_
#define GANTRY_BASE_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace gantry::base {

// A single-threaded epoll loop: descriptors, timers, and functions posted from other threads.
// All methods but Post() and Stop() belong to the thread that runs it. Callbacks may add and remove
// anything, themselves included.
class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  using FdCallback = std::function<void(uint32_t epoll_events)>;
  // Level-triggered. The loop does not own `fd`; Remove() it before closing.
  absl::Status Add(int fd, uint32_t epoll_events, FdCallback callback);
  absl::Status Modify(int fd, uint32_t epoll_events);
  void Remove(int fd);

  using TimerId = uint64_t;
  // Runs `callback` once, not before `delay` has passed.
  TimerId After(absl::Duration delay, std::function<void()> callback);
  void Cancel(TimerId timer);  // unknown or past timers: nothing happens

  // Any thread; runs on the loop's thread in order.
  void Post(std::function<void()> function);

  // Runs until Stop(). Errors are those of epoll_wait(2).
  absl::Status Run();
  // Any thread and signal-safe: Run() returns after the current callback.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::base

#endif  // GANTRY_BASE_EVENT_LOOP_H_
