#include "snapshotter/dir_pool.h"

#include <fcntl.h>
#include <stdio.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::snapshotter {

absl::StatusOr<std::unique_ptr<DirPool>> DirPool::Open(const std::string& path, size_t size,
                                                       Make make) {
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(path, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::Open(path, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> left, base::ListDir(path));
  for (const std::string& name : left) GANTRY_RETURN_IF_ERROR(base::RemoveTreeAt(dir.get(), name));
  std::unique_ptr<DirPool> pool(new DirPool(std::move(dir), size, std::move(make)));
  pool->worker_ = std::thread([p = pool.get()] { p->Run(); });
  return pool;
}

DirPool::~DirPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

absl::StatusOr<bool> DirPool::Take(int dir_fd, const std::string& name) {
  std::string taken;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    failed_ = false;
    if (!ready_.empty()) {
      taken = std::move(ready_.front());
      ready_.pop_front();
    }
  }
  changed_.notify_all();
  if (taken.empty()) return false;
  if (renameat2(dir_.get(), taken.c_str(), dir_fd, name.c_str(), RENAME_NOREPLACE) == 0)
    return true;
  absl::Status failed =
      base::ErrnoStatus(errno, absl::StrCat("rename a ready directory to ", name));
  std::lock_guard<std::mutex> lock(mutex_);
  ready_.push_back(std::move(taken));
  return failed;
}

void DirPool::WaitUntilFull() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return stop_ || failed_ || ready_.size() >= size_; });
}

void DirPool::Run() {
  uint64_t next = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || (!failed_ && ready_.size() < size_); });
    if (stop_) return;
    std::string name = absl::StrCat(next++);
    lock.unlock();
    absl::Status made = make_(dir_.get(), name);
    if (!made.ok()) {
      base::LogWarn("cannot make snapshot directories ahead", {{"error", made.message()}});
      base::RemoveTreeAt(dir_.get(), name).IgnoreError();  // the next start tries again
    }
    lock.lock();
    if (made.ok()) ready_.push_back(std::move(name));
    failed_ = !made.ok();
    changed_.notify_all();
  }
}

}  // namespace gantry::snapshotter
