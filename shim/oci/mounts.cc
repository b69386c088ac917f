#include "shim/oci/mounts.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"

namespace gantry::oci {
namespace {

struct FlagName {
  absl::string_view name;
  bool clear;
  unsigned long flag;
};

// mount(8)'s words for mount(2)'s flags.
constexpr FlagName kFlags[] = {
    {"async", true, MS_SYNCHRONOUS},
    {"atime", true, MS_NOATIME},
    {"bind", false, MS_BIND},
    {"defaults", false, 0},
    {"dev", true, MS_NODEV},
    {"diratime", true, MS_NODIRATIME},
    {"dirsync", false, MS_DIRSYNC},
    {"exec", true, MS_NOEXEC},
    {"iversion", false, MS_I_VERSION},
    {"lazytime", false, MS_LAZYTIME},
    {"loud", true, MS_SILENT},
    {"mand", false, MS_MANDLOCK},
    {"noatime", false, MS_NOATIME},
    {"nodev", false, MS_NODEV},
    {"nodiratime", false, MS_NODIRATIME},
    {"noexec", false, MS_NOEXEC},
    {"noiversion", true, MS_I_VERSION},
    {"nolazytime", true, MS_LAZYTIME},
    {"nomand", true, MS_MANDLOCK},
    {"norelatime", true, MS_RELATIME},
    {"nostrictatime", true, MS_STRICTATIME},
    {"nosuid", false, MS_NOSUID},
    {"nosymfollow", false, 256 /* MS_NOSYMFOLLOW */},
    {"rbind", false, MS_BIND | MS_REC},
    {"relatime", false, MS_RELATIME},
    {"remount", false, MS_REMOUNT},
    {"ro", false, MS_RDONLY},
    {"rw", true, MS_RDONLY},
    {"silent", false, MS_SILENT},
    {"strictatime", false, MS_STRICTATIME},
    {"suid", true, MS_NOSUID},
    {"symfollow", true, 256},
    {"sync", false, MS_SYNCHRONOUS},
};

constexpr std::pair<absl::string_view, unsigned long> kPropagation[] = {
    {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC}};

struct RecursiveName {
  absl::string_view name;
  bool clear;
  uint64_t attr;
};
constexpr RecursiveName kRecursive[] = {{"rro", false, MOUNT_ATTR_RDONLY},
                                        {"rrw", true, MOUNT_ATTR_RDONLY},
                                        {"rnosuid", false, MOUNT_ATTR_NOSUID},
                                        {"rsuid", true, MOUNT_ATTR_NOSUID},
                                        {"rnodev", false, MOUNT_ATTR_NODEV},
                                        {"rdev", true, MOUNT_ATTR_NODEV},
                                        {"rnoexec", false, MOUNT_ATTR_NOEXEC},
                                        {"rexec", true, MOUNT_ATTR_NOEXEC},
                                        {"rnodiratime", false, MOUNT_ATTR_NODIRATIME},
                                        {"rdiratime", true, MOUNT_ATTR_NODIRATIME},
                                        {"rrelatime", false, MOUNT_ATTR_RELATIME},
                                        {"rnoatime", false, MOUNT_ATTR_NOATIME},
                                        {"rstrictatime", false, MOUNT_ATTR_STRICTATIME},
                                        {"rnosymfollow", false, MOUNT_ATTR_NOSYMFOLLOW},
                                        {"rsymfollow", true, MOUNT_ATTR_NOSYMFOLLOW}};

bool ParseRecursive(absl::string_view option, MountFlags* flags) {
  for (const RecursiveName& known : kRecursive) {
    if (known.name != option) continue;
    (known.clear ? flags->recursive_cleared : flags->recursive_set) |= known.attr;
    (known.clear ? flags->recursive_set : flags->recursive_cleared) &= ~known.attr;
    // The access time is one field, to be cleared before it is set.
    if (absl::EndsWith(option, "atime") && !absl::EndsWith(option, "diratime")) {
      flags->recursive_cleared |= MOUNT_ATTR__ATIME;
    }
    return true;
  }
  return false;
}

bool ParseFlag(absl::string_view option, MountFlags* flags) {
  for (const FlagName& known : kFlags) {
    if (known.name != option) continue;
    if (known.clear) {
      flags->set &= ~known.flag;
      flags->cleared |= known.flag;
    } else {
      flags->set |= known.flag;
      flags->cleared &= ~known.flag;
    }
    return true;
  }
  return false;
}

uint64_t ToAttributes(unsigned long flags) {
  uint64_t attr = 0;
  if (flags & MS_RDONLY) attr |= MOUNT_ATTR_RDONLY;
  if (flags & MS_NOSUID) attr |= MOUNT_ATTR_NOSUID;
  if (flags & MS_NODEV) attr |= MOUNT_ATTR_NODEV;
  if (flags & MS_NOEXEC) attr |= MOUNT_ATTR_NOEXEC;
  if (flags & MS_NODIRATIME) attr |= MOUNT_ATTR_NODIRATIME;
  if (flags & 256) attr |= MOUNT_ATTR_NOSYMFOLLOW;
  return attr;
}

absl::Status SetAttributes(int tree, mount_attr attr, unsigned extra, const std::string& path) {
  if (attr.attr_set == 0 && attr.attr_clr == 0 && attr.propagation == 0) return absl::OkStatus();
  if (mount_setattr(tree, "", AT_EMPTY_PATH | extra, &attr, sizeof attr) == 0) {
    return absl::OkStatus();
  }
  return base::ErrnoStatus(errno, absl::StrCat("set mount options of ", path));
}

// What a bind mount of the host's tree inherits: by default it still receives what the host mounts
// beneath (slave), but sends nothing back.
absl::Status DetachPropagation(int tree, bool keep_shared, const std::string& path) {
  if (keep_shared) return absl::OkStatus();
  mount_attr attr = {};
  attr.propagation = MS_SLAVE;
  return SetAttributes(tree, attr, AT_RECURSIVE, path);
}

// A path of the client, on the host; used once.
base::UniqueFd OpenTree(const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0u);
  return base::UniqueFd(open_tree(AT_FDCWD, path.c_str(), flags));  // path: the client's
}

absl::StatusOr<MountStep> PlanBind(const MountSpec& mount, const MountFlags& flags,
                                   const std::string& bundle, bool keep_shared) {
  MountStep step;
  step.kind = MountStep::Kind::kTree;
  step.destination = mount.destination;
  step.propagation = flags.propagation;
  std::string source =
      absl::StartsWith(mount.source, "/") ? mount.source : absl::StrCat(bundle, "/", mount.source);
  if (mount.source.empty()) errno = EINVAL;
  auto tree = mount.source.empty() ? base::UniqueFd() : OpenTree(source, (flags.set & MS_REC) != 0);
  struct stat st;
  if (!tree.valid() || fstat(tree.get(), &st) != 0) {
    return base::ErrnoStatus(
        errno, absl::StrCat("mount \"", mount.source, "\" on \"", mount.destination, "\": source"));
  }
  step.directory = S_ISDIR(st.st_mode);
  step.tree = std::move(tree);
  GANTRY_RETURN_IF_ERROR(DetachPropagation(step.tree.get(), keep_shared, source));
  GANTRY_RETURN_IF_ERROR(SetTreeFlags(step.tree.get(), flags, source));
  return step;
}

MountStep PlanFileSystem(const MountSpec& mount, MountFlags flags) {
  MountStep step;
  step.destination = mount.destination;
  step.type = mount.type;
  step.source = mount.source;
  step.data = flags.data;
  step.propagation = flags.propagation;
  step.flags = flags.set;
  if (mount.type == "tmpfs") {
    step.readonly_later = (flags.set & MS_RDONLY) != 0;
    step.flags &= ~static_cast<unsigned long>(MS_RDONLY);
    step.inherit_mode = !absl::StrContains(flags.data, "mode=");
  }
  return step;
}

absl::Status PlanMount(const MountSpec& mount, const Spec& spec, const std::string& bundle,
                       const Cgroup& cgroup, bool keep_shared, std::vector<MountStep>* steps) {
  MountFlags flags = ParseMountFlags(mount.options);
  if (flags.copy_up) {
    return absl::UnimplementedError(
        absl::StrCat("mount on \"", mount.destination, "\": option tmpcopyup is not supported"));
  }
  if (flags.idmap || !mount.uid_mappings.empty() || !mount.gid_mappings.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("mount on \"", mount.destination, "\": id-mapped mounts are not supported"));
  }
  if (flags.set & MS_REMOUNT) {
    MountStep step = PlanFileSystem(mount, flags);
    step.kind = MountStep::Kind::kRemount;
    step.readonly_later = false;
    step.flags = flags.set;
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }
  if ((flags.set & MS_BIND) != 0 || mount.type == "bind" || mount.type == "rbind") {
    if (mount.type == "rbind") flags.set |= MS_REC;
    GANTRY_ASSIGN_OR_RETURN(MountStep step, PlanBind(mount, flags, bundle, keep_shared));
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }
  if (mount.type == "cgroup" || mount.type == "cgroup2") {
    return cgroup.PlanMounts(mount, spec.FindNamespace(CLONE_NEWCGROUP) != nullptr, steps);
  }
  if (mount.type.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("mount on \"", mount.destination, "\": type is missing"));
  }
  steps->push_back(PlanFileSystem(mount, std::move(flags)));
  return absl::OkStatus();
}

}  // namespace

