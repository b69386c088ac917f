#include "ctl/doctor.h"

#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "client/container.h"
#include "containerd/services/version/v1/version.methods.h"
#include "ctl/output.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

enum class Verdict { kOk, kNote, kProblem };

// Prints findings as they come.
class Report {
 public:
  void Add(Verdict verdict, absl::string_view what, absl::string_view found,
           absl::string_view advice = "") {
    const char* mark = verdict == Verdict::kOk     ? "ok     "
                       : verdict == Verdict::kNote ? "note   "
                                                   : "PROBLEM";
    std::string name(what);
    name.resize(std::max<size_t>(name.size(), 14), ' ');
    PrintOut(absl::StrCat(mark, "  ", name, "  ", Printable(found), "\n"));
    if (verdict != Verdict::kOk && !advice.empty()) {
      PrintOut(absl::StrCat("         ", std::string(14, ' '), "  -> ", advice, "\n"));
    }
    problems_ += verdict == Verdict::kProblem ? 1 : 0;
  }
  int problems() const { return problems_; }

 private:
  int problems_ = 0;
};

std::string ReadText(const std::string& path) {
  auto text = base::ReadFile(path);
  return text.ok() ? *text : "";
}

void CheckKernel(Report& report) {
  utsname name = {};
  uname(&name);
  int major = 0;
  int minor = 0;
  bool parsed = sscanf(name.release, "%d.%d", &major, &minor) == 2;
  bool old = parsed && (major < 5 || (major == 5 && minor < 10));
  report.Add(old ? Verdict::kProblem : Verdict::kOk, "kernel", name.release,
             "gantry needs Linux 5.10 or newer (openat2, pidfd, the new mount calls)");
  struct Feature {
    const char* path;
    const char* name;
    const char* advice;
  };
  constexpr Feature kFeatures[] = {
      {"/proc/self/ns/cgroup", "cgroup ns", "enable CONFIG_CGROUPS"},
      {"/proc/self/ns/user", "user ns", "enable CONFIG_USER_NS"},
      {"/proc/self/ns/net", "network ns", "enable CONFIG_NET_NS"},
      {"/proc/self/ns/pid", "pid ns", "enable CONFIG_PID_NS"},
      {"/proc/sys/kernel/seccomp/actions_avail", "seccomp", "enable CONFIG_SECCOMP_FILTER"}};
  for (const Feature& feature : kFeatures) {
    if (!base::Exists(feature.path)) {
      report.Add(Verdict::kProblem, feature.name, "missing in this kernel", feature.advice);
    }
  }
  bool overlay = absl::StrContains(ReadText("/proc/filesystems"), "\toverlay\n");
  report.Add(overlay ? Verdict::kOk : Verdict::kProblem, "overlayfs",
             overlay ? "available" : "not loaded", "modprobe overlay");
}

void CheckCgroups(Report& report) {
  if (base::Exists("/sys/fs/cgroup/cgroup.controllers")) {
    std::string controllers(
        absl::StripAsciiWhitespace(ReadText("/sys/fs/cgroup/cgroup.controllers")));
    report.Add(Verdict::kOk, "cgroups", absl::StrCat("v2: ", controllers));
    for (const char* needed : {"cpu", "memory", "pids"}) {
      std::vector<std::string> have = absl::StrSplit(controllers, ' ');
      if (std::find(have.begin(), have.end(), needed) == have.end()) {
        report.Add(Verdict::kNote, "cgroups", absl::StrCat("no ", needed, " controller"),
                   "limits of that kind do not work; see the kernel's command line");
      }
    }
    return;
  }
  std::vector<std::string> found;
  for (const char* name : {"cpu", "memory", "pids", "devices", "freezer", "cpuset", "blkio"}) {
    if (base::Exists(absl::StrCat("/sys/fs/cgroup/", name))) found.emplace_back(name);
  }
  bool enough = base::Exists("/sys/fs/cgroup/devices") && base::Exists("/sys/fs/cgroup/freezer");
  bool hybrid = base::Exists("/sys/fs/cgroup/unified");
  report.Add(enough ? Verdict::kOk : Verdict::kProblem, "cgroups",
             absl::StrCat(hybrid ? "v1, hybrid: " : "v1: ", absl::StrJoin(found, " ")),
             "mount the controllers under /sys/fs/cgroup (package cgroupfs-mount, or systemd)");
}

void CheckRights(Report& report) {
  if (geteuid() != 0) {
    report.Add(Verdict::kProblem, "rights", "not root", "run gantryctl with sudo");
    return;
  }
  std::string status = ReadText("/proc/self/status");
  unsigned long long effective = 0;
  size_t at = status.find("CapEff:");
  if (at != std::string::npos) sscanf(status.c_str() + at, "CapEff: %llx", &effective);
  constexpr int kSysAdmin = 21;
  constexpr int kSysResource = 24;
  if ((effective >> kSysAdmin & 1) == 0) {
    report.Add(Verdict::kProblem, "rights", "root without CAP_SYS_ADMIN",
               "containers need it; in a container, run it with --privileged");
  } else if ((effective >> kSysResource & 1) == 0) {
    report.Add(Verdict::kNote, "rights", "root without CAP_SYS_RESOURCE",
               "resource limits cannot be raised above our own");
  } else {
    report.Add(Verdict::kOk, "rights", "root with all that is needed");
  }
}

