#include "services/networks/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mount.h"
#include "base/status.h"
#include "services/networks/devices.h"

namespace gantry::services {
namespace {

constexpr char kOwnNetns[] = "/proc/thread-self/ns/net";

void GoHome(int home) {
  if (setns(home, CLONE_NEWNET) == 0) return;
  base::LogError("a thread cannot leave the network namespace of a container");
  abort();
}

absl::StatusOr<std::string> SysctlPath(const std::string& key) {
  // Slashes and dots are exchanged, as sysctl(8) has it for device names with dots.
  std::string path = absl::StrReplaceAll(key, {{".", "/"}, {"/", "."}});
  if (!absl::StartsWith(path, "net/") || absl::StrContains(absl::StrCat("/", path, "/"), "/../")) {
    return absl::InvalidArgumentError(
        absl::StrCat("sysctl \"", key, "\" is not one of a network namespace"));
  }
  return path;
}

absl::StatusOr<base::UniqueFd> OpenSysctl(const std::string& key, int flags) {
  GANTRY_ASSIGN_OR_RETURN(std::string path, SysctlPath(key));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::Open("/proc/sys", O_PATH | O_DIRECTORY));
  absl::StatusOr<base::UniqueFd> file =
      base::OpenUnder(dir.get(), path, flags, 0, base::Resolve::kNoSymlinks);
  return file.ok() ? std::move(file) : base::Annotate(file.status(), absl::StrCat("sysctl ", key));
}

}  // namespace

absl::Status InNetns(int netns_fd, absl::FunctionRef<absl::Status()> work) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd home, base::Open(kOwnNetns, O_RDONLY));
  if (setns(netns_fd, CLONE_NEWNET) != 0) {
    return base::ErrnoStatus(errno, "enter a network namespace");
  }
  absl::Status status = work();
  GoHome(home.get());
  return status;
}

absl::StatusOr<base::UniqueFd> MakeNetns() {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd home, base::Open(kOwnNetns, O_RDONLY));
  if (unshare(CLONE_NEWNET) != 0) return base::ErrnoStatus(errno, "make a network namespace");
  absl::StatusOr<base::UniqueFd> made = base::Open(kOwnNetns, O_RDONLY);
  absl::Status up = made.status();
  if (made.ok()) {
    absl::StatusOr<Devices> devices = Devices::Open();
    up = devices.ok() ? devices->SetUp(1) : devices.status();  // loopback is always the first
  }
  GoHome(home.get());
  GANTRY_RETURN_IF_ERROR(up);
  return made;
}

absl::Status PinNetns(int netns_fd, const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file,
                          base::Open(path, O_RDONLY | O_CREAT | O_NOFOLLOW, 0600));
  std::string source = absl::StrCat("/proc/self/fd/", netns_fd);
  if (mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0) return absl::OkStatus();
  absl::Status status = base::ErrnoStatus(errno, absl::StrCat("pin a network namespace to ", path));
  unlink(path.c_str());
  return status;
}

absl::StatusOr<base::UniqueFd> OpenNetns(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_RDONLY | O_NOFOLLOW));
  struct statfs info;
  if (fstatfs(fd.get(), &info) != 0 || info.f_type != NSFS_MAGIC) {
    return absl::NotFoundError(absl::StrCat("no network namespace is pinned to ", path));
  }
  return fd;
}

absl::Status UnpinNetns(const std::string& path) {
  GANTRY_RETURN_IF_ERROR(base::UnmountAll(path));
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("remove ", path));
}

absl::Status WriteSysctl(const std::string& key, const std::string& value) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file, OpenSysctl(key, O_WRONLY));
  return base::Annotate(base::WriteAll(file.get(), value), absl::StrCat("set sysctl ", key));
}

absl::StatusOr<std::string> ReadSysctl(const std::string& key) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file, OpenSysctl(key, O_RDONLY));
  GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFd(file.get(), 4096));
  return std::string(absl::StripAsciiWhitespace(text));
}

NetnsPool::NetnsPool(size_t size) : size_(size) {}

NetnsPool::~NetnsPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (filler_.joinable()) filler_.join();
}

absl::StatusOr<base::UniqueFd> NetnsPool::Take() {
  {
    std::lock_guard lock(mutex_);
    if (!filler_.joinable() && !stopping_) filler_ = std::thread([this] { Fill(); });
    if (!ready_.empty()) {
      base::UniqueFd taken = std::move(ready_.back());
      ready_.pop_back();
      changed_.notify_all();
      return taken;
    }
  }
  return MakeNetns();
}

void NetnsPool::Fill() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || ready_.size() < size_; });
    if (stopping_) return;
    lock.unlock();
    absl::StatusOr<base::UniqueFd> made = MakeNetns();
    lock.lock();
    if (!made.ok()) {
      base::LogWarn("prepare a network namespace", {{"error", made.status().message()}});
      changed_.wait_for(lock, std::chrono::seconds(1));
      continue;
    }
    ready_.push_back(*std::move(made));
  }
}

}  // namespace gantry::services
