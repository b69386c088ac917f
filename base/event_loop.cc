#include "base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::base {
namespace {

int64_t MonotonicNanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

}  // namespace

struct EventLoop::Impl {
  struct Entry {
    // Told apart from an earlier user of the same number whose events are still in the batch.
    uint32_t generation;
    std::shared_ptr<FdCallback> callback;
  };

  UniqueFd epoll{epoll_create1(EPOLL_CLOEXEC)};
  UniqueFd wake{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unordered_map<int, Entry> entries;
  uint32_t next_generation = 1;

  std::map<std::pair<int64_t, TimerId>, std::function<void()>> timers;  // by due time
  std::unordered_map<TimerId, int64_t> due_of;
  TimerId next_timer = 1;

  std::mutex mutex;
  std::vector<std::function<void()>> posted;  // guarded by mutex
  std::atomic<bool> stop{false};

  void Wake() const {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake.get(), &one, sizeof one);
  }

  int TimeoutMillis() const {
    if (timers.empty()) return -1;
    int64_t left = timers.begin()->first.first - MonotonicNanos();
    if (left <= 0) return 0;
    // Rounded up: a timer never runs early, and a rest below a millisecond does not spin.
    return static_cast<int>(std::min<int64_t>((left + 999'999) / 1'000'000, 3'600'000));
  }

  void RunTimers() {
    int64_t now = MonotonicNanos();
    while (!stop && !timers.empty() && timers.begin()->first.first <= now) {
      auto node = timers.extract(timers.begin());
      due_of.erase(node.key().second);
      node.mapped()();
    }
  }

  void RunPosted() {
    uint64_t count = 0;
    [[maybe_unused]] ssize_t n = ::read(wake.get(), &count, sizeof count);
    std::vector<std::function<void()>> batch;
    {
      std::lock_guard lock(mutex);
      batch.swap(posted);
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      if (stop) {  // keep what was not run, in order, for a later Run()
        std::lock_guard lock(mutex);
        posted.insert(posted.begin(), std::make_move_iterator(batch.begin() + i),
                      std::make_move_iterator(batch.end()));
        return;
      }
      batch[i]();
    }
  }

  void Dispatch(const epoll_event& event) {
    int fd = static_cast<int>(event.data.u64 & 0xffffffffu);
    uint32_t generation = static_cast<uint32_t>(event.data.u64 >> 32);
    if (fd == wake.get()) return RunPosted();
    auto found = entries.find(fd);
    if (found == entries.end() || found->second.generation != generation) return;
    // The callback may remove its own entry.
    std::shared_ptr<FdCallback> callback = found->second.callback;
    (*callback)(event.events);
  }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {
  epoll_event event{EPOLLIN, {.u64 = static_cast<uint64_t>(impl_->wake.get())}};
  epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, impl_->wake.get(), &event);
}

EventLoop::~EventLoop() = default;

absl::Status EventLoop::Add(int fd, uint32_t epoll_events, FdCallback callback) {
  uint32_t generation = impl_->next_generation++;
  epoll_event event{epoll_events,
                    {.u64 = (uint64_t{generation} << 32) | static_cast<uint32_t>(fd)}};
  if (epoll_ctl(impl_->epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return ErrnoStatus(errno, "watch descriptor");
  impl_->entries[fd] = {generation, std::make_shared<FdCallback>(std::move(callback))};
  return absl::OkStatus();
}

absl::Status EventLoop::Modify(int fd, uint32_t epoll_events) {
  auto found = impl_->entries.find(fd);
  if (found == impl_->entries.end()) return absl::NotFoundError("descriptor is not watched");
  epoll_event event{
      epoll_events,
      {.u64 = (uint64_t{found->second.generation} << 32) | static_cast<uint32_t>(fd)}};
  if (epoll_ctl(impl_->epoll.get(), EPOLL_CTL_MOD, fd, &event) != 0)
    return ErrnoStatus(errno, "watch descriptor");
  return absl::OkStatus();
}

void EventLoop::Remove(int fd) {
  if (impl_->entries.erase(fd) > 0) epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::After(absl::Duration delay, std::function<void()> callback) {
  constexpr absl::Duration kLongest = absl::Hours(24 * 365 * 50);
  int64_t due = MonotonicNanos() +
                absl::ToInt64Nanoseconds(std::clamp(delay, absl::ZeroDuration(), kLongest));
  TimerId id = impl_->next_timer++;
  impl_->timers.emplace(std::make_pair(due, id), std::move(callback));
  impl_->due_of.emplace(id, due);
  return id;
}

void EventLoop::Cancel(TimerId timer) {
  auto found = impl_->due_of.find(timer);
  if (found == impl_->due_of.end()) return;
  // Destroyed last: the function may own what owns the timer.
  auto node = impl_->timers.extract({found->second, timer});
  impl_->due_of.erase(found);
}

void EventLoop::Post(std::function<void()> function) {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->posted.push_back(std::move(function));
  }
  impl_->Wake();
}

absl::Status EventLoop::Run() {
  if (!impl_->epoll || !impl_->wake)
    return absl::ResourceExhaustedError("event loop: no descriptors left for epoll");
  epoll_event events[32];
  while (!impl_->stop) {
    int count = epoll_wait(impl_->epoll.get(), events, 32, impl_->TimeoutMillis());
    if (count < 0 && errno != EINTR) return ErrnoStatus(errno, "epoll_wait");
    for (int i = 0; i < count && !impl_->stop; ++i) impl_->Dispatch(events[i]);
    impl_->RunTimers();
  }
  impl_->stop = false;
  impl_->Wake();  // functions that were posted and not run yet
  return absl::OkStatus();
}

void EventLoop::Stop() {
  impl_->stop = true;
  impl_->Wake();
}

}  // namespace gantry::base
