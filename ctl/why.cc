#include "ctl/why.h"

#include <signal.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "ctl/output.h"
#include "gantry/services/exits/v1/exits.methods.h"

namespace gantry::ctl {
namespace {

namespace exits = gantry::services::exits::v1;
using gantry::shim::v1::ExitRecord;

constexpr double kNotablePressure = 5;  // percent

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  return name == nullptr ? absl::StrCat("signal ", number) : absl::StrCat("SIG", name);
}

std::string Heading(const KeptExit& exit, absl::Time now) {
  const ExitRecord& record = exit.record();
  std::string id = ShortId(record.container_id());
  absl::Time at = base::GetTimestamp(record.exited_at());
  std::string text =
      absl::StrCat(exit.name().empty() ? id : Printable(exit.name()), " (",
                   exit.name().empty() ? "" : absl::StrCat(id, ", "), Printable(exit.image()), ")");
  if (exit.image().empty() && exit.name().empty()) text = id;
  absl::StrAppend(&text, " ended ", FormatAge(now - at));
  if (record.has_started_at()) {
    absl::Duration ran = at - base::GetTimestamp(record.started_at());
    absl::StrAppend(&text, ", after ",
                    absl::FormatDuration(absl::Trunc(ran, absl::Milliseconds(1))));
  } else if (!record.shim_died()) {
    absl::StrAppend(&text, ", before it was started");
  }
  absl::StrAppend(&text, record.signal() != 0 ? ", by " + SignalName(record.signal()) : "",
                  record.core_dumped() ? " (core dumped)" : "", ", with exit code ",
                  record.exit_status(), ".");
  return text;
}

// The signal that a client sent last, if it can be what ended the container.
const gantry::shim::v1::SentSignal* ByClient(const ExitRecord& record) {
  for (int i = record.signals_size() - 1; i >= 0; --i) {
    int sent = record.signals(i).signal();
    if (sent == record.signal() || (record.signal() == 0 && sent != SIGWINCH && sent != SIGURG))
      return &record.signals(i);
  }
  return nullptr;
}

std::string ClientSentence(const ExitRecord& record) {
  const auto* sent = ByClient(record);
  if (sent == nullptr) return "";
  absl::Duration before = base::GetTimestamp(record.exited_at()) - base::GetTimestamp(sent->at());
  std::string when = absl::FormatDuration(
      absl::Trunc(std::max(before, absl::ZeroDuration()), absl::Milliseconds(1)));
  return absl::StrCat("A client of the task API sent ", SignalName(sent->signal()),
                      sent->all() ? " to all of its processes" : "", " ", when, " before",
                      record.signal() == 0 ? "; the program then ended by itself." : ".");
}

std::string MemorySentence(const ExitRecord& record) {
  const auto& memory = record.out_of_memory();
  if (memory.kills() == 0) return "";
  std::string victim;
  if (!memory.victim().empty())
    victim = absl::StrCat(" (", memory.kills() > 1 ? "the last one: " : "",
                          Printable(memory.victim()), ", process ", memory.victim_pid(), ")");
  std::string text =
      absl::StrCat("The kernel's OOM killer ended ", memory.kills(), " of its processes", victim);
  if (memory.machine_wide())
    return absl::StrCat(text,
                        " because the whole machine was out of memory. Limit the memory of "
                        "what runs beside it, or give the machine more.");
  absl::StrAppend(&text, " because the container reached its memory limit");
  if (memory.limit_bytes() > 0)
    absl::StrAppend(&text, " of ", FormatBytes(static_cast<int64_t>(memory.limit_bytes())));
  return absl::StrCat(text, ". Give it more (--memory), or make it use less.");
}

// Who sent the signal, where it was neither the OOM killer nor a client.
std::string SignalSentence(const ExitRecord& record) {
  switch (record.signal()) {
    case 0:
      return "";
    case SIGSYS:
      return "Its seccomp filter killed it for a system call.";
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
      return "The program crashed: the kernel sent the signal for what it did.";
    case SIGABRT:
      return "The program gave up: abort() sends this signal.";
    default:
      return absl::StrCat("No client of the task API sent ", SignalName(record.signal()),
                          ": another process did, inside the container or on the host. The kernel "
                          "does not tell which.");
  }
}

std::string CodeSentence(const ExitRecord& record) {
  if (record.signal() != 0 || !record.has_started_at()) return "";
  if (record.exit_status() == 127) return "127 is what a shell returns for a missing program.";
  if (record.exit_status() == 126)
    return "126 is what a shell returns for a file that it cannot execute.";
  if (record.exit_status() > 128 && record.exit_status() < 128 + 65)
    return absl::StrCat("That is what a shell returns when its program ended by ",
                        SignalName(static_cast<int>(record.exit_status()) - 128), ".");
  return "";
}

std::string Cause(const ExitRecord& record) {
  if (record.shim_died())
    return "Its shim died, so it was killed, and what it did before is not known. Look for the "
           "reason in gantryd's log and in the kernel's (dmesg).";
  if (record.out_of_memory().kills() > 0) return MemorySentence(record);
  if (ByClient(record) != nullptr) return ClientSentence(record);
  if (record.signal() != 0) return SignalSentence(record);
  if (record.exit_status() == 0) return "The program ended by itself, and says that all went well.";
  std::string code = CodeSentence(record);
  return code.empty() ? "The program ended by itself; what the code means, only it knows." : code;
}

void AddCalls(const ExitRecord& record, std::vector<std::string>* sentences) {
  for (const auto& call : record.denied_calls().calls())
    sentences->push_back(absl::StrCat("Its seccomp filter ", call.action(), " ", call.name(), " ",
                                      call.count(), call.count() == 1 ? " time" : " times", " (by ",
                                      Printable(call.program()), ")."));
  if (uint64_t count = record.denied_calls().unattributed(); count > 0)
    sentences->push_back(absl::StrCat(
        "While it ran, seccomp filters noted ", count, count == 1 ? " call" : " calls",
        " of processes that had ended before it could be told whether they were its own."));
  if (!record.denied_calls().unavailable().empty())
    sentences->push_back(absl::StrCat("Denied system calls are not known: ",
                                      Printable(record.denied_calls().unavailable()), "."));
}

void AddPressure(const ExitRecord& record, std::vector<std::string>* sentences) {
  const auto& pressure = record.pressure();
  auto add = [&](const char* what, double percent) {
    if (percent < kNotablePressure) return;
    sentences->push_back(
        absl::StrFormat("In the last ten seconds %s waited for %s %.0f %% of the time.",
                        pressure.scope() == "cgroup" ? "its processes" : "processes of the machine",
                        what, percent));
  };
  add("the processor", pressure.cpu_some());
  add("memory", pressure.memory_some());
  add("the disk", pressure.io_some());
}

base::OrderedJson ToJson(const KeptExit& exit) {
  const ExitRecord& record = exit.record();
  base::OrderedJson json = {
      {"exitStatus", record.exit_status()}, {"signal", record.signal()}, {"pid", record.pid()}};
  auto time = [&](const char* key, bool has, const google::protobuf::Timestamp& at) {
    if (has) json[key] = base::FormatRfc3339(base::GetTimestamp(at));
  };
  time("createdAt", record.has_created_at(), record.created_at());
  time("startedAt", record.has_started_at(), record.started_at());
  time("exitedAt", record.has_exited_at(), record.exited_at());
  const auto& memory = record.out_of_memory();
  json["outOfMemory"] = {{"kills", memory.kills()},
                         {"peakBytes", memory.peak_bytes()},
                         {"limitBytes", memory.limit_bytes()},
                         {"victim", memory.victim()},
                         {"machineWide", memory.machine_wide()}};
  json["signals"] = base::OrderedJson::array();
  for (const auto& sent : record.signals())
    json["signals"].push_back({{"signal", sent.signal()},
                               {"all", sent.all()},
                               {"at", base::FormatRfc3339(base::GetTimestamp(sent.at()))}});
  const auto& pressure = record.pressure();
  json["pressure"] = {{"scope", pressure.scope()},
                      {"cpuSome", pressure.cpu_some()},
                      {"memorySome", pressure.memory_some()},
                      {"memoryFull", pressure.memory_full()},
                      {"ioSome", pressure.io_some()},
                      {"ioFull", pressure.io_full()}};
  json["deniedCalls"] = base::OrderedJson::array();
  for (const auto& call : record.denied_calls().calls())
    json["deniedCalls"].push_back({{"name", call.name()},
                                   {"action", call.action()},
                                   {"count", call.count()},
                                   {"program", call.program()}});
  json["unattributedCalls"] = record.denied_calls().unattributed();
  json["droppedLogRecords"] = record.dropped_log_records();
  json["shimDied"] = record.shim_died();
  json["why"] = ExplainExit(exit, absl::Now());
  return json;
}

absl::StatusOr<exits::ListExitsResponse> ListExits(const client::Connection& connection,
                                                   const std::string& container) {
  exits::ListExitsRequest request;
  request.set_container(container);
  exits::ListExitsResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(exits::ExitsMethods::kList, request, &response));
  return response;
}

}  // namespace

