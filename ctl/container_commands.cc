// ps, inspect, kill, stop, rm, pause, resume.

#include "ctl/container_commands.h"

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/stdio.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "ctl/logs.h"
#include "ctl/managed.h"
#include "ctl/output.h"
#include "ctl/session.h"
#include "ctl/task_ops.h"
#include "ctl/why.h"

namespace gantry::ctl {
namespace {

namespace tasks = containerd::services::tasks::v1;
using client::ContainerRecord;

constexpr size_t kCommandWidth = 40;

std::string CommandOf(const ContainerRecord& record) {
  auto spec = client::ContainerSpec(record);
  if (!spec.ok()) return "";
  std::vector<std::string> words;
  for (const base::Json& word : base::JsonAt(base::JsonAt(*spec, "process"), "args")) {
    if (word.is_string()) words.push_back(word.get<std::string>());
  }
  return absl::StrJoin(words, " ");
}

// Also by a name that only the life cycle of containers knows.
absl::StatusOr<ContainerRecord> FindAny(const client::Connection& connection,
                                        const std::string& typed) {
  auto record = client::FindContainer(connection, typed);
  if (!absl::IsNotFound(record.status())) return record;
  auto managed = FindManaged(connection, typed);
  return managed.ok() ? std::move(managed) : std::move(record);
}

// Does `action` for each container named; all are tried, the first error is the command's.
absl::StatusOr<int> ForEach(const Invocation& call, const char* what,
                            const std::function<absl::Status(const ContainerRecord&)>& action) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, SIZE_MAX, what));
  int code = 0;
  for (const std::string& typed : call.args.positional()) {
    auto record = FindAny(call.connection, typed);
    absl::Status status = record.ok() ? action(*record) : record.status();
    if (status.ok()) {
      PrintOut(typed + "\n");
    } else {
      PrintError(status);
      code = kExitFailure;
    }
  }
  return code;
}

// How a container is shown: by its task, or as gantryd keeps its life up.
struct Shown {
  std::string name;
  std::string status;
  uint32_t pid = 0;
  bool alive = false;
};

Shown ShownOf(const ContainerRecord& record, const TaskProcess* task,
              const life::Container* managed) {
  Shown shown;
  shown.name = client::ContainerName(record);
  if (managed == nullptr) {
    shown.status = TaskState(task);
    shown.pid = task == nullptr ? 0 : task->pid();
    shown.alive = task != nullptr && task->status() != containerd::v1::types::STOPPED;
    return shown;
  }
  if (shown.name.empty()) shown.name = managed->policy().name();
  const life::State& state = managed->state();
  shown.status = ManagedStatus(state);
  shown.pid = state.pid();
  shown.alive = state.pid() != 0 || state.status() == "restarting";
  return shown;
}

base::OrderedJson SummaryJson(const ContainerRecord& record, const Shown& shown) {
  base::OrderedJson labels = base::OrderedJson::object();
  for (const auto& [key, value] : record.labels()) labels[key] = value;
  return {{"id", record.id()},
          {"name", shown.name},
          {"image", record.image()},
          {"command", CommandOf(record)},
          {"status", shown.status},
          {"pid", shown.pid},
          {"createdAt", base::FormatRfc3339(base::GetTimestamp(record.created_at()))},
          {"runtime", record.runtime().name()},
          {"labels", labels}};
}

bool IsAlive(const TaskProcess* task) {
  return task != nullptr && task->status() != containerd::v1::types::STOPPED;
}

