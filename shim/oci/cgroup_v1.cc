#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/cgroup_v1_devices.h"
#include "shim/oci/cgroup_v1_stats.h"
#include "shim/oci/mounts.h"

namespace gantry::oci {
namespace {

// memory.oom_control signals at every OOM event and at the removal of the cgroup; oom_kill of the
// same file tells the two apart.
class OomWatchV1 : public OomWatch {
 public:
  OomWatchV1(base::UniqueFd event, base::UniqueFd control, std::string dir)
      : event_(std::move(event)), control_(std::move(control)), dir_(std::move(dir)) {
    kills_ = Kills();
  }
  int fd() const override { return event_.get(); }
  bool Drain() override {
    uint64_t count = 0;
    bool signalled = read(event_.get(), &count, sizeof count) == sizeof count;
    uint64_t kills = Kills();
    bool killed = kills > kills_;
    kills_ = kills;
    // Kernels before 4.13 do not count kills; there the event alone has to do while the cgroup is
    // there.
    return killed || (signalled && !counts_ && base::Exists(dir_));
  }

 private:
  uint64_t Kills() {
    auto keys = ReadCgroupKeys(dir_, "memory.oom_control");
    counts_ = keys.count("oom_kill") > 0 || keys.empty();
    return keys.count("oom_kill") ? keys["oom_kill"] : kills_;
  }
  base::UniqueFd event_;
  base::UniqueFd control_;
  std::string dir_;
  uint64_t kills_ = 0;
  bool counts_ = true;
};

class CgroupV1 : public Cgroup {
 public:
  struct Part {
    CgroupHierarchy hierarchy;
    std::string path;  // below the mount point
    std::string dir;   // mount point + path
  };

  explicit CgroupV1(std::vector<Part> parts) : parts_(std::move(parts)) {}

  int version() const override { return 1; }

  absl::Status Create(pid_t tenant) override {
    for (const Part& part : parts_) {
      bool existed = false;
      GANTRY_RETURN_IF_ERROR(MakeCgroupDirs(part.hierarchy.mount_point, part.path, &existed));
      if (existed) GANTRY_RETURN_IF_ERROR(CheckCgroupIsFree(part.dir, tenant));
      if (part.hierarchy.Has("cpuset")) GANTRY_RETURN_IF_ERROR(InheritCpuset(part));
    }
    return absl::OkStatus();
  }

  absl::Status Apply(const Resources& resources, bool initial) override;

  absl::StatusOr<std::vector<CgroupJoin>> OpenJoins(pid_t) override {
    std::vector<CgroupJoin> joins;
    for (const Part& part : parts_) {
      CgroupJoin join;
      join.path = part.dir + "/tasks";
      join.fd.Reset(open(join.path.c_str(), O_WRONLY | O_CLOEXEC));
      if (!join.fd.valid()) return base::ErrnoStatus(errno, absl::StrCat("open ", join.path));
      joins.push_back(std::move(join));
    }
    return joins;
  }

  absl::Status Freeze(bool frozen) override {
    std::string dir = DirOf("freezer");
    if (dir.empty()) return Missing("freezer", frozen ? "pause" : "resume");
    const char* state = frozen ? "FROZEN" : "THAWED";
    // A task that forks meanwhile can keep the state at FREEZING until it is written again.
    for (int attempt = 0; attempt < 1000; ++attempt) {
      GANTRY_RETURN_IF_ERROR(WriteCgroupFile(dir, "freezer.state", state));
      GANTRY_ASSIGN_OR_RETURN(std::string now, ReadCgroupFile(dir, "freezer.state"));
      if (absl::StripAsciiWhitespace(now) == state) return absl::OkStatus();
      absl::SleepFor(absl::Microseconds(attempt < 50 ? 20 : 2000));
    }
    if (frozen) WriteCgroupFile(dir, "freezer.state", "THAWED").IgnoreError();
    return absl::DeadlineExceededError(absl::StrCat("freezer of ", dir, " stayed FREEZING"));
  }

  absl::StatusOr<bool> Frozen() const override {
    std::string dir = DirOf("freezer");
    if (dir.empty()) return false;
    GANTRY_ASSIGN_OR_RETURN(std::string now, ReadCgroupFile(dir, "freezer.state"));
    return absl::StripAsciiWhitespace(now) != "THAWED";
  }

