#include "shim/oci/mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/user_namespace.h"

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

// A path of the client, on the host; used once. "ROOT/./PATH" names a part of a volume: containers
// may exchange directories for links in there at any time, so PATH is opened beneath ROOT
// (CVE-2021-25741). An invalid descriptor and errno when it fails; EPERM for a PATH that leads out.
base::UniqueFd OpenTree(const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0u);
  size_t split = path.find("/./");
  if (split == std::string::npos || split == 0)
    return base::UniqueFd(open_tree(AT_FDCWD, path.c_str(), flags));  // path: the client's
  absl::StatusOr<base::UniqueFd> part = base::Open(path.substr(0, split), O_PATH | O_DIRECTORY);
  if (part.ok())
    part = base::OpenUnder(part->get(), path.substr(split + 3), O_PATH, 0, base::Resolve::kBeneath);
  if (!part.ok()) {
    errno = base::ErrnoOf(part.status()) == EXDEV ? EPERM : base::ErrnoOf(part.status());
    return base::UniqueFd();
  }
  return base::UniqueFd(open_tree(part->get(), "", flags | AT_EMPTY_PATH));  // path: none
}

// "uids=0-1000-10#20-2000-1;gids=…", as crun's option: inside, outside, count.
absl::Status ParseIdmapText(absl::string_view text, std::vector<IdMapping>* uids,
                            std::vector<IdMapping>* gids) {
  for (absl::string_view list : absl::StrSplit(text, ';', absl::SkipEmpty())) {
    std::vector<IdMapping>* out = absl::ConsumePrefix(&list, "uids=")   ? uids
                                  : absl::ConsumePrefix(&list, "gids=") ? gids
                                                                        : nullptr;
    if (out == nullptr) return absl::InvalidArgumentError("idmap=: needs uids= or gids=");
    for (absl::string_view line : absl::StrSplit(list, '#')) {
      std::vector<absl::string_view> numbers = absl::StrSplit(line, '-');
      if (numbers.size() != 3) return absl::InvalidArgumentError("idmap=: needs IN-OUT-COUNT");
      uint32_t values[3];
      for (size_t i = 0; i < 3; ++i) {
        GANTRY_ASSIGN_OR_RETURN(uint64_t value, base::ParseDecimal(numbers[i], UINT32_MAX));
        values[i] = static_cast<uint32_t>(value);
      }
      out->push_back({values[0], values[1], values[2]});
    }
  }
  return absl::OkStatus();
}

// The mappings of the mount itself or else those of the container's user namespace.
absl::StatusOr<base::UniqueFd> IdmapNamespace(const MountSpec& mount, const MountFlags& flags,
                                              const Spec& spec) {
  std::vector<IdMapping> uids = mount.uid_mappings, gids = mount.gid_mappings;
  GANTRY_RETURN_IF_ERROR(ParseIdmapText(flags.idmap_text, &uids, &gids));
  if (!uids.empty() && !gids.empty()) return MakeUserNamespace(uids, gids);
  if (!uids.empty() || !gids.empty()) {
    return absl::InvalidArgumentError("uidMappings and gidMappings must be given together");
  }
  const Namespace* user = spec.FindNamespace(CLONE_NEWUSER);
  if (user == nullptr) {
    return absl::InvalidArgumentError(
        "option idmap needs mappings, of the mount or of a user namespace");
  }
  if (!user->path.empty()) return base::Open(user->path, O_RDONLY);
  return MakeUserNamespace(spec.linux_.uid_mappings, spec.linux_.gid_mappings);
}

bool WantsIdmap(const MountSpec& mount, const MountFlags& flags) {
  return flags.idmap || !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
}

absl::Status MapTree(int tree, const MountSpec& mount, const MountFlags& flags, const Spec& spec) {
  if (!WantsIdmap(mount, flags)) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd user, IdmapNamespace(mount, flags, spec));
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<uint64_t>(user.get());
  unsigned recursive = flags.recursive_idmap ? AT_RECURSIVE : 0;
  if (mount_setattr(tree, "", AT_EMPTY_PATH | recursive, &attr, sizeof attr) == 0) {
    return absl::OkStatus();
  }
  int error = errno;
  std::string what = "map ids of the mount";
  if (error == EINVAL) what += " (does its file system support id-mapped mounts?)";
  return base::ErrnoStatus(error, what);
}