std::vector<std::string> ExplainExit(const KeptExit& exit, absl::Time now) {
  const ExitRecord& record = exit.record();
  std::vector<std::string> sentences = {Heading(exit, now), Cause(record)};
  if (uint64_t peak = record.out_of_memory().peak_bytes(); peak > 0) {
    uint64_t limit = record.out_of_memory().limit_bytes();
    sentences.push_back(absl::StrCat(
        "At most it used ", FormatBytes(static_cast<int64_t>(peak)), " of memory",
        limit > 0 ? absl::StrCat(", of ", FormatBytes(static_cast<int64_t>(limit)), " allowed.")
                  : ", without a limit."));
  }
  AddCalls(record, &sentences);
  AddPressure(record, &sentences);
  if (record.dropped_log_records() > 0)
    sentences.push_back(absl::StrCat("Its log lacks ", record.dropped_log_records(),
                                     " lines that the disk did not take in time."));
  return sentences;
}

base::OrderedJson ExitsJson(const client::Connection& connection, const std::string& container) {
  base::OrderedJson json = base::OrderedJson::array();
  auto found = ListExits(connection, container);
  if (!found.ok()) return json;  // an older daemon, or it never ended
  for (const KeptExit& exit : found->exits()) json.push_back(ToJson(exit));
  return json;
}

absl::StatusOr<int> Why(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "the container to explain"));
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  GANTRY_ASSIGN_OR_RETURN(auto found, ListExits(call.connection, call.args.positional()[0]));
  if (format == Format::kJson) {
    base::OrderedJson json = base::OrderedJson::array();
    for (const KeptExit& exit : found.exits()) json.push_back(ToJson(exit));
    PrintOut(DumpOrdered(json) + "\n");
    return 0;
  }
  for (const std::string& sentence : ExplainExit(found.exits(0), absl::Now()))
    PrintOut(sentence + "\n");
  if (int more = found.exits_size() - 1; more > 0)
    PrintOut(absl::StrCat("It had ended ", more, more == 1 ? " time" : " times",
                          " before (--format json tells all).\n"));
  return 0;
}

}  // namespace gantry::ctl
