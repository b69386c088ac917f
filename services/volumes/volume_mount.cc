#include "services/volumes/volume_mount.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <netdb.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/mount.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr char kWhat[] = "failed to mount local volume";

// The kernel's own words on what is wrong with a file system that is being configured ("e nfs:
// …"), or nothing.
std::string KernelSays(int fs) {
  char text[1024];
  ssize_t n = read(fs, text, sizeof text);
  if (n <= 0) return "";
  absl::string_view message = absl::StripSuffix(absl::string_view(text, n), "\n");
  if (message.size() > 2 && message[1] == ' ') message.remove_prefix(2);
  return absl::StrCat(" (", message, ")");
}

uint64_t Attributes(unsigned long flags) {
  uint64_t attributes = 0;
  if (flags & MS_RDONLY) attributes |= MOUNT_ATTR_RDONLY;
  if (flags & MS_NOSUID) attributes |= MOUNT_ATTR_NOSUID;
  if (flags & MS_NODEV) attributes |= MOUNT_ATTR_NODEV;
  if (flags & MS_NOEXEC) attributes |= MOUNT_ATTR_NOEXEC;
  if (flags & MS_NODIRATIME) attributes |= MOUNT_ATTR_NODIRATIME;
  if (flags & MS_NOATIME) attributes |= MOUNT_ATTR_NOATIME;
  if (flags & MS_STRICTATIME) attributes |= MOUNT_ATTR_STRICTATIME;
  return attributes;
}

absl::Status SetAttributes(int mount, uint64_t attributes, uint64_t propagation, bool recursive) {
  struct mount_attr attr = {};
  attr.attr_set = attributes;
  if (attributes & (MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME)) attr.attr_clr = MOUNT_ATTR__ATIME;
  attr.propagation = propagation;
  if (attr.attr_set == 0 && attr.propagation == 0) return absl::OkStatus();
  unsigned int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
  if (syscall(SYS_mount_setattr, mount, "", flags, &attr, sizeof attr) != 0)
    return base::ErrnoStatus(errno, "mount_setattr");
  return absl::OkStatus();
}

// The device is a path of the host that the client chose: looked up once, no magic links.
absl::StatusOr<base::UniqueFd> CloneDirectory(const VolumeMount& mount) {
  const std::string what = absl::StrCat("bind ", mount.device);
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root, base::Open("/", O_PATH | O_DIRECTORY));
  absl::StatusOr<base::UniqueFd> source =
      base::OpenUnder(root.get(), mount.device, O_PATH | O_DIRECTORY);
  if (!source.ok()) return base::Annotate(source.status(), what);
  unsigned int flags =
      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (mount.recursive ? AT_RECURSIVE : 0u);
  base::UniqueFd tree(static_cast<int>(syscall(SYS_open_tree, source->get(), "", flags)));
  if (!tree) return base::ErrnoStatus(errno, what);
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(SetAttributes(tree.get(), Attributes(mount.flags), 0, mount.recursive), what));
  return tree;
}

absl::StatusOr<std::string> AddressOf(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  int error = getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (error != 0)
    return absl::UnavailableError(absl::StrCat("error resolving passed in network volume address ",
                                               host, ": ", gai_strerror(error)));
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> guard(list, freeaddrinfo);
  char text[256];
  if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) !=
      0)
    return absl::UnavailableError(absl::StrCat("no address of ", host));
  return std::string(text);
}

absl::StatusOr<base::UniqueFd> MakeFileSystem(const VolumeMount& mount) {
  const std::string what = absl::StrCat(mount.type, " ", mount.device);
  base::UniqueFd fs(static_cast<int>(syscall(SYS_fsopen, mount.type.c_str(), FSOPEN_CLOEXEC)));
  if (!fs) {
    if (errno == ENODEV)
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": the kernel knows no file system ", mount.type));
    return base::ErrnoStatus(errno, what);
  }
  auto failed = [&](absl::string_view option) {
    int error = errno;
    return base::ErrnoStatus(error, absl::StrCat(what, ": ", option, KernelSays(fs.get())));
  };
  auto set = [&fs](const char* key, const char* value) {
    unsigned int command = value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    return syscall(SYS_fsconfig, fs.get(), command, key, value, 0) == 0;
  };
  if (!set("source", mount.device.c_str())) return failed("device");
  if ((mount.flags & MS_RDONLY) && !set("ro", nullptr)) return failed("ro");
  if ((mount.flags & MS_SYNCHRONOUS) && !set("sync", nullptr)) return failed("sync");
  if ((mount.flags & MS_DIRSYNC) && !set("dirsync", nullptr)) return failed("dirsync");
  for (const std::string& option : mount.data) {
    std::pair<std::string, std::string> pair = absl::StrSplit(option, absl::MaxSplits('=', 1));
    if (pair.first == "addr" && absl::StartsWith(mount.type, "nfs")) {
      GANTRY_ASSIGN_OR_RETURN(pair.second, AddressOf(pair.second));
    }
    bool has_value = absl::StrContains(option, '=');
    if (!set(pair.first.c_str(), has_value ? pair.second.c_str() : nullptr)) return failed(option);
  }
  if (syscall(SYS_fsconfig, fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return failed("create");
  base::UniqueFd made(
      static_cast<int>(syscall(SYS_fsmount, fs.get(), FSMOUNT_CLOEXEC, Attributes(mount.flags))));
  if (!made) return failed("fsmount");
  return made;
}

}  // namespace

absl::StatusOr<base::UniqueFd> MakeVolumeMount(const VolumeMount& mount) {
  absl::StatusOr<base::UniqueFd> made = mount.bind ? CloneDirectory(mount) : MakeFileSystem(mount);
  if (!made.ok()) return base::Annotate(made.status(), kWhat);
  return made;
}

absl::Status AttachVolumeMount(const base::UniqueFd& mount, const VolumeMount& options,
                               int directory) {
  if (syscall(SYS_move_mount, mount.get(), "", directory, "",
              MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return base::ErrnoStatus(errno, absl::StrCat(kWhat, ": move_mount"));
  uint64_t propagation = options.propagation & ~static_cast<unsigned long>(MS_REC);
  return base::Annotate(
      SetAttributes(mount.get(), 0, propagation, (options.propagation & MS_REC) != 0), kWhat);
}

absl::StatusOr<bool> IsMounted(int parent, const char* name) {
  struct statx st;
  if (statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("stat ", name));
  return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

absl::Status UnmountEntry(int parent, const char* name) {
  return base::UnmountAll(absl::StrCat("/proc/self/fd/", parent, "/", name));
}

}  // namespace gantry::services
