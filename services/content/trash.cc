#include "services/content/trash.h"

#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::services {

Trash::Trash(std::string dir) : dir_(std::move(dir)) {
  if (auto left = base::ListDir(dir_); left.ok()) names_ = *std::move(left);
  thread_ = std::thread([this] { Run(); });
}

Trash::~Trash() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::Status Trash::Add(const std::string& path) {
  std::string name = base::RandomHex(8);
  if (rename(path.c_str(), absl::StrCat(dir_, "/", name).c_str()) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return base::ErrnoStatus(errno, absl::StrCat("rename ", path, " to the trash"));
  }
  {
    std::lock_guard lock(mutex_);
    names_.push_back(std::move(name));
  }
  changed_.notify_all();
  return absl::OkStatus();
}

void Trash::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return names_.empty() && !busy_; });
}

void Trash::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !names_.empty(); });
    if (names_.empty()) return;
    std::vector<std::string> names = std::move(names_);
    names_.clear();
    busy_ = true;
    lock.unlock();
    for (const std::string& name : names) {
      absl::Status removed = base::RemoveTree(absl::StrCat(dir_, "/", name));
      // It stays where it is and is tried again at the next start.
      if (!removed.ok()) base::LogWarn("empty trash", {{"error", removed.message()}});
    }
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace gantry::services