  absl::StatusOr<std::vector<pid_t>> Pids() const override {
    std::vector<pid_t> pids;
    CollectPids(directory(), &pids);
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    return pids;
  }

  absl::Status KillAll() override {
    std::string freezer = DirOf("freezer");
    for (int round = 0; round < 100; ++round) {
      GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, Pids());
      if (pids.empty()) return absl::OkStatus();
      bool frozen = !freezer.empty() && Freeze(true).ok();
      GANTRY_ASSIGN_OR_RETURN(pids, Pids());
      for (pid_t pid : pids) kill(pid, SIGKILL);
      if (!freezer.empty())
        GANTRY_RETURN_IF_ERROR(WriteCgroupFile(freezer, "freezer.state", "THAWED"));
      // Frozen processes could not fork: all that was there has its SIGKILL.
      if (frozen) return absl::OkStatus();
    }
    return absl::DeadlineExceededError(
        absl::StrCat("processes in ", directory(), " keep appearing"));
  }

  absl::StatusOr<Metrics> Stats() const override {
    Metrics metrics;
    metrics.version = 1;
    for (const Part& part : parts_) {
      for (const std::string& controller : part.hierarchy.controllers) {
        ReadStatsV1(controller, part.dir, &metrics.v1);
      }
    }
    return metrics;
  }

  absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom() const override {
    std::string dir = DirOf("memory");
    if (dir.empty()) return absl::UnimplementedError("the memory controller is not mounted");
    base::UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    base::UniqueFd control(open((dir + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
    if (!event.valid() || !control.valid()) {
      return base::ErrnoStatus(errno, absl::StrCat("watch ", dir, "/memory.oom_control"));
    }
    GANTRY_RETURN_IF_ERROR(WriteCgroupFile(dir, "cgroup.event_control",
                                           absl::StrCat(event.get(), " ", control.get())));
    return std::make_unique<OomWatchV1>(std::move(event), std::move(control), dir);
  }

  absl::Status Remove(bool killed) override {
    absl::Status first;
    for (const Part& part : parts_) {
      absl::Status status = RemoveCgroupDir(part.dir, killed);
      if (!status.ok() && first.ok()) first = status;
    }
    return first;
  }

  absl::Status PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                          std::vector<MountStep>* steps) const override;

  struct Remains Remains() const override {
    struct Remains remains;
    for (const Part& part : parts_) {
      if (!part.hierarchy.Has("memory")) continue;
      constexpr uint64_t kUnlimited = uint64_t{1} << 62;
      remains.memory_cgroup = part.path;
      remains.memory_peak = ReadCgroupNumber(part.dir, "memory.max_usage_in_bytes");
      remains.memory_limit = ReadCgroupNumber(part.dir, "memory.limit_in_bytes");
      if (remains.memory_limit >= kUnlimited) remains.memory_limit = 0;
      remains.oom_kills = ReadCgroupKeys(part.dir, "memory.oom_control")["oom_kill"];
    }
    return remains;
  }

  std::string directory() const override {
    for (const char* controller : {"pids", "devices", "freezer", "memory", "cpu"}) {
      std::string dir = DirOf(controller);
      if (!dir.empty()) return dir;
    }
    return parts_[0].dir;
  }

 private:
  std::string DirOf(absl::string_view controller) const {
    for (const Part& part : parts_) {
      if (part.hierarchy.Has(controller)) return part.dir;
    }
    return {};
  }

  static absl::Status Missing(absl::string_view controller, absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot set ", what, ": the cgroup controller ", controller, " is not mounted"));
  }

  absl::Status Set(absl::string_view controller, absl::string_view file,
                   absl::string_view value) const {
    std::string dir = DirOf(controller);
    if (dir.empty()) return Missing(controller, file);
    absl::Status status = WriteCgroupFile(dir, file, value);
    if (base::ErrnoOf(status) != ENOENT || !base::Exists(dir)) return status;
    return absl::FailedPreconditionError(absl::StrCat("cannot set ", file,
                                                      ": this kernel's cgroup controller ",
                                                      controller, " has no such file"));
  }
  template <typename T>
  absl::Status SetIf(absl::string_view controller, absl::string_view file,
                     const std::optional<T>& value) const {
    return value ? Set(controller, file, absl::StrCat(*value)) : absl::OkStatus();
  }

  static absl::Status InheritCpuset(const Part& part);
  absl::Status ApplyMemory(const Resources& resources) const;
  absl::Status ApplyCpu(const Resources& resources) const;
  absl::Status ApplyBlockIo(const Resources& resources) const;
  absl::Status ApplyDevices(const std::vector<DeviceRule>& rules) const;
  absl::Status ApplyRest(const Resources& resources) const;

  std::vector<Part> parts_;
};

// A cpuset without cpus or mems takes no tasks: what is empty gets the value of the nearest cgroup
// above that has one, which most often is the parent.
absl::Status CgroupV1::InheritCpuset(const Part& part) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    std::vector<std::string> empty;  // from below
    std::string value;
    for (std::string path = part.path; value.empty(); path.resize(path.rfind('/'))) {
      std::string dir = part.hierarchy.mount_point + path;
      value = ReadCgroupFile(dir, file).value_or("");
      absl::StripAsciiWhitespace(&value);
      if (path.empty()) break;
      if (value.empty()) empty.push_back(dir);
    }
    for (auto dir = empty.rbegin(); dir != empty.rend(); ++dir) {
      GANTRY_RETURN_IF_ERROR(WriteCgroupFile(*dir, file, value));
    }
  }
  return absl::OkStatus();
}

absl::Status CgroupV1::ApplyMemory(const Resources& resources) const {
  const auto& memory = resources.memory;
  std::optional<int64_t> swap = memory.swap;
  // An unlimited memory with a limited sum of memory and swap makes no sense to the kernel.
  std::string dir = DirOf("memory");
  bool has_swap = !dir.empty() && base::Exists(dir + "/memory.memsw.limit_in_bytes");
  if (memory.limit == -1 && !swap && has_swap) swap = -1;
  if (memory.limit && swap && *swap != 0) {
    // The limit may not pass the sum at any moment: which first depends on the direction.
    absl::Status limit = Set("memory", "memory.limit_in_bytes", absl::StrCat(*memory.limit));
    GANTRY_RETURN_IF_ERROR(Set("memory", "memory.memsw.limit_in_bytes", absl::StrCat(*swap)));
    if (!limit.ok()) {
      GANTRY_RETURN_IF_ERROR(Set("memory", "memory.limit_in_bytes", absl::StrCat(*memory.limit)));
    }
  } else {
    if (memory.limit && *memory.limit != 0) {
      GANTRY_RETURN_IF_ERROR(SetIf("memory", "memory.limit_in_bytes", memory.limit));
    }
    if (swap && *swap != 0) {
      GANTRY_RETURN_IF_ERROR(SetIf("memory", "memory.memsw.limit_in_bytes", swap));
    }
  }
  if (memory.reservation && *memory.reservation != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("memory", "memory.soft_limit_in_bytes", memory.reservation));
  }
  if (memory.kernel_tcp && *memory.kernel_tcp != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp));
  }
  GANTRY_RETURN_IF_ERROR(SetIf("memory", "memory.swappiness", memory.swappiness));
  if (memory.disable_oom_killer) return Set("memory", "memory.oom_control", "1");
  return absl::OkStatus();  // memory.kernel: kernels since 5.16 refuse that limit
}

