#include "base/mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include "absl/strings/string_view.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::base {
namespace {

struct Flag {
  bool clear;
  unsigned long flag;
};

const std::map<absl::string_view, Flag>& FlagTable() {
  static const auto* table = new std::map<absl::string_view, Flag>{
      {"async", {true, MS_SYNCHRONOUS}},
      {"atime", {true, MS_NOATIME}},
      {"bind", {false, MS_BIND}},
      {"defaults", {false, 0}},
      {"dev", {true, MS_NODEV}},
      {"diratime", {true, MS_NODIRATIME}},
      {"dirsync", {false, MS_DIRSYNC}},
      {"exec", {true, MS_NOEXEC}},
      {"mand", {false, MS_MANDLOCK}},
      {"noatime", {false, MS_NOATIME}},
      {"nodev", {false, MS_NODEV}},
      {"nodiratime", {false, MS_NODIRATIME}},
      {"noexec", {false, MS_NOEXEC}},
      {"nomand", {true, MS_MANDLOCK}},
      {"norelatime", {true, MS_RELATIME}},
      {"nostrictatime", {true, MS_STRICTATIME}},
      {"nosuid", {false, MS_NOSUID}},
      {"rbind", {false, MS_BIND | MS_REC}},
      {"relatime", {false, MS_RELATIME}},
      {"remount", {false, MS_REMOUNT}},
      {"ro", {false, MS_RDONLY}},
      {"rw", {true, MS_RDONLY}},
      {"strictatime", {false, MS_STRICTATIME}},
      {"suid", {true, MS_NOSUID}},
      {"sync", {false, MS_SYNCHRONOUS}},
  };
  return *table;
}

const std::map<absl::string_view, unsigned long>& PropagationTable() {
  static const auto* table = new std::map<absl::string_view, unsigned long>{
      {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
      {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
      {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
      {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
  };
  return *table;
}

// fsopen(2) takes each option by itself, so their sum is not bound by the page that mount(2)
// copies.
absl::Status MountByFsopen(const Mount& mount, const MountOptions& options,
                           const std::string& target) {
  UniqueFd fs(static_cast<int>(syscall(SYS_fsopen, mount.type.c_str(), FSOPEN_CLOEXEC)));
  if (!fs) return ErrnoStatus(errno, absl::StrCat("fsopen ", mount.type));
  auto set = [&fs](absl::string_view key, absl::string_view value) -> absl::Status {
    if (syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_STRING, std::string(key).c_str(),
                std::string(value).c_str(), 0) != 0) {
      return ErrnoStatus(errno, absl::StrCat("mount option ", key));
    }
    return absl::OkStatus();
  };
  GANTRY_RETURN_IF_ERROR(set("source", mount.source));
  for (const std::string& option : options.data) {
    std::pair<absl::string_view, absl::string_view> kv =
        absl::StrSplit(option, absl::MaxSplits('=', 1));
    if (mount.type == "overlay" && kv.first == "lowerdir") {
      // One directory a call (kernel 6.5 and newer): no limit on their sum.
      for (absl::string_view dir : absl::StrSplit(kv.second, ':'))
        GANTRY_RETURN_IF_ERROR(set("lowerdir+", dir));
    } else if (absl::StrContains(option, '=')) {
      GANTRY_RETURN_IF_ERROR(set(kv.first, kv.second));
    } else if (syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_FLAG, option.c_str(), nullptr, 0) !=
               0) {
      return ErrnoStatus(errno, absl::StrCat("mount option ", option));
    }
  }
  if (syscall(SYS_fsconfig, fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return ErrnoStatus(errno, absl::StrCat("create ", mount.type, " superblock"));
  }
  unsigned int attributes = 0;
  if (options.flags & MS_RDONLY) attributes |= MOUNT_ATTR_RDONLY;
  if (options.flags & MS_NOSUID) attributes |= MOUNT_ATTR_NOSUID;
  if (options.flags & MS_NODEV) attributes |= MOUNT_ATTR_NODEV;
  if (options.flags & MS_NOEXEC) attributes |= MOUNT_ATTR_NOEXEC;
  UniqueFd mounted(static_cast<int>(syscall(SYS_fsmount, fs.get(), FSMOUNT_CLOEXEC, attributes)));
  if (!mounted) return ErrnoStatus(errno, absl::StrCat("fsmount ", mount.type));
  if (syscall(SYS_move_mount, mounted.get(), "", AT_FDCWD, target.c_str(),
              MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return ErrnoStatus(errno, absl::StrCat("move_mount to ", target));
  }
  return absl::OkStatus();
}

absl::Status MountOne(const Mount& mount, const std::string& target) {
  MountOptions options = ParseMountOptions(mount.options);
  std::string data = absl::StrJoin(options.data, ",");
  auto failed = [&mount, &target](int error) {
    return ErrnoStatus(error,
                       absl::StrCat("mount ", mount.type, " ", mount.source, " on ", target));
  };
  if (!(options.flags & MS_BIND) && data.size() >= static_cast<size_t>(sysconf(_SC_PAGESIZE)) - 1) {
    return Annotate(MountByFsopen(mount, options, target),
                    absl::StrCat("mount ", mount.type, " on ", target));
  }
  const char* type = (options.flags & MS_BIND) ? nullptr : mount.type.c_str();
  if (::mount(mount.source.c_str(), target.c_str(), type, options.flags, data.c_str()) != 0)
    return failed(errno);
  constexpr unsigned long kBindIgnores =
      MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RELATIME | MS_NODIRATIME;
  if ((options.flags & MS_BIND) && (options.flags & kBindIgnores)) {
    // A bind takes the flags of its source; ours need a remount (mount(2), "Creating a bind
    // mount").
    if (::mount("", target.c_str(), nullptr, (options.flags & ~MS_REC) | MS_REMOUNT, nullptr) !=
        0) {
      int error = errno;
      umount2(target.c_str(), MNT_DETACH);
      return failed(error);
    }
  }
  if (options.propagation != 0 &&
      ::mount("", target.c_str(), nullptr, options.propagation, nullptr) != 0) {
    int error = errno;
    umount2(target.c_str(), MNT_DETACH);
    return failed(error);
  }
  return absl::OkStatus();
}

}  // namespace

MountOptions ParseMountOptions(const std::vector<std::string>& options) {
  MountOptions parsed;
  for (const std::string& option : options) {
    if (auto flag = FlagTable().find(option); flag != FlagTable().end()) {
      if (flag->second.clear) {
        parsed.flags &= ~flag->second.flag;
      } else {
        parsed.flags |= flag->second.flag;
      }
    } else if (auto propagation = PropagationTable().find(option);
               propagation != PropagationTable().end()) {
      parsed.propagation = propagation->second;
    } else {
      parsed.data.push_back(option);
    }
  }
  return parsed;
}

absl::Status MountAll(const std::vector<Mount>& mounts, const std::string& root) {
  std::vector<std::string> done;
  for (const Mount& mount : mounts) {
    std::string target = root;
    absl::Status status;
    if (!mount.target.empty()) {
      auto dir = Open(root, O_PATH | O_DIRECTORY);
      status = dir.status();
      if (status.ok()) {
        auto resolved = OpenUnder(dir->get(), mount.target, O_PATH);
        status = resolved.status();
        if (status.ok()) {
          target = absl::StrCat("/proc/self/fd/", resolved->get());
          status = MountOne(mount, target);
          target = absl::StrCat(root, "/", mount.target);
        }
      }
    } else {
      status = MountOne(mount, target);
    }
    if (!status.ok()) {
      for (auto it = done.rbegin(); it != done.rend(); ++it)
        umount2(it->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
      return status;
    }
    done.push_back(target);
  }
  return absl::OkStatus();
}

absl::Status UnmountAll(const std::string& target) {
  // Bounded: a mount that keeps coming back is somebody else's doing.
  for (int i = 0; i < 1000; ++i) {
    if (umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
    if (errno == EINVAL || errno == ENOENT || errno == ENOTDIR) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("unmount ", target));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("unmount ", target, ": still mounted after 1000 attempts"));
}

absl::StatusOr<TemporaryMount> TemporaryMount::Create(const std::vector<Mount>& mounts,
                                                      const std::string& base) {
  std::string path = absl::StrCat(base, "/mount-", RandomHex(8));
  GANTRY_RETURN_IF_ERROR(MakeDirs(path, 0700));
  absl::Status mounted = MountAll(mounts, path);
  if (!mounted.ok()) {
    rmdir(path.c_str());
    return mounted;
  }
  return TemporaryMount(std::move(path));
}

absl::Status TemporaryMount::Sweep(const std::string& base) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDir(base));
  for (const std::string& name : names) {
    std::string path = absl::StrCat(base, "/", name);
    GANTRY_RETURN_IF_ERROR(UnmountAll(path));
    GANTRY_RETURN_IF_ERROR(RemoveTree(path));
  }
  return absl::OkStatus();
}

TemporaryMount::~TemporaryMount() {
  if (path_.empty()) return;
  if (UnmountAll(path_).ok()) rmdir(path_.c_str());
}

}  // namespace gantry::base
