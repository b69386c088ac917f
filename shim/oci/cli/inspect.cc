#include <stdio.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/cli/commands.h"

namespace gantry::oci {
namespace {

absl::StatusOr<base::Json> StateOf(const Record& record) {
  GANTRY_ASSIGN_OR_RETURN(std::string status, record.Status());
  base::Json state;
  state["ociVersion"] = record.spec.oci_version;
  state["id"] = record.options.id;
  state["pid"] = status == "stopped" ? 0 : record.pid;
  state["status"] = status;
  state["bundle"] = record.options.bundle;
  state["rootfs"] = record.spec.root_path.find('/') == 0
                        ? record.spec.root_path
                        : absl::StrCat(record.options.bundle, "/", record.spec.root_path);
  state["created"] = record.created;
  if (!record.spec.annotations.empty()) state["annotations"] = record.spec.annotations;
  return state;
}

absl::StatusOr<int> RunState(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(base::Json state, StateOf(record));
  puts(base::DumpJson(state, 2).c_str());
  return 0;
}

absl::StatusOr<int> RunList(const Globals& globals, const Args& args) {
  Store store(globals.root);
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, store.Ids());
  base::Json states = base::Json::array();
  for (const std::string& id : ids) {
    auto record = store.Load(id);
    if (!record.ok()) continue;  // being created or removed at this moment
    auto state = StateOf(*record);
    if (state.ok()) states.push_back(*std::move(state));
  }
  if (args.Get("format") == "json") {
    puts(base::DumpJson(states).c_str());
    return 0;
  }
  bool quiet = args.Has("quiet");
  if (!quiet) {
    puts(absl::StrFormat("%-24s %-10s %-10s %-40s %s", "ID", "PID", "STATUS", "BUNDLE", "CREATED")
             .c_str());
  }
  for (const base::Json& state : states) {
    std::string id = base::JsonString(state, "id");
    std::string line =
        absl::StrFormat("%-24s %-10d %-10s %-40s %s", id, base::JsonInt(state, "pid"),
                        base::JsonString(state, "status"), base::JsonString(state, "bundle"),
                        base::JsonString(state, "created"));
    puts(quiet ? id.c_str() : line.c_str());
  }
  return 0;
}

absl::StatusOr<int> RunPs(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, container->Pids());
  if (args.Get("format") == "json") {
    puts(base::DumpJson(base::Json(pids)).c_str());
    return 0;
  }
  puts("PID       COMMAND");
  for (pid_t pid : pids) {
    std::string name = base::ReadFile(absl::StrCat("/proc/", pid, "/comm")).value_or("-\n");
    printf("%-9d %s", pid, name.c_str());
  }
  return 0;
}

absl::StatusOr<int> RunPauseOrResume(const Globals& globals, const Args& args, bool pause) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::string status, record.Status());
  if (pause ? status != "running" && status != "created" : status != "paused") {
    return absl::FailedPreconditionError(
        absl::StrCat("container not ", pause ? "running" : "paused", ": ", status));
  }
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_RETURN_IF_ERROR(pause ? container->Pause() : container->Resume());
  return 0;
}
absl::StatusOr<int> RunPause(const Globals& globals, const Args& args) {
  return RunPauseOrResume(globals, args, true);
}
absl::StatusOr<int> RunResume(const Globals& globals, const Args& args) {
  return RunPauseOrResume(globals, args, false);
}

absl::StatusOr<int> RunUpdate(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  if (!args.Has("resources")) {
    return absl::InvalidArgumentError("update: --resources FILE (or - for stdin) is needed");
  }
  std::string file = args.Get("resources");
  auto text = file == "-" ? base::ReadFd(0) : base::ReadFile(file);
  GANTRY_RETURN_IF_ERROR(text.status());
  GANTRY_ASSIGN_OR_RETURN(Resources resources, ParseResources(*text));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_RETURN_IF_ERROR(container->Update(resources));
  return 0;
}

absl::StatusOr<int> RunFeatures(const Globals&, const Args&) {
  puts(FeaturesJson().c_str());
  return 0;
}

constexpr char kExampleSpec[] = R"({
  "ociVersion": "1.2.0",
  "process": {
    "terminal": true, "user": {"uid": 0, "gid": 0}, "args": ["sh"],
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
    "cwd": "/", "noNewPrivileges": true,
    "capabilities": {
      "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
      "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]}
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "gantry",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
     "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
  ],
  "linux": {
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
                   {"type": "mount"}, {"type": "cgroup"}],
    "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                    "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                    "/sys/devices/virtual/powercap"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
)";

absl::StatusOr<int> RunSpec(const Globals&, const Args& args) {
  std::string path = absl::StrCat(args.Get("bundle", "."), "/config.json");
  if (base::Exists(path)) {
    return absl::AlreadyExistsError(absl::StrCat("file ", path, " exists. Remove it first"));
  }
  GANTRY_RETURN_IF_ERROR(base::WriteFile(path, kExampleSpec, 0666));
  return 0;
}

}  // namespace

const std::vector<Command>& InspectCommands() {
  static const auto* commands = new std::vector<Command>{
      {"state", "ID", {}, RunState, false},
      {"list", "[options]", {{"format", 'f', true}, {"quiet", 'q', false}}, RunList, false},
      {"ps", "[--format json] ID", {{"format", 'f', true}}, RunPs, false},
      {"pause", "ID", {}, RunPause, false},
      {"resume", "ID", {}, RunResume, false},
      {"update", "--resources FILE ID", {{"resources", 'r', true}}, RunUpdate, false},
      {"features", "", {}, RunFeatures, false},
      {"spec", "[--bundle DIR]", {{"bundle", 'b', true}}, RunSpec, false}};
  return *commands;
}

}  // namespace gantry::oci