absl::Status CgroupV1::ApplyCpu(const Resources& resources) const {
  const auto& cpu = resources.cpu;
  if (cpu.shares && *cpu.shares != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.shares", cpu.shares));
  }
  if (cpu.realtime_period && *cpu.realtime_period != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.rt_period_us", cpu.realtime_period));
  }
  if (cpu.realtime_runtime && *cpu.realtime_runtime != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime));
  }
  if (cpu.period && *cpu.period != 0) {
    absl::Status period = SetIf("cpu", "cpu.cfs_period_us", cpu.period);
    // A shorter period under the old quota may exceed the parent's share: quota first, then again.
    if (!period.ok() && cpu.quota && *cpu.quota != 0) {
      GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.cfs_quota_us", cpu.quota));
      period = SetIf("cpu", "cpu.cfs_period_us", cpu.period);
    }
    GANTRY_RETURN_IF_ERROR(period);
  }
  if (cpu.quota && *cpu.quota != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.cfs_quota_us", cpu.quota));
  }
  GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.cfs_burst_us", cpu.burst));
  GANTRY_RETURN_IF_ERROR(SetIf("cpu", "cpu.idle", cpu.idle));
  if (!cpu.cpus.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset", "cpuset.cpus", cpu.cpus));
  if (!cpu.mems.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset", "cpuset.mems", cpu.mems));
  return absl::OkStatus();
}

absl::Status CgroupV1::ApplyBlockIo(const Resources& resources) const {
  const auto& io = resources.block_io;
  // CFQ's names are gone from newer kernels, where BFQ has its own.
  std::string dir = DirOf("blkio");
  bool bfq = !dir.empty() && !base::Exists(dir + "/blkio.weight") &&
             base::Exists(dir + "/blkio.bfq.weight");
  if (io.weight && *io.weight != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("blkio", bfq ? "blkio.bfq.weight" : "blkio.weight", io.weight));
  }
  if (io.leaf_weight && *io.leaf_weight != 0) {
    GANTRY_RETURN_IF_ERROR(SetIf("blkio", "blkio.leaf_weight", io.leaf_weight));
  }
  for (const BlockWeight& w : io.weight_devices) {
    std::string device = absl::StrCat(w.major, ":", w.minor, " ");
    if (w.weight) {
      GANTRY_RETURN_IF_ERROR(Set("blkio", bfq ? "blkio.bfq.weight_device" : "blkio.weight_device",
                                 absl::StrCat(device, *w.weight)));
    }
    if (w.leaf_weight) {
      GANTRY_RETURN_IF_ERROR(
          Set("blkio", "blkio.leaf_weight_device", absl::StrCat(device, *w.leaf_weight)));
    }
  }
  const std::pair<const char*, const std::vector<BlockThrottle>*> kThrottles[] = {
      {"blkio.throttle.read_bps_device", &io.read_bps},
      {"blkio.throttle.write_bps_device", &io.write_bps},
      {"blkio.throttle.read_iops_device", &io.read_iops},
      {"blkio.throttle.write_iops_device", &io.write_iops}};
  for (const auto& [file, throttles] : kThrottles) {
    for (const BlockThrottle& t : *throttles) {
      GANTRY_RETURN_IF_ERROR(Set("blkio", file, absl::StrCat(t.major, ":", t.minor, " ", t.rate)));
    }
  }
  return absl::OkStatus();
}

absl::Status CgroupV1::ApplyDevices(const std::vector<DeviceRule>& rules) const {
  if (rules.empty()) return absl::OkStatus();
  std::string dir = DirOf("devices");
  if (dir.empty()) return Missing("devices", "device rules");
  // What is allowed now matters unless the first rule ends it all.
  bool afresh = rules[0].type == 'a' && rules[0].major < 0 && rules[0].minor < 0;
  std::string now = afresh ? "" : ReadCgroupFile(dir, "devices.list").value_or("");
  GANTRY_ASSIGN_OR_RETURN(std::vector<DeviceWrite> writes, PlanDeviceWrites(now, rules));
  base::UniqueFd allow(open((dir + "/devices.allow").c_str(), O_WRONLY | O_CLOEXEC));
  base::UniqueFd deny(open((dir + "/devices.deny").c_str(), O_WRONLY | O_CLOEXEC));
  if (!allow.valid() || !deny.valid()) {
    return base::ErrnoStatus(errno, absl::StrCat("open device rules of ", dir));
  }
  for (const DeviceWrite& one : writes) {
    int fd = one.allow ? allow.get() : deny.get();
    if (write(fd, one.text.data(), one.text.size()) < 0) {
      return base::ErrnoStatus(errno, absl::StrCat("write \"", one.text, "\" to ", dir, "/devices.",
                                                   one.allow ? "allow" : "deny"));
    }
  }
  return absl::OkStatus();
}

