#include "snapshotter/overlayfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "snapshotter/usage.h"

namespace gantry::snapshotter {
namespace {

// Enough for a burst of container starts; more are made while those run.
constexpr size_t kReady = 16;
constexpr char kIndexParameter[] = "/sys/module/overlay/parameters/index";

// The initial user namespace maps every id to itself.
bool InUserNamespace() {
  absl::StatusOr<std::string> map = base::ReadFile("/proc/self/uid_map", 4096);
  if (!map.ok()) return false;
  std::vector<std::string> fields = absl::StrSplit(*map, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  return fields != std::vector<std::string>{"0", "0", "4294967295"};
}

// overlayfs needs d_type to tell whiteouts from files (XFS made with ftype=0 lacks it).
absl::Status CheckEntryTypes(const std::string& dir) {
  DIR* stream = opendir(dir.c_str());
  if (stream == nullptr) return base::ErrnoStatus(errno, absl::StrCat("open ", dir));
  absl::Cleanup close = [stream] { closedir(stream); };
  while (dirent* entry = readdir(stream)) {
    if (entry->d_type == DT_UNKNOWN) {
      return absl::FailedPreconditionError(absl::StrCat(
          dir,
          ": the file system does not report d_type; overlayfs needs it. Use another file "
          "system (XFS: made with ftype=1) or the native snapshotter"));
    }
  }
  return absl::OkStatus();
}

base::Mount Bind(std::string source, bool writable) {
  return {"bind", std::move(source), "", {writable ? "rw" : "ro", "rbind"}};
}

}  // namespace

absl::Status OverlayDriver::Supported(const std::string& root) {
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(root, 0700));
  std::string probe = absl::StrCat(root, "/check-", base::RandomHex(6));
  absl::Cleanup remove = [&probe] {
    base::UnmountAll(probe + "/merged").IgnoreError();
    base::RemoveTree(probe).IgnoreError();
  };
  for (const char* dir : {"lower1", "lower2", "upper", "work", "merged"})
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(probe, "/", dir), 0700));
  GANTRY_RETURN_IF_ERROR(CheckEntryTypes(probe));
  base::Mount mount{"overlay", "overlay", "", {}};
  if (InUserNamespace()) mount.options.push_back("userxattr");
  mount.options.push_back(absl::StrCat("workdir=", probe, "/work"));
  mount.options.push_back(absl::StrCat("upperdir=", probe, "/upper"));
  mount.options.push_back(absl::StrCat("lowerdir=", probe, "/lower2:", probe, "/lower1"));
  absl::Status mounted = base::MountAll({mount}, probe + "/merged");
  if (mounted.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("overlayfs cannot be used on ", root, ": ", mounted.message()));
}

absl::StatusOr<std::unique_ptr<Driver>> OverlayDriver::Open(const DriverConfig& config) {
  std::unique_ptr<OverlayDriver> driver(new OverlayDriver());
  GANTRY_RETURN_IF_ERROR(driver->OpenRoot(config));
  GANTRY_RETURN_IF_ERROR(Supported(config.root));
  if (base::Exists(kIndexParameter)) driver->common_options_.push_back("index=off");
  driver->userxattr_ = InUserNamespace();
  if (driver->userxattr_) driver->common_options_.push_back("userxattr");
  auto make = [](int dir_fd, const std::string& name) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(MakeDirAt(dir_fd, name, 0700));
    GANTRY_RETURN_IF_ERROR(MakeDirAt(dir_fd, name + "/fs", 0755));
    return MakeDirAt(dir_fd, name + "/work", 0711);
  };
  GANTRY_ASSIGN_OR_RETURN(driver->pool_, DirPool::Open(config.root + "/pool", kReady, make));
  return std::unique_ptr<Driver>(std::move(driver));
}

absl::Status OverlayDriver::Create(const Spec& spec) {
  GANTRY_RETURN_IF_ERROR(ValidateId(spec.id));
  for (const std::string& parent : spec.parents) GANTRY_RETURN_IF_ERROR(ValidateId(parent));
  bool from_pool = false;
  if (spec.kind == Kind::kActive) {
    GANTRY_ASSIGN_OR_RETURN(from_pool, pool_->Take(snapshots_fd(), spec.id));
  }
  if (!from_pool) GANTRY_RETURN_IF_ERROR(MakeDir(spec.id, 0700));
  absl::Status filled = Fill(spec, from_pool);
  if (!filled.ok()) Remove(spec.id).IgnoreError();  // List() shows it if even that fails
  return filled;
}

absl::Status OverlayDriver::Fill(const Spec& spec, bool from_pool) {
  std::string fs = spec.id + "/fs";
  if (!from_pool) {
    GANTRY_RETURN_IF_ERROR(MakeDir(fs, 0755));
    if (spec.kind == Kind::kActive) GANTRY_RETURN_IF_ERROR(MakeDir(spec.id + "/work", 0711));
  }
  // The root directory of a mount is the topmost layer's.
  return InheritRoot(spec, spec.parents.empty() ? "" : spec.parents.front() + "/fs", fs);
}

std::vector<base::Mount> OverlayDriver::Mounts(const Spec& spec) const {
  bool writable = spec.kind == Kind::kActive;
  if (spec.parents.empty()) return {Bind(PathOf(spec.id + "/fs"), writable)};
  if (!writable && spec.parents.size() == 1)
    return {Bind(PathOf(spec.parents.front() + "/fs"), false)};
  base::Mount mount{"overlay", "overlay", "", common_options_};
  if (writable) {
    mount.options.push_back(absl::StrCat("workdir=", PathOf(spec.id), "/work"));
    mount.options.push_back(absl::StrCat("upperdir=", PathOf(spec.id), "/fs"));
  }
  auto layer = [this](std::string* out, const std::string& id) {
    absl::StrAppend(out, PathOf(id), "/fs");
  };
  mount.options.push_back(absl::StrCat("lowerdir=", absl::StrJoin(spec.parents, ":", layer)));
  if (writable) {
    mount.options.insert(mount.options.end(), config().mount_options.begin(),
                         config().mount_options.end());
  }
  return {std::move(mount)};
}

absl::StatusOr<Usage> OverlayDriver::Commit(const std::string& id, std::optional<Usage> known) {
  GANTRY_RETURN_IF_ERROR(ValidateId(id));
  if (!known) return GetUsage(id);
  GANTRY_RETURN_IF_ERROR(Stat(id + "/fs").status());
  return *known;
}

absl::StatusOr<Usage> OverlayDriver::GetUsage(const std::string& id) const {
  GANTRY_RETURN_IF_ERROR(ValidateId(id));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fs,
                          base::Open(PathOf(id + "/fs"), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return CountUsage(std::move(fs));
}

absl::StatusOr<std::string> OverlayDriver::LayerDir(const std::string& id) const {
  GANTRY_RETURN_IF_ERROR(ValidateId(id));
  if (userxattr_) {
    return absl::UnimplementedError(
        "layer directory: inside a user namespace layers are unpacked through a mount");
  }
  GANTRY_RETURN_IF_ERROR(Stat(id + "/fs").status());
  return PathOf(id + "/fs");
}

}  // namespace gantry::snapshotter