absl::StatusOr<int> Ps(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 0, 0, "none"));
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  GANTRY_ASSIGN_OR_RETURN(auto records, client::ListContainers(call.connection));
  GANTRY_ASSIGN_OR_RETURN(auto list, ListTasks(call.connection));
  // The API calls a task's container either; containerd fills in `id`.
  std::map<std::string, TaskProcess> by_id;
  for (TaskProcess& task : list) {
    std::string id = task.container_id().empty() ? task.id() : task.container_id();
    by_id[id] = std::move(task);
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    return base::GetTimestamp(a.created_at()) > base::GetTimestamp(b.created_at());
  });
  const bool whole = call.args.Bool("no-trunc");
  std::map<std::string, life::Container> managed;
  if (std::any_of(records.begin(), records.end(), IsManaged))
    managed = ListManaged(call.connection);
  Listing listing;
  listing.header = {"ID", "NAME", "IMAGE", "COMMAND", "STATUS", "PID", "CREATED"};
  for (const ContainerRecord& record : records) {
    auto found = by_id.find(record.id());
    const TaskProcess* task = found == by_id.end() ? nullptr : &found->second;
    auto kept = managed.find(record.id());
    const Shown shown = ShownOf(record, task, kept == managed.end() ? nullptr : &kept->second);
    if (!shown.alive && !call.args.Bool("all")) continue;
    std::string command = Printable(CommandOf(record));
    if (!whole && command.size() > kCommandWidth)
      command = command.substr(0, kCommandWidth - 3) + "...";
    absl::Duration age = absl::Now() - base::GetTimestamp(record.created_at());
    const std::string id = whole ? record.id() : ShortId(record.id());
    listing.rows.push_back({id, shown.name.empty() ? "-" : Printable(shown.name),
                            Printable(record.image()), command, shown.status,
                            shown.pid == 0 ? "-" : absl::StrCat(shown.pid), FormatAge(age)});
    listing.ids.push_back(id);
    listing.json.push_back(SummaryJson(record, shown));
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Inspect(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, SIZE_MAX, "the container to look at"));
  base::OrderedJson all = base::OrderedJson::array();
  for (const std::string& typed : call.args.positional()) {
    GANTRY_ASSIGN_OR_RETURN(ContainerRecord record, FindAny(call.connection, typed));
    auto task = GetTask(call.connection, record.id());
    if (!task.ok() && !absl::IsNotFound(task.status())) return task.status();
    std::optional<life::Container> managed;
    if (IsManaged(record)) {
      GANTRY_ASSIGN_OR_RETURN(managed, GetManaged(call.connection, record.id()));
    }
    base::OrderedJson json = SummaryJson(
        record,
        ShownOf(record, task.ok() ? &*task : nullptr, managed.has_value() ? &*managed : nullptr));
    if (managed.has_value()) json["lifecycle"] = ManagedJson(*managed);
    json["snapshotter"] = record.snapshotter();
    json["snapshotKey"] = record.snapshot_key();
    if (task.ok()) {
      json["task"] = {{"pid", task->pid()},
                      {"status", TaskState(&*task)},
                      {"exitStatus", task->exit_status()},
                      {"terminal", task->terminal()},
                      {"stdin", task->stdin()},
                      {"stdout", task->stdout()},
                      {"stderr", task->stderr()}};
      if (task->has_exited_at()) {
        json["task"]["exitedAt"] = base::FormatRfc3339(base::GetTimestamp(task->exited_at()));
      }
    }
    json["exits"] = ExitsJson(call.connection, record.id());
    auto spec = base::OrderedJson::parse(record.spec().value(), nullptr, false);
    json["spec"] = spec.is_discarded() ? base::OrderedJson() : spec;
    all.push_back(std::move(json));
  }
  PrintOut(DumpOrdered(all) + "\n");
  return 0;
}

absl::StatusOr<int> Kill(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(uint32_t signal, ParseSignal(call.args.String("signal", "KILL")));
  return ForEach(call, "the container to signal", [&](const ContainerRecord& record) {
    if (IsManaged(record) && !call.args.Bool("all"))
      return KillManaged(call.connection, record.id(), signal);
    return KillTask(call.connection, record.id(), signal, call.args.Bool("all"));
  });
}

absl::Status StopOne(const client::Connection& connection, const ContainerRecord& record,
                     absl::Duration patience, const std::string& wanted) {
  auto task = GetTask(connection, record.id());
  if (absl::IsNotFound(task.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(task.status());
  if (!IsAlive(&*task)) return absl::OkStatus();
  auto label = record.labels().find("gantry/stop-signal");
  std::string name = !wanted.empty()                  ? wanted
                     : label != record.labels().end() ? label->second
                                                      : "TERM";
  GANTRY_ASSIGN_OR_RETURN(uint32_t signal, ParseSignal(name));
  int code = 0;
  absl::Status status = KillTask(connection, record.id(), signal);
  if (absl::IsNotFound(status)) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(status);
  GANTRY_ASSIGN_OR_RETURN(bool ended, WaitTask(connection, record.id(), patience, &code));
  if (ended) return absl::OkStatus();
  status = KillTask(connection, record.id(), SIGKILL, true);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  GANTRY_ASSIGN_OR_RETURN(ended, WaitTask(connection, record.id(), absl::Seconds(30), &code));
  if (ended) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(
      "container ", ShortId(record.id()),
      " did not end within 30 s of SIGKILL; a process of it hangs in the kernel (see dmesg)"));
}

absl::StatusOr<int> Stop(const Invocation& call) {
  int seconds = 10;
  if (!absl::SimpleAtoi(call.args.String("time", "10"), &seconds) || seconds < 0) {
    return absl::InvalidArgumentError("--time is a number of seconds");
  }
  std::optional<int64_t> wanted;
  if (call.args.Has("time")) wanted = seconds;
  return ForEach(call, "the container to stop", [&](const ContainerRecord& record) {
    if (IsManaged(record))
      return StopManaged(call.connection, record.id(), wanted, call.args.String("signal"));
    return StopOne(call.connection, record, absl::Seconds(seconds), call.args.String("signal"));
  });
}

absl::StatusOr<int> Rm(const Invocation& call) {
  return ForEach(call, "the container to remove", [&](const ContainerRecord& record) {
    return RemoveContainer(call.connection, record, call.args.Bool("force"));
  });
}

absl::StatusOr<int> Pause(const Invocation& call) {
  return ForEach(call, "the container to pause", [&](const ContainerRecord& record) {
    if (IsManaged(record)) return PauseManaged(call.connection, record.id());
    tasks::PauseTaskRequest request;
    request.set_container_id(record.id());
    google::protobuf::Empty nothing;
    return call.connection.Call(tasks::TasksMethods::kPause, request, &nothing);
  });
}

absl::StatusOr<int> Resume(const Invocation& call) {
  return ForEach(call, "the container to resume", [&](const ContainerRecord& record) {
    if (IsManaged(record)) return ResumeManaged(call.connection, record.id());
    tasks::ResumeTaskRequest request;
    request.set_container_id(record.id());
    google::protobuf::Empty nothing;
    return call.connection.Call(tasks::TasksMethods::kResume, request, &nothing);
  });
}

}  // namespace

