// Health checks: a command in the container, now and then. It runs as a further process of the
// task, and nothing of ours waits for it: its end, its timeout and its output come as callbacks.

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/health.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/spec_edit.h"
#include "services/lifecycle/task_calls.h"
#include "services/metadata/container_store.h"

namespace gantry::services::lifecycle {
namespace {

namespace tasks_api = containerd::services::tasks::v1;

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kLeftoverTimeout = absl::Seconds(2);
constexpr char kExecId[] = "gantry.health";
constexpr char kExecType[] = "types.containerd.io/opencontainers/runtime-spec/1/Process";

// Takes what is in the pipe, keeps the beginning.
void DrainInto(int fd, std::string* kept) {
  char buffer[16384];
  while (true) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    const size_t room = kHealthOutputLimit - kept->size();
    kept->append(buffer, std::min(room, static_cast<size_t>(n)));
  }
}

std::string ValidUtf8(absl::string_view text) {
  // protobuf strings are UTF-8; a cut may fall inside of a character, and programs print anything.
  base::Json json = std::string(text);
  auto clean = base::ParseJson(base::DumpJson(json));
  return clean.ok() && clean->is_string() ? clean->get<std::string>() : "";
}

}  // namespace

// One run of a check.
struct Manager::Probe {
  std::string fifo;
  base::UniqueFd output;  // of the loop's thread, once it is watched
  std::mutex mutex;
  std::string kept;  // guarded by mutex
  absl::Time begun;
  absl::Duration timeout;
  bool timed_out = false;  // of the strand
};

void Manager::BeginHealthChecks(const EntryPtr& entry) {
  const v1::Container& container = entry->container;
  if (!container.policy().has_health() || !HasProcess(container.state())) return;
  ScheduleHealthCheck(entry);
}

void Manager::ScheduleHealthCheck(const EntryPtr& entry) {
  const HealthTimes times = TimesOf(entry->container.policy().health());
  Later(entry, NextHealthCheck(times, entry->container.state(), absl::Now()),
        [this](const EntryPtr& entry) { CheckHealth(entry); });
}

void Manager::CheckHealth(const EntryPtr& entry) {
  if (entry->container.state().status() != "running") return ScheduleHealthCheck(entry);
  auto probe = std::make_shared<Probe>();
  probe->begun = absl::Now();
  probe->timeout = TimesOf(entry->container.policy().health()).timeout;
  absl::Status begun = BeginProbe(*entry, probe);
  if (!begun.ok()) {
    v1::HealthResult result;
    result.set_exit_code(-1);
    result.set_output(ValidUtf8(begun.message()));
    return EndProbe(entry, probe, std::move(result));
  }
  Later(entry, probe->timeout, [this, weak = std::weak_ptr<Probe>(probe)](const EntryPtr& entry) {
    std::shared_ptr<Probe> probe = weak.lock();
    if (probe == nullptr) return;
    probe->timed_out = true;
    tasks_api::KillRequest kill;
    kill.set_container_id(entry->id);
    kill.set_exec_id(kExecId);
    kill.set_signal(SIGKILL);
    CallTask(deps_.tasks, entry->ns, &TaskManager::Kill, kill, kCallTimeout).status().IgnoreError();
  });
  tasks_api::WaitRequest wait;
  wait.set_container_id(entry->id);
  wait.set_exec_id(kExecId);
  deps_.tasks->Wait(TaskCaller{.ns = entry->ns}, wait,
                    [this, gate = gate_, entry, probe,
                     run = entry->run](absl::StatusOr<tasks_api::WaitResponse> response) {
                      const uint32_t code = response.ok() ? response->exit_status() : 255;
                      std::lock_guard<std::mutex> lock(gate->mutex);
                      if (!gate->open) return;
                      entry->strand->Run([this, entry, probe, run, code] {
                        OnProbeExit(entry, probe, run, code);
                      });
                    });
}