absl::StatusOr<MountStep> PlanBind(const MountSpec& mount, const MountFlags& flags,
                                   const Spec& spec, const std::string& bundle, bool keep_shared) {
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
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(MapTree(step.tree.get(), mount, flags, spec),
                     absl::StrCat("mount \"", mount.source, "\" on \"", mount.destination, "\"")));
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
  step.copy_up = flags.copy_up;
  step.recursive_set = flags.recursive_set;
  step.recursive_cleared = flags.recursive_cleared;
  if (mount.type == "tmpfs") {
    step.readonly_later = (flags.set & MS_RDONLY) != 0;
    step.flags &= ~static_cast<unsigned long>(MS_RDONLY);
    step.inherit_mode = !absl::StrContains(flags.data, "mode=");
  }
  return step;
}

// Who does not own the network namespace may not mount a sysfs (kernfs ties them together): there
// the host's is shown.
absl::Status AllowHostSysfs(const Spec& spec, MountFlags flags, MountStep* step) {
  const Namespace* network = spec.FindNamespace(CLONE_NEWNET);
  bool owned = network != nullptr && network->path.empty();
  if (step->type != "sysfs" || owned || spec.FindNamespace(CLONE_NEWUSER) == nullptr) {
    return absl::OkStatus();
  }
  if (flags.set & MS_RDONLY) flags.recursive_set |= MOUNT_ATTR_RDONLY;
  GANTRY_ASSIGN_OR_RETURN(step->tree, CloneTree("/sys", true));
  GANTRY_RETURN_IF_ERROR(DetachPropagation(step->tree.get(), false, "/sys"));
  step->fall_back_to_tree = true;
  return SetTreeFlags(step->tree.get(), flags, "/sys");
}

absl::Status CheckFlags(const MountSpec& mount, const MountFlags& flags, bool bind) {
  auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("mount on \"", mount.destination, "\": ", why));
  };
  if (flags.copy_up && (mount.type != "tmpfs" || bind)) {
    return refuse("option tmpcopyup is for tmpfs");
  }
  if (flags.copy_up && mount.destination == "/") {
    return refuse("option tmpcopyup cannot be used on the root");
  }
  if (WantsIdmap(mount, flags) && !bind) return refuse("id mappings are for bind mounts");
  return absl::OkStatus();
}

absl::Status PlanMount(const MountSpec& mount, const Spec& spec, const std::string& bundle,
                       const Cgroup& cgroup, bool keep_shared, std::vector<MountStep>* steps) {
  MountFlags flags = ParseMountFlags(mount.options);
  bool bind = (flags.set & MS_BIND) != 0 || mount.type == "bind" || mount.type == "rbind";
  GANTRY_RETURN_IF_ERROR(CheckFlags(mount, flags, bind));
  if (flags.set & MS_REMOUNT) {
    MountStep step = PlanFileSystem(mount, flags);
    step.kind = MountStep::Kind::kRemount;
    step.readonly_later = false;
    step.flags = flags.set;
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }
  if (bind) {
    if (mount.type == "rbind") flags.set |= MS_REC;
    // Control groups beneath the host's /sys belong to whoever has their owner's id: a mapped root
    // must not find them writable beneath a read-only /sys (CVE-2023-25809).
    bool readonly_tree = (flags.set & MS_REC) != 0 && (flags.set & MS_RDONLY) != 0;
    if (readonly_tree && mount.source == "/sys" && spec.FindNamespace(CLONE_NEWUSER) != nullptr) {
      flags.recursive_set |= MOUNT_ATTR_RDONLY;
    }
    GANTRY_ASSIGN_OR_RETURN(MountStep step, PlanBind(mount, flags, spec, bundle, keep_shared));
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
  MountStep step = PlanFileSystem(mount, flags);
  GANTRY_RETURN_IF_ERROR(AllowHostSysfs(spec, std::move(flags), &step));
  steps->push_back(std::move(step));
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
    } else if (option == "idmap" || option == "ridmap" || absl::StartsWith(option, "idmap=") ||
               absl::StartsWith(option, "ridmap=")) {
      flags.idmap = true;
      flags.recursive_idmap = option[0] == 'r';
      size_t equals = option.find('=');
      if (equals != std::string::npos) flags.idmap_text = option.substr(equals + 1);
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
  for (const char* name : {"idmap", "ridmap", "tmpcopyup"}) names.emplace_back(name);
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
