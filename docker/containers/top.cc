#include "docker/containers/top.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "docker/containers/lookup.h"

namespace gantry::docker {
namespace {

namespace tasks = containerd::services::tasks::v1;
using base::OrderedJson;

constexpr size_t kMaxProcFile = 1u << 20;

// What /proc says of a process.
struct ProcessFacts {
  uint32_t pid = 0;
  uint32_t uid = 0, gid = 0;
  int64_t ppid = 0;
  std::string state, comm, command;
  int64_t tty = 0;
  int64_t ticks = 0;    // of processor time
  int64_t started = 0;  // ticks after boot
  int64_t threads = 0, nice = 0;
  int64_t vsize = 0, rss = 0;  // KiB
};

std::string ReadProc(uint32_t pid, const char* file) {
  auto text = base::ReadFile(absl::StrCat("/proc/", pid, "/", file), kMaxProcFile);
  return text.ok() ? *std::move(text) : std::string();
}

// False when it has ended meanwhile.
bool ReadFacts(uint32_t pid, ProcessFacts* facts) {
  std::string stat = ReadProc(pid, "stat");
  size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return false;
  std::vector<std::string> fields = absl::StrSplit(stat.substr(close + 1), ' ', absl::SkipEmpty());
  if (fields.size() < 22) return false;
  auto number = [&fields](size_t i) {
    int64_t value = 0;
    return absl::SimpleAtoi(fields[i], &value) ? value : 0;
  };
  facts->pid = pid;
  facts->comm = stat.substr(open + 1, close - open - 1);
  facts->state = fields[0];
  facts->ppid = number(1);
  facts->tty = number(4);
  facts->ticks = number(11) + number(12);
  facts->nice = number(16);
  facts->threads = number(17);
  facts->started = number(19);
  facts->vsize = number(20) / 1024;
  facts->rss = number(21) * (sysconf(_SC_PAGESIZE) / 1024);
  for (absl::string_view line : absl::StrSplit(ReadProc(pid, "status"), '\n')) {
    std::vector<absl::string_view> words = absl::StrSplit(line, absl::ByAnyChar("\t "));
    if (words.size() < 3) continue;
    if (words[0] == "Uid:") (void)absl::SimpleAtoi(words[2], &facts->uid);
    if (words[0] == "Gid:") (void)absl::SimpleAtoi(words[2], &facts->gid);
  }
  std::string command = ReadProc(pid, "cmdline");
  while (!command.empty() && command.back() == '\0') command.pop_back();
  facts->command = command.empty() ? absl::StrCat("[", facts->comm, "]")
                                   : absl::StrReplaceAll(command, {{std::string(1, '\0'), " "}});
  return true;
}

// The host's names of users, as ps has them.
std::map<uint32_t, std::string> UserNames() {
  std::map<uint32_t, std::string> names;
  auto passwd = base::ReadFile("/etc/passwd", kMaxProcFile);
  if (!passwd.ok()) return names;
  for (absl::string_view line : absl::StrSplit(*passwd, '\n')) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    uint32_t uid = 0;
    if (fields.size() > 2 && absl::SimpleAtoi(fields[2], &uid)) {
      names.emplace(uid, std::string(fields[0]));
    }
  }
  return names;
}

int64_t BootSeconds() {
  auto stat = base::ReadFile("/proc/stat", kMaxProcFile);
  if (!stat.ok()) return 0;
  for (absl::string_view line : absl::StrSplit(*stat, '\n')) {
    int64_t seconds = 0;
    if (absl::ConsumePrefix(&line, "btime ") && absl::SimpleAtoi(line, &seconds)) return seconds;
  }
  return 0;
}

class Printer {
 public:
  std::string Cell(const std::string& column, const ProcessFacts& f) const {
    if (column == "UID" || column == "USER") return User(f.uid);
    if (column == "PID") return absl::StrCat(f.pid);
    if (column == "PPID") return absl::StrCat(f.ppid);
    if (column == "C") return absl::StrFormat("%.0f", Percent(f));
    if (column == "%CPU") return absl::StrFormat("%.1f", Percent(f));
    if (column == "%MEM") return absl::StrFormat("%.1f", MemoryPercent(f));
    if (column == "STIME" || column == "START") return Started(f);
    if (column == "TTY" || column == "TT") return Terminal(f);
    if (column == "TIME") return Time(f);
    if (column == "STAT" || column == "S") return f.state;
    if (column == "VSZ") return absl::StrCat(f.vsize);
    if (column == "RSS") return absl::StrCat(f.rss);
    if (column == "NI") return absl::StrCat(f.nice);
    if (column == "NLWP") return absl::StrCat(f.threads);
    if (column == "GID") return absl::StrCat(f.gid);
    if (column == "ELAPSED") return Elapsed(f);
    if (column == "COMM") return f.comm;
    return f.command;
  }