absl::Status Manager::BeginProbe(Entry& entry, const std::shared_ptr<Probe>& probe) {
  GANTRY_ASSIGN_OR_RETURN(ContainerRecord record,
                          deps_.containers->Get(Context{.ns = entry.ns}, entry.id));
  const auto& test = entry.container.policy().health().test();
  tasks_api::ExecProcessRequest exec;
  exec.set_container_id(entry.id);
  exec.set_exec_id(kExecId);
  exec.mutable_spec()->set_type_url(kExecType);
  GANTRY_ASSIGN_OR_RETURN(*exec.mutable_spec()->mutable_value(),
                          ProcessWith(record.spec().value(), {test.begin(), test.end()}));
  probe->fifo = files_.Directory(entry.ns, entry.id) + "/.health";
  unlink(probe->fifo.c_str());
  if (mkfifo(probe->fifo.c_str(), 0600) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("mkfifo ", probe->fifo));
  // For reading and writing: it never ends, whoever opens and closes it.
  GANTRY_ASSIGN_OR_RETURN(probe->output, base::Open(probe->fifo, O_RDWR | O_NONBLOCK));
  exec.set_stdout(probe->fifo);
  exec.set_stderr(probe->fifo);
  absl::Status added =
      CallTask(deps_.tasks, entry.ns, &TaskManager::Exec, exec, kCallTimeout).status();
  if (absl::IsAlreadyExists(added)) {
    // Of a gantryd before us.
    EndLeftoverProbe(entry);
    added = CallTask(deps_.tasks, entry.ns, &TaskManager::Exec, exec, kCallTimeout).status();
  }
  GANTRY_RETURN_IF_ERROR(added);
  loop_.Post([probe](base::EventLoop* loop) {
    const int fd = probe->output.get();
    if (fd < 0) return;
    absl::Status watched = loop->Add(fd, EPOLLIN, [probe, fd](uint32_t) {
      std::lock_guard<std::mutex> lock(probe->mutex);
      DrainInto(fd, &probe->kept);
    });
    if (!watched.ok()) base::LogError("watch a health check", {{"error", watched.message()}});
  });
  tasks_api::StartRequest start;
  start.set_container_id(entry.id);
  start.set_exec_id(kExecId);
  return CallTask(deps_.tasks, entry.ns, &TaskManager::Start, start, kCallTimeout).status();
}

void Manager::EndLeftoverProbe(const Entry& entry) {
  tasks_api::KillRequest kill;
  kill.set_container_id(entry.id);
  kill.set_exec_id(kExecId);
  kill.set_signal(SIGKILL);
  CallTask(deps_.tasks, entry.ns, &TaskManager::Kill, kill, kLeftoverTimeout)
      .status()
      .IgnoreError();
  tasks_api::WaitRequest wait;
  wait.set_container_id(entry.id);
  wait.set_exec_id(kExecId);
  CallTask(deps_.tasks, entry.ns, &TaskManager::Wait, wait, kLeftoverTimeout)
      .status()
      .IgnoreError();
  DeleteProbe(entry);
}

void Manager::DeleteProbe(const Entry& entry) {
  tasks_api::DeleteProcessRequest request;
  request.set_container_id(entry.id);
  request.set_exec_id(kExecId);
  CallTask(deps_.tasks, entry.ns, &TaskManager::DeleteProcess, request, kCallTimeout)
      .status()
      .IgnoreError();
}

void Manager::OnProbeExit(const EntryPtr& entry, const std::shared_ptr<Probe>& probe, uint64_t run,
                          uint32_t exit_code) {
  if (entry->gone || entry->run != run) return EndOutput(probe);
  DeleteProbe(*entry);
  v1::HealthResult result;
  {
    std::lock_guard<std::mutex> lock(probe->mutex);
    DrainInto(probe->output.get(), &probe->kept);
    result.set_output(ValidUtf8(probe->kept));
  }
  result.set_exit_code(static_cast<int32_t>(exit_code));
  if (probe->timed_out) {
    result.set_exit_code(-1);
    result.set_output(absl::StrCat("Health check exceeded timeout (",
                                   absl::FormatDuration(probe->timeout), ")",
                                   result.output().empty() ? "" : ": ", result.output()));
  }
  EndProbe(entry, probe, std::move(result));
}

// The descriptor is closed on the loop's thread, which may be looking at it.
void Manager::EndOutput(const std::shared_ptr<Probe>& probe) {
  if (!probe->fifo.empty()) unlink(probe->fifo.c_str());
  loop_.Post([probe](base::EventLoop* loop) {
    if (!probe->output) return;
    loop->Remove(probe->output.get());
    std::lock_guard<std::mutex> lock(probe->mutex);
    probe->output.Reset();
  });
}

void Manager::EndProbe(const EntryPtr& entry, const std::shared_ptr<Probe>& probe,
                       v1::HealthResult result) {
  EndOutput(probe);
  if (!HasProcess(entry->container.state())) return;
  base::SetTimestamp(result.mutable_start(), probe->begun);
  base::SetTimestamp(result.mutable_end(), absl::Now());
  v1::State state = entry->container.state();
  const bool changed =
      AddHealthResult(TimesOf(entry->container.policy().health()), std::move(result), &state);
  std::vector<gantry::types::ObjectEvent> events;
  if (changed) {
    events.push_back(
        ContainerEvent(entry->container, absl::StrCat("health_status: ", state.health())));
  }
  Commit(*entry, std::move(state), Durability::kNone, std::move(events));
  ScheduleHealthCheck(entry);
}

}  // namespace gantry::services::lifecycle