void CheckDisk(Report& report, const std::string& root) {
  struct statfs fs = {};
  if (statfs(root.c_str(), &fs) != 0) {
    report.Add(Verdict::kNote, "disk", absl::StrCat(root, " does not exist yet"),
               "gantryd makes it when it starts");
    return;
  }
  constexpr long kTmpfs = 0x01021994;
  constexpr long kOverlay = 0x794c7630;
  constexpr long kNfs = 0x6969;
  int64_t available = static_cast<int64_t>(fs.f_bavail) * fs.f_bsize;
  int64_t total = static_cast<int64_t>(fs.f_blocks) * fs.f_bsize;
  std::string found =
      absl::StrCat(root, ": ", FormatBytes(available), " free of ", FormatBytes(total));
  if (fs.f_type == kOverlay) {
    report.Add(Verdict::kProblem, "disk", absl::StrCat(root, " is an overlay itself"),
               "overlayfs cannot stack on it: put --root on ext4, xfs or btrfs");
  } else if (fs.f_type == kNfs) {
    report.Add(Verdict::kProblem, "disk", absl::StrCat(root, " is on NFS"),
               "put --root on a local disk");
  } else if (fs.f_type == kTmpfs) {
    report.Add(Verdict::kNote, "disk", absl::StrCat(root, " is in memory"),
               "images are lost at a reboot");
  } else if (available < (int64_t{1} << 30) || (fs.f_files > 0 && fs.f_ffree < 10000)) {
    report.Add(Verdict::kNote, "disk", found, "make room: gantryctl rmi, gantryctl rm");
  } else {
    report.Add(Verdict::kOk, "disk", found);
  }
}

// False when there is no daemon to ask further.
bool CheckDaemon(Report& report, const Invocation& call) {
  namespace version = containerd::services::version::v1;
  version::VersionResponse response;
  absl::Status status = call.connection.Call(
      version::VersionMethods::kVersion, google::protobuf::Empty(), &response, absl::Seconds(10));
  if (!status.ok()) {
    report.Add(Verdict::kProblem, "daemon", status.message());
    return false;
  }
  std::string found = absl::StrCat(response.version(), " at ", call.connection.address());
  size_t own = response.version().find("gantry.");
  if (own == std::string::npos) {
    report.Add(Verdict::kNote, "daemon", found, "that is not gantryd; what it lacks, we lack");
  } else if (response.version().substr(own + 7) != GANTRY_VERSION) {
    report.Add(Verdict::kNote, "daemon", found,
               "gantryctl is " GANTRY_VERSION
               "; restart gantryd after an update (containers stay)");
  } else {
    report.Add(Verdict::kOk, "daemon", found);
  }
  struct stat info = {};
  if (stat(call.connection.address().c_str(), &info) == 0 && (info.st_mode & 0007) != 0) {
    report.Add(Verdict::kProblem, "socket", "everybody may use it",
               absl::StrCat("that is root for everybody: chmod 660 ", call.connection.address()));
  }
  return true;
}

// Fifos and logs of containers that are gone.
void CheckLeftovers(Report& report, const Invocation& call) {
  auto records = client::ListContainers(call.connection);
  if (!records.ok()) {
    report.Add(Verdict::kProblem, "containers", records.status().message());
    return;
  }
  std::set<std::string> ids;
  for (const auto& record : *records) ids.insert(record.id());
  auto list = ListTasks(call.connection);
  size_t running = list.ok() ? list->size() : 0;
  report.Add(Verdict::kOk, "containers", absl::StrCat(ids.size(), ", ", running, " with a task"));
  size_t logs = 0;
  std::string dir = absl::StrCat("/var/log/gantry/containers/", call.connection.ns());
  if (auto names = base::ListDir(dir); names.ok()) {
    for (const std::string& name : *names) logs += ids.count(name) == 0 ? 1 : 0;
  }
  if (logs > 0) {
    report.Add(Verdict::kNote, "logs", absl::StrCat(logs, " of containers that are gone in ", dir),
               "remove what you do not need");
  }
  size_t mounts = 0;
  for (absl::string_view line : absl::StrSplit(ReadText("/proc/self/mountinfo"), '\n')) {
    if (!absl::StrContains(line, "/io.containerd.runtime.v2.task/")) continue;
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
    std::vector<absl::string_view> parts =
        absl::StrSplit(fields.size() > 4 ? fields[4] : absl::string_view(), '/');
    // …/io.containerd.runtime.v2.task/<ns>/<id>/rootfs
    if (parts.size() < 3 || parts[parts.size() - 3] != call.connection.ns()) continue;
    mounts += ids.count(std::string(parts[parts.size() - 2])) == 0 ? 1 : 0;
  }
  if (mounts > 0) {
    report.Add(Verdict::kProblem, "mounts", absl::StrCat(mounts, " of containers that are gone"),
               "restart the daemon, which cleans up; else umount them (see /proc/self/mountinfo)");
  }
}

}  // namespace

absl::StatusOr<int> Doctor(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 0, 0, "none"));
  Report report;
  CheckKernel(report);
  CheckCgroups(report);
  CheckRights(report);
  CheckDisk(report, call.args.String("root", "/var/lib/gantry"));
  if (CheckDaemon(report, call)) CheckLeftovers(report, call);
  if (report.problems() == 0) {
    PrintOut("\nNothing stands in the way of running containers.\n");
    return 0;
  }
  PrintOut(absl::StrCat("\n", report.problems(), report.problems() == 1 ? " problem" : " problems",
                        " to solve.\n"));
  return kExitFailure;
}

}  // namespace gantry::ctl