MountFlags ParseMountFlags(const std::vector<std::string>& options) {
  MountFlags flags;
  for (const std::string& option : options) {
    if (ParseFlag(option, &flags) || ParseRecursive(option, &flags)) continue;
    auto propagation = ParsePropagation(option);
    if (propagation.ok() && *propagation != 0) {
      flags.propagation.push_back(*propagation);
    } else if (option == "tmpcopyup") {
      flags.copy_up = true;
    } else if (option == "idmap" || option == "ridmap") {
      flags.idmap = true;
    } else if (!option.empty()) {
      absl::StrAppend(&flags.data, flags.data.empty() ? "" : ",", option);
    }
  }
  return flags;
}

std::vector<std::string> KnownMountOptions() {
  std::vector<std::string> names;
  for (const FlagName& known : kFlags) names.emplace_back(known.name);
  for (const RecursiveName& known : kRecursive) names.emplace_back(known.name);
  for (const auto& [name, flag] : kPropagation) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<unsigned long> ParsePropagation(absl::string_view word) {
  if (word.empty()) return 0ul;
  for (const auto& [name, flags] : kPropagation) {
    if (name == word) return flags;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("linux.rootfsPropagation: unknown value \"", word, "\""));
}

absl::StatusOr<base::UniqueFd> CloneTree(const std::string& path, bool recursive) {
  base::UniqueFd tree = OpenTree(path, recursive);
  if (!tree.valid()) return base::ErrnoStatus(errno, absl::StrCat("bind mount of ", path));
  return tree;
}

absl::Status SetTreeFlags(int tree, const MountFlags& flags, const std::string& path) {
  mount_attr attr = {};
  attr.attr_set = ToAttributes(flags.set);
  attr.attr_clr = ToAttributes(flags.cleared);
  if (flags.set & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)) {
    attr.attr_clr |= MOUNT_ATTR__ATIME;
    if (flags.set & MS_NOATIME) attr.attr_set |= MOUNT_ATTR_NOATIME;
    if (flags.set & MS_STRICTATIME) attr.attr_set |= MOUNT_ATTR_STRICTATIME;
  }
  GANTRY_RETURN_IF_ERROR(SetAttributes(tree, attr, 0, path));
  mount_attr recursive = {};
  recursive.attr_set = flags.recursive_set;
  recursive.attr_clr = flags.recursive_cleared;
  return SetAttributes(tree, recursive, AT_RECURSIVE, path);
}

absl::Status PlanMounts(const Spec& spec, const std::string& bundle, const Cgroup& cgroup,
                        bool keep_shared, std::vector<MountStep>* steps) {
  for (const MountSpec& mount : spec.mounts) {
    GANTRY_RETURN_IF_ERROR(PlanMount(mount, spec, bundle, cgroup, keep_shared, steps));
  }
  return absl::OkStatus();
}

}  // namespace gantry::oci
