#include "shim/rootfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/mount.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::shim {
namespace {

// How long a shim that goes on living holds an unmounted root file system.
constexpr absl::Duration kRootfsLimit = absl::Milliseconds(50);

// Closes what must be the last reference to a file system that is unmounted already, in a child: an
// overlay then writes back all of its upper file system, for which nobody should wait.
void CloseInChild(const base::UniqueFd& reference) {
  pid_t pid = fork();
  // Without a child the wait is ours. It is reaped as any other.
  if (pid != 0) return;
  // Nothing else of ours may stay open in it, above all no end of a pipe.
  unsigned fd = static_cast<unsigned>(reference.get());
  if (fd > 0) syscall(SYS_close_range, 0, fd - 1, 0);
  syscall(SYS_close_range, fd + 1, ~0u, 0);
  timespec pause{0, 2'000'000};  // let the parent close first
  nanosleep(&pause, nullptr);
  _exit(0);
}

}  // namespace

absl::StatusOr<bool> MountRootfs(const MountMessages& entries, const std::string& rootfs) {
  if (entries.empty()) return false;
  std::vector<base::Mount> mounts;
  for (const auto& entry : entries)
    mounts.push_back({entry.type(),
                      entry.source(),
                      entry.target(),
                      {entry.options().begin(), entry.options().end()}});
  if (mkdir(rootfs.c_str(), 0711) != 0 && errno != EEXIST)
    return base::ErrnoStatus(errno, absl::StrCat("mkdir ", rootfs));
  if (absl::Status mounted = base::MountAll(mounts, rootfs); !mounted.ok())
    return base::Annotate(mounted, "failed to mount rootfs component");
  return true;
}

absl::Status DetachRootfs(base::EventLoop* loop, const std::string& rootfs) {
  absl::StatusOr<base::UniqueFd> reference = base::Open(rootfs, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  GANTRY_RETURN_IF_ERROR(base::UnmountAll(rootfs));
  if (!reference.ok()) return absl::OkStatus();  // gone already
  auto kept = std::make_shared<base::UniqueFd>(*std::move(reference));
  loop->After(kRootfsLimit, [kept] { CloseInChild(*kept); });
  return absl::OkStatus();
}

}  // namespace gantry::shim
