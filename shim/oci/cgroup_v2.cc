#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/cgroup_v2_limits.h"
#include "shim/oci/cgroup_v2_stats.h"
#include "shim/oci/device_program.h"
#include "shim/oci/mounts.h"

namespace gantry::oci {
namespace {

// memory.events changes (and inotify says so) for every event below as well.
class OomWatchV2 : public OomWatch {
 public:
  OomWatchV2(base::UniqueFd inotify, std::string dir)
      : inotify_(std::move(inotify)), dir_(std::move(dir)) {
    kills_ = ReadCgroupKeys(dir_, "memory.events")["oom_kill"];
  }
  int fd() const override { return inotify_.get(); }
  bool Drain() override {
    char buffer[4096];
    while (read(inotify_.get(), buffer, sizeof buffer) > 0) {
    }
    auto keys = ReadCgroupKeys(dir_, "memory.events");
    if (keys.empty()) return false;
    bool killed = keys["oom_kill"] > kills_;
    kills_ = keys["oom_kill"];
    return killed;
  }

 private:
  base::UniqueFd inotify_;
  std::string dir_;
  uint64_t kills_ = 0;
};

class CgroupV2 : public Cgroup {
 public:
  CgroupV2(std::string root, std::string path)
      : root_(std::move(root)), path_(std::move(path)), dir_(root_ + path_) {}

  int version() const override { return 2; }
  std::string directory() const override { return dir_; }
  struct Remains Remains() const override {
    struct Remains remains;
    remains.memory_cgroup = path_;
    remains.memory_peak = ReadCgroupNumber(dir_, "memory.peak");  // Linux 5.19
    remains.memory_limit = ReadCgroupNumber(dir_, "memory.max");
    if (remains.memory_limit == UINT64_MAX) remains.memory_limit = 0;
    remains.oom_kills = ReadCgroupKeys(dir_, "memory.events")["oom_kill"];
    if (base::Exists(dir_ + "/cpu.pressure")) remains.pressure_dir = dir_;
    return remains;
  }

  absl::Status Create(pid_t tenant) override {
    bool existed = false;
    GANTRY_RETURN_IF_ERROR(MakeCgroupDirs(root_, path_, &existed));
    if (existed) GANTRY_RETURN_IF_ERROR(CheckCgroupIsFree(dir_, tenant));
    // Only a cgroup below one that was made threaded is so; processes cannot be put there.
    std::string type = ReadCgroupFile(dir_, "cgroup.type").value_or("");
    if (absl::StartsWith(type, "domain invalid")) {
      return absl::FailedPreconditionError(
          absl::StrCat("cgroup ", dir_, " lies below a threaded one: choose another cgroupsPath"));
    }
    EnableControllers();
    return absl::OkStatus();
  }

