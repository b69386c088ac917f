#include "shim/exit_recorder.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

using gantry::shim::v1::ExitRecord;
using gantry::shim::v1::Pressure;

constexpr int kMaxSignals = 16;
constexpr size_t kMaxCalls = 64;

// The ten seconds' average in the line "some avg10=1.23 avg60=…" or "full …".
double Average(absl::string_view text, absl::string_view kind) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::string prefix = absl::StrCat(kind, " avg10=");
    if (!absl::StartsWith(line, prefix)) continue;
    line.remove_prefix(prefix.size());
    double value = 0;
    if (absl::SimpleAtod(line.substr(0, line.find(' ')), &value)) return value;
  }
  return 0;
}

}  // namespace

Pressure ReadPressure(const std::string& dir) {
  Pressure pressure;
  auto read = [&](absl::string_view name) {
    std::string path = dir.empty() ? absl::StrCat("/proc/pressure/", name)
                                   : absl::StrCat(dir, "/", name, ".pressure");
    absl::StatusOr<std::string> text = base::ReadFile(path, 4096);
    // The files exist, and say EOPNOTSUPP, on a kernel that does not account.
    if (text.ok()) pressure.set_scope(dir.empty() ? "machine" : "cgroup");
    return text.value_or("");
  };
  std::string cpu = read("cpu"), memory = read("memory"), io = read("io");
  pressure.set_cpu_some(Average(cpu, "some"));
  pressure.set_memory_some(Average(memory, "some"));
  pressure.set_memory_full(Average(memory, "full"));
  pressure.set_io_some(Average(io, "some"));
  pressure.set_io_full(Average(io, "full"));
  return pressure;
}

ExitRecorder::ExitRecorder(base::EventLoop* loop, std::string ns, std::string id,
                           absl::string_view seccomp_json, std::function<bool(pid_t)> is_member)
    : loop_(loop), is_member_(std::move(is_member)) {
  record_.set_namespace_(std::move(ns));
  record_.set_container_id(std::move(id));
  base::SetTimestamp(record_.mutable_created_at(), absl::Now());
  for (const char* noted : {"SCMP_ACT_LOG", "SECCOMP_FILTER_FLAG_LOG", "SCMP_ACT_KILL"}) {
    if (!absl::StrContains(seccomp_json, noted)) continue;
    WatchCalls();
    break;
  }
}

ExitRecorder::~ExitRecorder() {
  if (log_) loop_->Remove(log_->fd());
}

void ExitRecorder::Started() { base::SetTimestamp(record_.mutable_started_at(), absl::Now()); }

void ExitRecorder::Signalled(int signal, bool all) {
  if (record_.signals_size() >= kMaxSignals)
    record_.mutable_signals()->erase(record_.mutable_signals()->begin());
  auto* sent = record_.add_signals();
  sent->set_signal(signal);
  sent->set_all(all);
  base::SetTimestamp(sent->mutable_at(), absl::Now());
}

void ExitRecorder::WatchCalls() {
  absl::StatusOr<KernelLog> log = KernelLog::Open(KernelLog::From::kNow);
  absl::Status status = log.status();
  if (status.ok()) {
    log_ = *std::move(log);
    status = loop_->Add(log_->fd(), EPOLLIN, [this](uint32_t) { ReadCalls(); });
  }
  record_.mutable_denied_calls();
  if (status.ok()) return;
  log_.reset();
  record_.mutable_denied_calls()->set_unavailable(
      absl::StrCat("the kernel's log cannot be read: ", status.message()));
}

// Whose process it is must be asked while it lives, so at once.
void ExitRecorder::ReadCalls() {
  log_->Read([this](absl::string_view message) {
    std::optional<AuditedCall> call = ParseAuditedCall(message);
    if (!call) return;
    if (!is_member_(call->pid)) {
      if (!base::Exists(absl::StrCat("/proc/", call->pid))) ++unattributed_;
      return;
    }
    std::pair<std::string, std::string> key(oci::AuditedSyscallName(call->arch, call->number),
                                            call->action);
    if (calls_.size() >= kMaxCalls && !calls_.contains(key)) return;
    auto& entry = calls_[key];
    entry.set_name(key.first);
    entry.set_action(key.second);
    entry.set_program(call->program);
    entry.set_count(entry.count() + 1);
  });
}

void ExitRecorder::FillOutOfMemory(const oci::Remains& remains) {
  auto* memory = record_.mutable_out_of_memory();
  memory->set_kills(remains.oom_kills);
  memory->set_peak_bytes(remains.memory_peak);
  memory->set_limit_bytes(remains.memory_limit);
  if (remains.oom_kills == 0) return;
  absl::StatusOr<KernelLog> log = KernelLog::Open(KernelLog::From::kOldest);
  if (!log.ok()) return;
  log->Read([&](absl::string_view message) {
    std::optional<OomKill> kill = ParseOomKill(message);
    if (!kill) return;
    bool ours = kill->cgroup == remains.memory_cgroup ||
                absl::StartsWith(kill->cgroup, remains.memory_cgroup + "/");
    if (!ours) return;
    memory->set_victim(kill->program);
    memory->set_victim_pid(static_cast<uint32_t>(kill->pid));
    memory->set_machine_wide(kill->machine_wide);
  });
}

void ExitRecorder::Ended(pid_t pid, int wait_status, absl::Time at, const oci::Remains& remains) {
  if (log_) ReadCalls();
  record_.set_pid(static_cast<uint32_t>(pid));
  if (WIFSIGNALED(wait_status)) {
    record_.set_signal(WTERMSIG(wait_status));
    record_.set_core_dumped(WCOREDUMP(wait_status));
    record_.set_exit_status(128 + static_cast<uint32_t>(WTERMSIG(wait_status)));
  } else {
    record_.set_exit_status(static_cast<uint32_t>(WEXITSTATUS(wait_status)));
  }
  base::SetTimestamp(record_.mutable_exited_at(), at);
  if (!remains.memory_cgroup.empty()) FillOutOfMemory(remains);
  *record_.mutable_pressure() = ReadPressure(remains.pressure_dir);
}

absl::Status ExitRecorder::Write(const std::string& bundle) {
  if (log_) {
    ReadCalls();
    loop_->Remove(log_->fd());
    log_.reset();
    record_.mutable_denied_calls()->set_unattributed(unattributed_);
    for (const auto& [key, call] : calls_) *record_.mutable_denied_calls()->add_calls() = call;
  }
  return base::ReplaceFile(absl::StrCat(bundle, "/", kExitRecordFile), record_.SerializeAsString());
}

absl::Status RecordLostContainer(const std::string& bundle, const std::string& ns,
                                 const std::string& id, uint32_t pid, absl::Time at) {
  std::string path = absl::StrCat(bundle, "/", kExitRecordFile);
  if (!base::Exists(bundle) || base::Exists(path)) return absl::OkStatus();
  ExitRecord record;
  record.set_namespace_(ns);
  record.set_container_id(id);
  record.set_pid(pid);
  record.set_exit_status(128 + SIGKILL);
  record.set_signal(SIGKILL);
  record.set_shim_died(true);
  base::SetTimestamp(record.mutable_exited_at(), at);
  return base::ReplaceFile(path, record.SerializeAsString());
}

}  // namespace gantry::shim
