#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
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

std::string LimitText(int64_t value) { return value < 0 ? "max" : absl::StrCat(value); }

// The ranges of version 1 laid over those of version 2, as runc does: shares 2..262144 to weight
// 1..10000, blkio weight 10..1000 to io.weight 1..10000.
uint64_t SharesToWeight(uint64_t shares) {
  shares = std::clamp<uint64_t>(shares, 2, 262144);
  return 1 + (shares - 2) * 9999 / 262142;
}
uint64_t BlkioToIoWeight(uint64_t weight) {
  weight = std::clamp<uint64_t>(weight, 10, 1000);
  return 1 + (weight - 10) * 9999 / 990;
}

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

  absl::Status Create() override {
    bool existed = false;
    GANTRY_RETURN_IF_ERROR(MakeCgroupDirs(root_, path_, &existed));
    if (existed && !base::ReadFile(dir_ + "/cgroup.procs").value_or("").empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("cgroup ", dir_, " already has processes in it"));
    }
    EnableControllers();
    return absl::OkStatus();
  }

  absl::Status Apply(const Resources& resources, bool initial) override {
    if (initial || !resources.devices.empty()) {
      auto program = BuildDeviceProgram(CompleteDeviceRules(resources.devices));
      GANTRY_ASSIGN_OR_RETURN(device_program_,
                              AttachDeviceProgram(dir_, program, device_program_.get()));
    }
    GANTRY_RETURN_IF_ERROR(ApplyMemory(resources));
    GANTRY_RETURN_IF_ERROR(ApplyCpu(resources));
    GANTRY_RETURN_IF_ERROR(ApplyIo(resources));
    return ApplyRest(resources);
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

  absl::StatusOr<Metrics> Stats() const override;

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

  // cgroup2 in a container: its own view, or, where the kernel refuses another instance, a bind
  // mount of its directory. Without a cgroup namespace the view would be the host's.
  absl::Status PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                          std::vector<MountStep>* steps) const override {
    MountFlags flags = ParseMountFlags(mount.options);
    MountStep step;
    step.kind = cgroup_namespace ? MountStep::Kind::kNew : MountStep::Kind::kTree;
    step.destination = mount.destination;
    step.type = step.source = "cgroup2";
    step.flags = flags.set;
    step.propagation = flags.propagation;
    step.fall_back_to_tree = true;
    GANTRY_ASSIGN_OR_RETURN(step.tree, CloneTree(dir_, false));
    GANTRY_RETURN_IF_ERROR(SetTreeFlags(step.tree.get(), flags, dir_));
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }

 private:
  // A controller works below a cgroup only when every ancestor hands it down. Failures are left to
  // the limit that needs the controller: it is then missing its file.
  void EnableControllers() {
    std::string controllers = ReadCgroupFile(root_, "cgroup.controllers").value_or("");
    for (size_t i = 0; i < path_.size(); ++i) {
      if (path_[i] != '/') continue;
      std::string dir = root_ + path_.substr(0, i);
      std::string enabled = ReadCgroupFile(dir, "cgroup.subtree_control").value_or("");
      std::vector<absl::string_view> have =
          absl::StrSplit(absl::StripAsciiWhitespace(enabled), ' ', absl::SkipEmpty());
      for (absl::string_view name :
           absl::StrSplit(absl::StripAsciiWhitespace(controllers), ' ', absl::SkipEmpty())) {
        if (std::find(have.begin(), have.end(), name) != have.end()) continue;
        WriteCgroupFile(dir, "cgroup.subtree_control", absl::StrCat("+", name)).IgnoreError();
      }
    }
  }

  absl::Status Set(absl::string_view file, absl::string_view value) const {
    absl::Status status = WriteCgroupFile(dir_, file, value);
    if (base::ErrnoOf(status) != ENOENT) return status;
    std::vector<absl::string_view> parts = absl::StrSplit(file, '.');
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot set ", file, ": the cgroup controller ", parts[0], " is not enabled in ", dir_));
  }

  absl::Status ApplyMemory(const Resources& resources) const {
    const auto& memory = resources.memory;
    // Version 1 counts memory and swap together, version 2 apart.
    std::optional<std::string> swap;
    if (memory.swap && *memory.swap == -1) {
      swap = "max";
    } else if (memory.swap && *memory.swap > 0) {
      int64_t limit = memory.limit.value_or(0);
      if (limit <= 0 || *memory.swap < limit) {
        return absl::InvalidArgumentError(
            "linux.resources.memory.swap: needs a memory limit that is not larger");
      }
      swap = absl::StrCat(*memory.swap - limit);
    } else if (memory.limit && *memory.limit == -1) {
      swap = "max";
    }
    if (swap) {
      absl::Status status = Set("memory.swap.max", *swap);
      // Without swap in the kernel there is nothing to limit.
      bool harmless = *swap == "0" || *swap == "max";
      if (!status.ok() && !(harmless && !base::Exists(dir_ + "/memory.swap.max"))) return status;
    }
    if (memory.limit && *memory.limit != 0) {
      if (memory.check_before_update && *memory.limit > 0 &&
          ReadCgroupNumber(dir_, "memory.current") > static_cast<uint64_t>(*memory.limit)) {
        return absl::FailedPreconditionError("the memory in use is above the new limit");
      }
      GANTRY_RETURN_IF_ERROR(Set("memory.max", LimitText(*memory.limit)));
    }
    if (memory.reservation && *memory.reservation != 0) {
      return Set("memory.low", LimitText(*memory.reservation));
    }
    return absl::OkStatus();
  }

  absl::Status ApplyCpu(const Resources& resources) const {
    const auto& cpu = resources.cpu;
    if (cpu.idle) GANTRY_RETURN_IF_ERROR(Set("cpu.idle", absl::StrCat(*cpu.idle)));
    if (cpu.shares && *cpu.shares != 0 && cpu.idle.value_or(0) == 0) {
      GANTRY_RETURN_IF_ERROR(Set("cpu.weight", absl::StrCat(SharesToWeight(*cpu.shares))));
    }
    if (cpu.quota.value_or(0) != 0 || cpu.period.value_or(0) != 0) {
      std::string text = cpu.quota.value_or(0) > 0 ? absl::StrCat(*cpu.quota) : "max";
      if (cpu.period.value_or(0) != 0) absl::StrAppend(&text, " ", *cpu.period);
      GANTRY_RETURN_IF_ERROR(Set("cpu.max", text));
    }
    if (cpu.burst) GANTRY_RETURN_IF_ERROR(Set("cpu.max.burst", absl::StrCat(*cpu.burst)));
    if (!cpu.cpus.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset.cpus", cpu.cpus));
    if (!cpu.mems.empty()) GANTRY_RETURN_IF_ERROR(Set("cpuset.mems", cpu.mems));
    return absl::OkStatus();
  }

  absl::Status ApplyIo(const Resources& resources) const {
    const auto& io = resources.block_io;
    bool bfq = base::Exists(dir_ + "/io.bfq.weight");
    const char* file = bfq ? "io.bfq.weight" : "io.weight";
    auto weight = [bfq](uint16_t value) { return bfq ? value : BlkioToIoWeight(value); };
    if (io.weight && *io.weight != 0) {
      GANTRY_RETURN_IF_ERROR(Set(file, absl::StrCat(weight(*io.weight))));
    }
    for (const BlockWeight& w : io.weight_devices) {
      if (!w.weight) continue;
      GANTRY_RETURN_IF_ERROR(
          Set(file, absl::StrCat(w.major, ":", w.minor, " ", weight(*w.weight))));
    }
    const std::pair<const char*, const std::vector<BlockThrottle>*> kThrottles[] = {
        {"rbps", &io.read_bps},
        {"wbps", &io.write_bps},
        {"riops", &io.read_iops},
        {"wiops", &io.write_iops}};
    for (const auto& [key, throttles] : kThrottles) {
      for (const BlockThrottle& t : *throttles) {
        std::string rate = t.rate == 0 ? "max" : absl::StrCat(t.rate);
        GANTRY_RETURN_IF_ERROR(
            Set("io.max", absl::StrCat(t.major, ":", t.minor, " ", key, "=", rate)));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ApplyRest(const Resources& resources) const {
    if (resources.pids_limit && *resources.pids_limit != 0) {
      GANTRY_RETURN_IF_ERROR(Set("pids.max", LimitText(*resources.pids_limit)));
    }
    for (const auto& [size, limit] : resources.hugepage_limits) {
      GANTRY_RETURN_IF_ERROR(Set(absl::StrCat("hugetlb.", size, ".max"), absl::StrCat(limit)));
    }
    for (const auto& [device, limits] : resources.rdma) {
      std::string text = device;
      if (limits.first) absl::StrAppend(&text, " hca_handle=", *limits.first);
      if (limits.second) absl::StrAppend(&text, " hca_object=", *limits.second);
      GANTRY_RETURN_IF_ERROR(Set("rdma.max", text));
    }
    for (const auto& [file, value] : resources.unified) {
      // Files with several lines ("io.max") take one line a write.
      for (absl::string_view line : absl::StrSplit(value, '\n', absl::SkipEmpty())) {
        GANTRY_RETURN_IF_ERROR(Set(file, line));
      }
    }
    return absl::OkStatus();
  }

  std::string root_;
  std::string path_;
  std::string dir_;
  base::UniqueFd device_program_;
};

std::vector<MetricsV2::Io> ReadIo(const std::string& dir) {
  std::vector<MetricsV2::Io> entries;
  std::string text = ReadCgroupFile(dir, "io.stat").value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 2) continue;
    MetricsV2::Io io;
    std::pair<absl::string_view, absl::string_view> device = absl::StrSplit(fields[0], ':');
    if (!absl::SimpleAtoi(device.first, &io.major) || !absl::SimpleAtoi(device.second, &io.minor)) {
      continue;
    }
    for (size_t i = 1; i < fields.size(); ++i) {
      std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(fields[i], '=');
      uint64_t number = 0;
      if (!absl::SimpleAtoi(pair.second, &number)) continue;
      if (pair.first == "rbytes") io.rbytes = number;
      if (pair.first == "wbytes") io.wbytes = number;
      if (pair.first == "rios") io.rios = number;
      if (pair.first == "wios") io.wios = number;
    }
    entries.push_back(io);
  }
  return entries;
}

std::vector<HugetlbEntry> ReadHugetlb(const std::string& dir) {
  std::vector<HugetlbEntry> entries;
  auto names = base::ListDir(dir);
  for (absl::string_view name : names.ok() ? *names : std::vector<std::string>()) {
    if (!absl::ConsumePrefix(&name, "hugetlb.") || !absl::ConsumeSuffix(&name, ".current") ||
        absl::StrContains(name, '.')) {
      continue;
    }
    std::string prefix = absl::StrCat("hugetlb.", name, ".");
    entries.push_back({std::string(name), ReadCgroupNumber(dir, prefix + "current"),
                       ReadCgroupNumber(dir, prefix + "max"),
                       ReadCgroupKeys(dir, prefix + "events")["max"]});
  }
  return entries;
}

absl::StatusOr<Metrics> CgroupV2::Stats() const {
  Metrics metrics;
  metrics.version = 2;
  MetricsV2& out = metrics.v2;
  out.cpu_stat = ReadCgroupKeys(dir_, "cpu.stat");
  out.has_cpu = !out.cpu_stat.empty();
  out.memory_stat = ReadCgroupKeys(dir_, "memory.stat");
  out.has_memory = !out.memory_stat.empty();
  out.memory_events = ReadCgroupKeys(dir_, "memory.events");
  out.memory_usage = ReadCgroupNumber(dir_, "memory.current");
  out.memory_limit = ReadCgroupNumber(dir_, "memory.max");
  out.memory_max_usage = ReadCgroupNumber(dir_, "memory.peak");
  out.swap_usage = ReadCgroupNumber(dir_, "memory.swap.current");
  out.swap_limit = ReadCgroupNumber(dir_, "memory.swap.max");
  out.swap_max_usage = ReadCgroupNumber(dir_, "memory.swap.peak");
  out.has_pids = base::Exists(dir_ + "/pids.current");
  out.pids_current = ReadCgroupNumber(dir_, "pids.current");
  uint64_t limit = ReadCgroupNumber(dir_, "pids.max");
  out.pids_limit = limit == UINT64_MAX ? 0 : limit;
  out.io = ReadIo(dir_);
  out.has_io = base::Exists(dir_ + "/io.stat");
  out.hugetlb = ReadHugetlb(dir_);
  out.rdma_current = ReadRdma(dir_, "rdma.current");
  out.rdma_limit = ReadRdma(dir_, "rdma.max");
  return metrics;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV2(const CgroupSystem& system, std::string path) {
  return std::unique_ptr<Cgroup>(std::make_unique<CgroupV2>(system.root, std::move(path)));
}

}  // namespace gantry::oci