absl::Status RemoveContainer(const client::Connection& connection, const ContainerRecord& record,
                             bool force) {
  if (IsManaged(record)) return RemoveManaged(connection, record.id(), force);
  auto task = GetTask(connection, record.id());
  if (!task.ok() && !absl::IsNotFound(task.status())) return task.status();
  if (task.ok()) {
    if (IsAlive(&*task) && !force) {
      return absl::FailedPreconditionError(
          absl::StrCat("container ", ShortId(record.id()), " is ", TaskState(&*task),
                       "; stop it first (gantryctl stop), or use rm --force"));
    }
    if (IsAlive(&*task)) {
      absl::Status killed = KillTask(connection, record.id(), SIGKILL, true);
      if (!killed.ok() && !absl::IsNotFound(killed)) return killed;
      int code = 0;
      GANTRY_RETURN_IF_ERROR(WaitTask(connection, record.id(), absl::Seconds(30), &code).status());
    }
    absl::Status deleted = DeleteTask(connection, record.id()).status();
    if (!deleted.ok() && !absl::IsNotFound(deleted)) return deleted;
    client::Fifos::Remove(kFifoBase, task->stdout());
  }
  GANTRY_RETURN_IF_ERROR(client::DeleteContainer(connection, record));
  auto log = record.labels().find(client::kLogLabel);
  if (log != record.labels().end()) RemoveLog(log->second);
  return absl::OkStatus();
}

std::vector<Command> ContainerCommands() {
  constexpr FlagKind kBool = FlagKind::kBool;
  constexpr FlagKind kString = FlagKind::kString;
  std::vector<Command> commands = ProcessCommands();
  std::vector<Command> own = {
      {"ps", "Containers", "[FLAGS]", "List containers",
       "gantryctl ps -a\ngantryctl rm $(gantryctl "
       "ps -a -q)",
       ListFlags({{"all", 'a', kBool, "", "also those that do not run"},
                  {"no-trunc", '\0', kBool, "", "whole ids and commands"}}),
       Ps},
      {"inspect",
       "Containers",
       "CONTAINER...",
       "Show everything about a container, as JSON",
       "gantryctl inspect web",
       {},
       Inspect},
      {"why",
       "Containers",
       "[FLAGS] CONTAINER",
       "Explain why a container ended, also when it is removed",
       "gantryctl why web",
       {{"format", '\0', FlagKind::kString, "table|json", "how to print"}},
       Why},
      {"kill",
       "Containers",
       "[FLAGS] CONTAINER...",
       "Send a signal",
       "gantryctl kill -s HUP web",
       {{"signal", 's', kString, "SIGNAL", "default KILL"},
        {"all", 'a', kBool, "", "to all of its processes"}},
       Kill},
      {"stop",
       "Containers",
       "[FLAGS] CONTAINER...",
       "Ask a container to end, then make it end",
       "gantryctl stop -t 30 web",
       {{"time", 't', kString, "SECONDS", "patience before SIGKILL (default 10)"},
        {"signal", 's', kString, "SIGNAL", "default the image's, or TERM"}},
       Stop},
      {"rm",
       "Containers",
       "[FLAGS] CONTAINER...",
       "Remove containers",
       "gantryctl rm -f web",
       {{"force", 'f', kBool, "", "kill it first when it runs"}},
       Rm},
      {"pause", "Containers", "CONTAINER...", "Freeze all processes", "", {}, Pause},
      {"resume", "Containers", "CONTAINER...", "Let them go on", "", {}, Resume}};
  commands.insert(commands.end(), own.begin(), own.end());
  for (auto part : {LogCommands(), StatsCommands()}) {
    commands.insert(commands.end(), part.begin(), part.end());
  }
  return commands;
}

}  // namespace gantry::ctl