absl::Status CgroupV1::ApplyRest(const Resources& resources) const {
  if (resources.pids_limit && *resources.pids_limit != 0) {
    GANTRY_RETURN_IF_ERROR(
        Set("pids", "pids.max",
            *resources.pids_limit < 0 ? std::string("max") : absl::StrCat(*resources.pids_limit)));
  }
  for (const auto& [size, limit] : resources.hugepage_limits) {
    std::string prefix = absl::StrCat("hugetlb.", size);
    GANTRY_RETURN_IF_ERROR(Set("hugetlb", prefix + ".limit_in_bytes", absl::StrCat(limit)));
    // With the reservation limited too a mapping too large fails in mmap, not by SIGBUS.
    if (base::Exists(absl::StrCat(DirOf("hugetlb"), "/", prefix, ".rsvd.limit_in_bytes"))) {
      GANTRY_RETURN_IF_ERROR(Set("hugetlb", prefix + ".rsvd.limit_in_bytes", absl::StrCat(limit)));
    }
  }
  for (const auto& [device, limits] : resources.rdma) {
    std::string text = device;
    if (limits.first) absl::StrAppend(&text, " hca_handle=", *limits.first);
    if (limits.second) absl::StrAppend(&text, " hca_object=", *limits.second);
    GANTRY_RETURN_IF_ERROR(Set("rdma", "rdma.max", text));
  }
  GANTRY_RETURN_IF_ERROR(SetIf("net_cls", "net_cls.classid", resources.network.class_id));
  for (const auto& [name, priority] : resources.network.priorities) {
    GANTRY_RETURN_IF_ERROR(
        Set("net_prio", "net_prio.ifpriomap", absl::StrCat(name, " ", priority)));
  }
  return absl::OkStatus();
}

absl::Status CgroupV1::Apply(const Resources& resources, bool initial) {
  if (!resources.unified.empty()) {
    return absl::InvalidArgumentError(
        "linux.resources.unified needs cgroup v2, and this machine has v1");
  }
  if (initial) {
    // Without the controller there is nothing to enforce with, as on machines booted without it;
    // only a spec that names devices insists.
    if (!DirOf("devices").empty() || !resources.devices.empty()) {
      GANTRY_RETURN_IF_ERROR(ApplyDevices(CompleteDeviceRules(resources.devices)));
    }
  } else {
    GANTRY_RETURN_IF_ERROR(ApplyDevices(resources.devices));
  }
  GANTRY_RETURN_IF_ERROR(ApplyMemory(resources));
  GANTRY_RETURN_IF_ERROR(ApplyCpu(resources));
  GANTRY_RETURN_IF_ERROR(ApplyBlockIo(resources));
  return ApplyRest(resources);
}

// A tmpfs with one directory per hierarchy and links for controllers mounted together, as on a
// host.
absl::Status CgroupV1::PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                                  std::vector<MountStep>* steps) const {
  MountFlags flags = ParseMountFlags(mount.options);
  bool readonly = (flags.set & MS_RDONLY) != 0;
  MountStep base;
  base.destination = mount.destination;
  base.type = "tmpfs";
  base.source = "tmpfs";
  base.data = "mode=755";
  base.flags = (flags.set & ~static_cast<unsigned long>(MS_RDONLY));
  base.readonly_later = readonly;
  base.propagation = flags.propagation;
  steps->push_back(std::move(base));
  for (const Part& part : parts_) {
    std::string joined = absl::StrJoin(part.hierarchy.controllers, ",");
    std::string name(absl::StripPrefix(joined, "name="));
    MountStep step;
    step.destination = absl::StrCat(mount.destination, "/", name);
    if (cgroup_namespace) {
      step.type = step.source = "cgroup";
      step.data = joined;
      step.flags = flags.set;
    } else {
      step.kind = MountStep::Kind::kTree;
      GANTRY_ASSIGN_OR_RETURN(step.tree, CloneTree(part.dir, false));
      GANTRY_RETURN_IF_ERROR(SetTreeFlags(step.tree.get(), flags, part.dir));
    }
    steps->push_back(std::move(step));
    if (part.hierarchy.controllers.size() < 2) continue;
    for (const std::string& controller : part.hierarchy.controllers) {
      MountStep link;
      link.kind = MountStep::Kind::kSymlink;
      link.destination = absl::StrCat(mount.destination, "/", controller);
      link.source = name;
      steps->push_back(std::move(link));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV1(const CgroupSystem& system,
                                                     std::vector<std::string> directories) {
  std::vector<CgroupV1::Part> parts;
  for (size_t i = 0; i < system.hierarchies.size(); ++i) {
    const CgroupHierarchy& hierarchy = system.hierarchies[i];
    parts.push_back({hierarchy, directories[i], hierarchy.mount_point + directories[i]});
  }
  return std::unique_ptr<Cgroup>(std::make_unique<CgroupV1>(std::move(parts)));
}

}  // namespace gantry::oci