  // With a cgroup namespace the container may manage what is below its own cgroup; where its root
  // is another user than ours, that user has to own the files by which this is done (runtime-spec,
  // "Cgroup ownership"; the kernel lists them).
  absl::Status Delegate(uid_t uid, gid_t gid) override {
    std::string names = base::ReadFile("/sys/kernel/cgroup/delegate")
                            .value_or("cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n");
    if (chown(dir_.c_str(), uid, gid) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("chown ", dir_));
    }
    for (absl::string_view name : absl::StrSplit(names, '\n', absl::SkipEmpty())) {
      std::string file = absl::StrCat(dir_, "/", name);
      if (chown(file.c_str(), uid, gid) != 0 && errno != ENOENT) {
        return base::ErrnoStatus(errno, absl::StrCat("chown ", file));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const Resources& resources, bool initial) override {
    if (initial || !resources.devices.empty()) {
      auto program = BuildDeviceProgram(CompleteDeviceRules(resources.devices));
      GANTRY_RETURN_IF_ERROR(AttachDeviceProgram(dir_, program));
    }
    absl::Status status = ApplyLimitsV2(dir_, resources);
    return hindrance_.empty() ? status : base::Annotate(status, hindrance_);
  }

  absl::StatusOr<std::vector<CgroupJoin>> OpenJoins(pid_t beside) override {
    std::vector<CgroupJoin> joins(1);
    std::string dir = dir_;
    if (beside > 0 && !ReadCgroupFile(dir_, "cgroup.subtree_control").value_or("").empty()) {
      std::string own = base::ReadFile(absl::StrCat("/proc/", beside, "/cgroup")).value_or("");
      std::string path = OwnCgroup(own, "");
      if (absl::StartsWith(path, path_ + "/")) dir = root_ + path;
    }
    joins[0].path = dir + "/cgroup.procs";
    joins[0].fd.Reset(open(joins[0].path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!joins[0].fd.valid()) return base::ErrnoStatus(errno, absl::StrCat("open ", joins[0].path));
    return joins;
  }

  absl::Status Freeze(bool frozen) override {
    base::UniqueFd events(open((dir_ + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
    if (!events.valid()) return base::ErrnoStatus(errno, absl::StrCat("open ", dir_));
    GANTRY_RETURN_IF_ERROR(WriteCgroupFile(dir_, "cgroup.freeze", frozen ? "1" : "0"));
    absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (ReadCgroupKeys(dir_, "cgroup.events")["frozen"] != (frozen ? 1u : 0u)) {
      if (absl::Now() > deadline) {
        if (frozen) WriteCgroupFile(dir_, "cgroup.freeze", "0").IgnoreError();
        return absl::DeadlineExceededError(absl::StrCat(dir_, " did not freeze in 10 s"));
      }
      // The file polls as exceptional when it changed since it was last read.
      char buffer[256];
      (void)!pread(events.get(), buffer, sizeof buffer, 0);
      if (ReadCgroupKeys(dir_, "cgroup.events")["frozen"] == (frozen ? 1u : 0u)) break;
      pollfd wait = {events.get(), POLLPRI, 0};
      poll(&wait, 1, 100);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Frozen() const override {
    GANTRY_ASSIGN_OR_RETURN(std::string text, ReadCgroupFile(dir_, "cgroup.freeze"));
    return absl::StripAsciiWhitespace(text) == "1";
  }

  absl::StatusOr<std::vector<pid_t>> Pids() const override {
    std::vector<pid_t> pids;
    CollectPids(dir_, &pids);
    return pids;
  }

  absl::Status KillAll() override {
    absl::Status status = WriteCgroupFile(dir_, "cgroup.kill", "1");
    if (status.ok() || !base::Exists(dir_)) return absl::OkStatus();
    if (base::ErrnoOf(status) != ENOENT) return status;
    // Kernels before 5.14 have no cgroup.kill; what is frozen cannot fork, and SIGKILL wakes it.
    bool frozen = Freeze(true).ok();
    for (int round = 0; round < 100; ++round) {
      GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, Pids());
      for (pid_t pid : pids) kill(pid, SIGKILL);
      if (frozen || pids.empty()) break;
    }
    return frozen ? Freeze(false) : absl::OkStatus();
  }

  absl::StatusOr<Metrics> Stats() const override {
    Metrics metrics;
    metrics.version = 2;
    metrics.v2 = ReadStatsV2(dir_);
    return metrics;
  }

  absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom() const override {
    base::UniqueFd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    std::string file = dir_ + "/memory.events";
    if (!inotify.valid() || inotify_add_watch(inotify.get(), file.c_str(), IN_MODIFY) < 0) {
      int error = errno;
      if (error == ENOENT) return absl::UnimplementedError("the memory controller is not enabled");
      return base::ErrnoStatus(error, absl::StrCat("watch ", file));
    }
    return std::make_unique<OomWatchV2>(std::move(inotify), dir_);
  }

  absl::Status Remove(bool killed) override { return RemoveCgroupDir(dir_, killed); }

  // With a cgroup namespace, its own view or, where the kernel refuses another instance, a bind
  // mount of its directory; without one the host's view, to which /proc/PID/cgroup then refers too.
  absl::Status PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                          std::vector<MountStep>* steps) const override {
    MountFlags flags = ParseMountFlags(mount.options);
    const std::string& tree = cgroup_namespace ? dir_ : root_;
    MountStep step;
    step.kind = cgroup_namespace ? MountStep::Kind::kNew : MountStep::Kind::kTree;
    step.destination = mount.destination;
    step.type = step.source = "cgroup2";
    step.flags = flags.set;
    step.propagation = flags.propagation;
    step.fall_back_to_tree = true;
    GANTRY_ASSIGN_OR_RETURN(step.tree, CloneTree(tree, false));
    GANTRY_RETURN_IF_ERROR(SetTreeFlags(step.tree.get(), flags, tree));
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }

 private:
  // A controller works below a cgroup only when every ancestor hands it down. What hinders it is
  // told by the limit that needs the controller: then its file is missing.
  void EnableControllers() {
    std::string controllers = ReadCgroupFile(root_, "cgroup.controllers").value_or("");
    for (size_t i = 0; i < path_.size(); ++i) {
      if (path_[i] != '/') continue;
      std::string dir = root_ + path_.substr(0, i);
      std::string enabled = ReadCgroupFile(dir, "cgroup.subtree_control").value_or("");
      std::vector<absl::string_view> have =
          absl::StrSplit(absl::StripAsciiWhitespace(enabled), ' ', absl::SkipEmpty());
      std::vector<std::string> missing;
      for (absl::string_view name :
           absl::StrSplit(absl::StripAsciiWhitespace(controllers), ' ', absl::SkipEmpty())) {
        if (std::find(have.begin(), have.end(), name) != have.end()) continue;
        missing.push_back(absl::StrCat("+", name));
      }
      if (missing.empty()) continue;
      absl::Status status =
          WriteCgroupFile(dir, "cgroup.subtree_control", absl::StrJoin(missing, " "));
      if (base::ErrnoOf(status) == EBUSY) {
        hindrance_ = absl::StrCat(dir, " has processes of its own and cannot hand down ",
                                  "controllers: move them to a sub-cgroup");
        return;
      }
      if (status.ok()) continue;
      // One that cannot be handed down shall not keep the others.
      for (const std::string& one : missing) {
        WriteCgroupFile(dir, "cgroup.subtree_control", one).IgnoreError();
      }
    }
  }

  std::string root_;
  std::string path_;
  std::string dir_;
  std::string hindrance_;  // why controllers are not handed down; empty if they are
};

}  // namespace

absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV2(const CgroupSystem& system, std::string path) {
  return std::unique_ptr<Cgroup>(std::make_unique<CgroupV2>(system.root, std::move(path)));
}

}  // namespace gantry::oci
