#include "snapshotter/trash.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::snapshotter {
namespace {

// One descriptor is held for each level; deeper directories are moved up to the trash itself.
constexpr int kMaxDepth = 64;
constexpr int64_t kSliceNs = 5'000'000;

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// RESOLVE_NO_XDEV also refuses bind mounts of the same device, which comparing st_dev would miss.
base::UniqueFd OpenDirHere(int dir_fd, const char* name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
  return base::UniqueFd(static_cast<int>(syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))));
}

std::string FreshName(const std::string& name) {
  return absl::StrCat(name, ".", base::RandomHex(6));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trash>> Trash::Open(const std::string& path) {
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(path, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::Open(path, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> left, base::ListDir(path));
  std::unique_ptr<Trash> trash(new Trash(std::move(dir)));
  trash->queue_.assign(left.begin(), left.end());
  trash->worker_ = std::thread([t = trash.get()] { t->Run(); });
  return trash;
}

Trash::~Trash() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

absl::Status Trash::Discard(int dir_fd, const std::string& name) {
  std::string fresh = FreshName(name);
  if (::renameat(dir_fd, name.c_str(), dir_.get(), fresh.c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return base::ErrnoStatus(errno, absl::StrCat("move ", name, " to the trash"));
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(fresh));
  }
  changed_.notify_all();
  return absl::OkStatus();
}

void Trash::Wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  ++waiters_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return stop_ || (queue_.empty() && !busy_); });
  --waiters_;
}

bool Trash::Stopping() {
  std::lock_guard<std::mutex> lock(mutex_);
  return stop_;
}

// Half of the time at most, so that deletion does not crowd out a pull or a container start: ext4
// creates files several times slower while inodes are being freed.
void Trash::Rest() {
  int64_t spent = NowNs() - slice_start_ns_;
  if (spent < kSliceNs) return;
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, std::chrono::nanoseconds(std::min<int64_t>(spent, 50'000'000)),
                    [this] { return stop_ || waiters_ > 0; });
  slice_start_ns_ = NowNs();
}

void Trash::Run() {
  // Of this thread only (Linux applies PRIO_PROCESS to a thread id); failing is harmless.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 10);
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    std::string name = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    slice_start_ns_ = NowNs();
    absl::Status removed = RemoveEntry(dir_.get(), name.c_str(), 0);
    if (!removed.ok() && !absl::IsCancelled(removed)) {
      base::LogWarn("cannot delete from the trash; it is tried again at the next start",
                    {{"name", name}, {"error", removed.message()}});
    }
    Rest();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

absl::Status Trash::RemoveEntry(int parent_fd, const char* name, int depth) {
  if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR) return base::ErrnoStatus(errno, absl::StrCat("unlink ", name));
  if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0) return absl::OkStatus();
  if (errno != ENOTEMPTY) return base::ErrnoStatus(errno, absl::StrCat("rmdir ", name));
  base::UniqueFd fd = OpenDirHere(parent_fd, name);
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open ", name));
  GANTRY_RETURN_IF_ERROR(RemoveChildren(std::move(fd), depth));
  if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("rmdir ", name));
}

absl::Status Trash::RemoveChildren(base::UniqueFd fd, int depth) {
  int dir_fd = fd.get();
  DIR* raw = fdopendir(dir_fd);
  if (raw == nullptr) return base::ErrnoStatus(errno, "read directory");
  fd.Release();
  std::unique_ptr<DIR, int (*)(DIR*)> dir(raw, closedir);
  absl::Status first;
  while (dirent* entry = readdir(dir.get())) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (NowNs() - slice_start_ns_ > kSliceNs) {
      if (Stopping()) return absl::CancelledError("stopping");
      Rest();
    }
    absl::Status removed;
    if (entry->d_type == DT_DIR && depth >= kMaxDepth) {
      removed = Discard(dir_fd, entry->d_name);
    } else {
      removed = RemoveEntry(dir_fd, entry->d_name, depth + 1);
    }
    if (absl::IsCancelled(removed)) return removed;
    if (first.ok()) first = removed;
  }
  return first;
}

}  // namespace gantry::snapshotter
