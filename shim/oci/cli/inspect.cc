#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
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
  state["rootfs"] = record.RootfsPath();
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

absl::Status CheckFormat(const Args& args) {
  std::string format = args.Get("format", "table");
  if (format == "table" || format == "json") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("invalid format option \"", format, "\": table or json"));
}

// Who made the container: the name of the owner of its directory, or the number.
std::string OwnerOf(const std::string& directory) {
  struct stat st;
  if (stat(directory.c_str(), &st) != 0) return {};
  // The user database is not asked through libc, which would need shared libraries.
  std::string users = base::ReadFile("/etc/passwd").value_or("");
  for (absl::string_view line : absl::StrSplit(users, '\n')) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() > 2 && fields[2] == absl::StrCat(st.st_uid)) return std::string(fields[0]);
  }
  return absl::StrCat("#", st.st_uid);
}

absl::StatusOr<int> RunList(const Globals& globals, const Args& args) {
  GANTRY_RETURN_IF_ERROR(CheckFormat(args));
  Store store(globals.root);
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, store.Ids());
  base::Json states = base::Json::array();
  for (const std::string& id : ids) {
    auto record = store.Load(id);
    if (!record.ok()) continue;  // being created or removed at this moment
    auto state = StateOf(*record);
    if (state.ok()) (*state)["owner"] = OwnerOf(store.Directory(id));
    if (state.ok()) states.push_back(*std::move(state));
  }
  if (args.Get("format") == "json") {
    puts(base::DumpJson(states).c_str());
    return 0;
  }
  bool quiet = args.Has("quiet");
  if (!quiet) {
    puts(absl::StrFormat("%-24s %-10s %-10s %-40s %-31s %s", "ID", "PID", "STATUS", "BUNDLE",
                         "CREATED", "OWNER")
             .c_str());
  }
  for (const base::Json& state : states) {
    std::string id = base::JsonString(state, "id");
    std::string line =
        absl::StrFormat("%-24s %-10d %-10s %-40s %-31s %s", id, base::JsonInt(state, "pid"),
                        base::JsonString(state, "status"), base::JsonString(state, "bundle"),
                        base::JsonString(state, "created"), base::JsonString(state, "owner"));
    puts(quiet ? id.c_str() : line.c_str());
  }
  return 0;
}

// The lines of ps(1) whose PID column has one of `pids`, and the headline.
absl::StatusOr<std::string> RunPsProgram(std::vector<std::string> options,
                                         const std::vector<pid_t>& pids) {
  if (options.empty()) options = {"-ef"};
  base::SpawnOptions spawn;
  spawn.argv = {"ps"};
  spawn.argv.insert(spawn.argv.end(), options.begin(), options.end());
  GANTRY_ASSIGN_OR_RETURN(base::RunResult ps, base::RunProcess(spawn));
  if (ps.exit.code != 0) {
    return absl::UnknownError(
        absl::StrCat("ps ", absl::StrJoin(options, " "), ": ", absl::StripAsciiWhitespace(ps.err)));
  }
  std::vector<absl::string_view> lines = absl::StrSplit(ps.out, '\n', absl::SkipEmpty());
  if (lines.empty()) return absl::UnknownError("ps printed nothing");
  std::vector<absl::string_view> heads = absl::StrSplit(lines[0], ' ', absl::SkipEmpty());
  auto column = std::find(heads.begin(), heads.end(), "PID") - heads.begin();
  if (column == static_cast<long>(heads.size())) {
    return absl::InvalidArgumentError("ps: the chosen columns have no PID");
  }
  std::string text = absl::StrCat(lines[0], "\n");
  for (size_t i = 1; i < lines.size(); ++i) {
    std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
    pid_t pid = 0;
    if (words.size() > static_cast<size_t>(column) &&
        absl::SimpleAtoi(words[static_cast<size_t>(column)], &pid) &&
        std::find(pids.begin(), pids.end(), pid) != pids.end()) {
      absl::StrAppend(&text, lines[i], "\n");
    }
  }
  return text;
}

absl::StatusOr<int> RunPs(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_RETURN_IF_ERROR(CheckFormat(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, container->Pids());
  if (args.Get("format") == "json") {
    puts(base::DumpJson(base::Json(pids)).c_str());
    return 0;
  }
  std::vector<std::string> options(args.rest().begin() + 1, args.rest().end());
  auto table = RunPsProgram(options, pids);
  if (table.ok()) {
    fputs(table->c_str(), stdout);
    return 0;
  }
  // A machine without ps still gets the plain list.
  if (!options.empty() || !absl::IsNotFound(table.status())) return table.status();
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

// What a user without privileges may do: a user namespace with only the own ids, the host's network
// and sysfs, no cgroups.
void MakeRootless(base::Json* spec) {
  base::Json& linux_spec = (*spec)["linux"];
  base::Json namespaces = base::Json::array();
  for (const base::Json& ns : linux_spec["namespaces"]) {
    if (ns["type"] != "network") namespaces.push_back(ns);
  }
  namespaces.push_back({{"type", "user"}});
  linux_spec["namespaces"] = namespaces;
  auto own = [](uint32_t id) {
    return base::Json::array({{{"containerID", 0}, {"hostID", id}, {"size", 1}}});
  };
  linux_spec["uidMappings"] = own(geteuid());
  linux_spec["gidMappings"] = own(getegid());
  linux_spec.erase("resources");
  base::Json mounts = base::Json::array();
  for (base::Json mount : (*spec)["mounts"]) {
    if (mount["destination"] == "/sys") {
      mount = {{"destination", "/sys"},
               {"type", "none"},
               {"source", "/sys"},
               {"options", {"rbind", "nosuid", "noexec", "nodev", "ro"}}};
    } else if (mount["destination"] == "/dev/pts") {
      mount["options"].erase(mount["options"].size() - 1);  // gid=5 is not mapped
    }
    mounts.push_back(std::move(mount));
  }
  (*spec)["mounts"] = mounts;
}

absl::StatusOr<int> RunSpec(const Globals&, const Args& args) {
  std::string path = absl::StrCat(args.Get("bundle", "."), "/config.json");
  if (base::Exists(path)) {
    return absl::AlreadyExistsError(absl::StrCat("file ", path, " exists. Remove it first"));
  }
  if (!args.Has("rootless")) {
    GANTRY_RETURN_IF_ERROR(base::WriteFile(path, kExampleSpec, 0666));
    return 0;
  }
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, base::ParseJson(kExampleSpec));
  MakeRootless(&spec);
  GANTRY_RETURN_IF_ERROR(base::WriteFile(path, base::DumpJson(spec, 2) + "\n", 0666));
  return 0;
}

}  // namespace

const std::vector<Command>& InspectCommands() {
  static const auto* commands = new std::vector<Command>{
      {"state", "ID", {}, RunState, false},
      {"list", "[options]", {{"format", 'f', true}, {"quiet", 'q', false}}, RunList, false},
      {"ps", "[--format json] ID [ps options]", {{"format", 'f', true}}, RunPs, false},
      {"pause", "ID", {}, RunPause, false},
      {"resume", "ID", {}, RunResume, false},
      UpdateCommand(),
      EventsCommand(),
      {"features", "", {}, RunFeatures, false},
      {"spec",
       "[--bundle DIR] [--rootless]",
       {{"bundle", 'b', true}, {"rootless", 0, false}},
       RunSpec,
       false}};
  return *commands;
}

}  // namespace gantry::oci
