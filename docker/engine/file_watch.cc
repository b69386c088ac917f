#include "docker/engine/file_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <cerrno>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr uint32_t kChanges = IN_MODIFY | IN_CREATE | IN_MOVED_TO;

}  // namespace

FileWatch::~FileWatch() {
  if (!thread_.joinable()) return;
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

absl::Status FileWatch::Begin() {
  if (inotify_) return absl::OkStatus();
  stop_.Reset(eventfd(0, EFD_CLOEXEC));
  inotify_.Reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify_) return base::ErrnoStatus(errno, "watch files");
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

absl::StatusOr<FileWatch::Id> FileWatch::Add(const std::string& directory,
                                             std::function<void()> callback) {
  absl::MutexLock lock(&mutex_);
  GANTRY_RETURN_IF_ERROR(Begin());
  int watch = inotify_add_watch(inotify_.get(), directory.c_str(), kChanges);
  if (watch < 0) return base::ErrnoStatus(errno, absl::StrCat("watch ", directory));
  ++uses_[watch];
  watchers_[next_] = {watch, std::move(callback)};
  return next_++;
}

void FileWatch::Remove(Id id) {
  absl::MutexLock lock(&mutex_);
  auto found = watchers_.find(id);
  if (found == watchers_.end()) return;
  int watch = found->second.watch;
  watchers_.erase(found);
  if (--uses_[watch] > 0) return;
  uses_.erase(watch);
  // Fails when the directory is gone, which took the watch with it.
  inotify_rm_watch(inotify_.get(), watch);
}

void FileWatch::Run() {
  alignas(inotify_event) char buffer[16 << 10];
  while (true) {
    pollfd polled[] = {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(polled, 2, -1) < 0 && errno != EINTR) return;
    if (polled[1].revents != 0) return;
    ssize_t n = read(inotify_.get(), buffer, sizeof buffer);
    std::set<int> changed;
    bool overflow = false;
    for (ssize_t at = 0; at < n;) {
      auto* event = reinterpret_cast<inotify_event*>(buffer + at);
      changed.insert(event->wd);
      overflow = overflow || (event->mask & IN_Q_OVERFLOW) != 0;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    std::vector<std::function<void()>> callbacks;
    {
      absl::MutexLock lock(&mutex_);
      for (auto& [id, watcher] : watchers_) {
        if (overflow || changed.contains(watcher.watch)) callbacks.push_back(watcher.callback);
      }
    }
    for (auto& callback : callbacks) callback();
  }
}

}  // namespace gantry::docker