 private:
  int64_t StartSeconds(const ProcessFacts& f) const { return boot_ + f.started / hertz_; }
  double Percent(const ProcessFacts& f) const {
    int64_t life = std::max<int64_t>(1, absl::ToUnixSeconds(now_) - StartSeconds(f));
    return 100.0 * static_cast<double>(f.ticks) / static_cast<double>(hertz_) /
           static_cast<double>(life);
  }
  static double MemoryPercent(const ProcessFacts& f) {
    double total = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024;
    return 100.0 * static_cast<double>(f.rss) / total;
  }
  std::string User(uint32_t uid) const {
    auto found = users_.find(uid);
    return found == users_.end() ? absl::StrCat(uid) : found->second;
  }
  std::string Started(const ProcessFacts& f) const {
    absl::Time start = absl::FromUnixSeconds(StartSeconds(f));
    bool today = now_ - start < absl::Hours(24);
    return absl::FormatTime(today ? "%H:%M" : "%b%d", start, absl::LocalTimeZone());
  }
  static std::string Terminal(const ProcessFacts& f) {
    if (f.tty == 0) return "?";
    unsigned number = static_cast<unsigned>(f.tty);
    unsigned line = (number & 0xff) | (number >> 12 & 0xfff00);
    unsigned kind = number >> 8 & 0xfff;
    return kind >= 136 && kind <= 143 ? absl::StrCat("pts/", line) : absl::StrCat("tty", line);
  }
  std::string Time(const ProcessFacts& f) const {
    int64_t seconds = f.ticks / hertz_;
    return absl::StrFormat("%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  std::string Elapsed(const ProcessFacts& f) const {
    int64_t seconds = std::max<int64_t>(0, absl::ToUnixSeconds(now_) - StartSeconds(f));
    if (seconds < 3600) return absl::StrFormat("%02d:%02d", seconds / 60, seconds % 60);
    return absl::StrFormat("%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }

  const std::map<uint32_t, std::string> users_ = UserNames();
  const int64_t boot_ = BootSeconds();
  const int64_t hertz_ = sysconf(_SC_CLK_TCK);
  const absl::Time now_ = absl::Now();
};

}  // namespace

absl::StatusOr<std::vector<std::string>> PsColumns(const std::string& arguments) {
  static const std::map<std::string, std::string>* const known =
      new std::map<std::string, std::string>{
          {"pid", "PID"},   {"ppid", "PPID"},    {"user", "USER"},      {"uid", "UID"},
          {"c", "C"},       {"pcpu", "%CPU"},    {"%cpu", "%CPU"},      {"pmem", "%MEM"},
          {"%mem", "%MEM"}, {"stime", "STIME"},  {"start", "START"},    {"tty", "TTY"},
          {"tt", "TT"},     {"time", "TIME"},    {"stat", "STAT"},      {"state", "S"},
          {"s", "S"},       {"vsz", "VSZ"},      {"rss", "RSS"},        {"ni", "NI"},
          {"nlwp", "NLWP"}, {"gid", "GID"},      {"etime", "ELAPSED"},  {"comm", "COMM"},
          {"cmd", "CMD"},   {"args", "COMMAND"}, {"command", "COMMAND"}};
  absl::Status bad = absl::InvalidArgumentError(
      absl::StrCat("ps: cannot list by \"", arguments, "\": use -ef, aux or -o with columns"));
  std::vector<std::string> words =
      absl::StrSplit(arguments, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  std::vector<std::string> columns;
  bool bsd = false;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    if (word == "aux" || word == "-aux" || word == "axu") {
      bsd = true;
      continue;
    }
    if (word == "-e" || word == "-A" || word == "-ef" || word == "-f" || word == "ax") continue;
    size_t o = word.find('o');
    if (o == std::string::npos) return bad;
    std::string list = word.substr(o + 1);
    if (list.empty() && i + 1 < words.size()) list = words[++i];
    for (absl::string_view name : absl::StrSplit(list, ',', absl::SkipEmpty())) {
      auto found = known->find(absl::AsciiStrToLower(name));
      if (found == known->end()) return bad;
      columns.push_back(found->second);
    }
  }
  if (!columns.empty()) {
    // Docker finds its processes by this one.
    if (std::find(columns.begin(), columns.end(), "PID") == columns.end()) {
      return absl::InvalidArgumentError("Couldn't find PID field in ps output");
    }
    return columns;
  }
  if (bsd) {
    return std::vector<std::string>{"USER", "PID",  "%CPU",  "%MEM", "VSZ",    "RSS",
                                    "TTY",  "STAT", "START", "TIME", "COMMAND"};
  }
  return std::vector<std::string>{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"};
}

absl::Status ContainerTop(const Context& context, const std::shared_ptr<http::Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(auto columns, PsColumns(exchange->query().Get("ps_args")));
  GANTRY_ASSIGN_OR_RETURN(auto found, FindRecord(context, exchange->Var("name")));
  const std::string& status = found.state().status();
  if (status == "restarting") {
    return absl::FailedPreconditionError(absl::StrCat(
        "Container ", found.id(), " is restarting, wait until the container is running"));
  }
  if (status != "running" && status != "paused") {
    return absl::FailedPreconditionError(absl::StrCat("container ", found.id(), " is not running"));
  }
  tasks::ListPidsRequest request;
  request.set_container_id(found.id());
  tasks::ListPidsResponse response;
  GANTRY_RETURN_IF_ERROR(context.gantryd.Call(tasks::TasksMethods::kListPids, request, &response));
  Printer printer;
  OrderedJson processes = OrderedJson::array();
  for (const auto& process : response.processes()) {
    ProcessFacts facts;
    if (!ReadFacts(process.pid(), &facts)) continue;
    OrderedJson row = OrderedJson::array();
    for (const std::string& column : columns) row.push_back(printer.Cell(column, facts));
    processes.push_back(std::move(row));
  }
  exchange->ReplyJson(200, OrderedJson{{"Processes", processes}, {"Titles", columns}});
  return absl::OkStatus();
}

}  // namespace gantry::docker
