// logs.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "client/container.h"
#include "ctl/container_commands.h"
#include "ctl/logs.h"
#include "ctl/managed.h"
#include "ctl/output.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

constexpr size_t kBuffer = 64u << 10;
constexpr size_t kMaxLine = 1u << 20;
constexpr absl::Duration kFollowPoll = absl::Milliseconds(100);

// Reads a log as it grows, over its rotation too.
class LogPrinter {
 public:
  LogPrinter(std::string path, bool json, bool timestamps)
      : path_(std::move(path)), json_(json), timestamps_(timestamps) {}

  absl::Status Open() {
    GANTRY_ASSIGN_OR_RETURN(file_, base::Open(path_, O_RDONLY));
    return absl::OkStatus();
  }

  // Starts `lines` before the end.
  absl::Status SkipToTail(int64_t lines) {
    off_t end = lseek(file_.get(), 0, SEEK_END);
    std::string block(kBuffer, '\0');
    int64_t newlines = 0;
    off_t at = end;
    while (at > 0) {
      size_t size = std::min<size_t>(block.size(), static_cast<size_t>(at));
      at -= static_cast<off_t>(size);
      ssize_t n = pread(file_.get(), block.data(), size, at);
      if (n <= 0) break;
      for (ssize_t i = n - 1; i >= 0; --i) {
        // The newline that ends the last line starts no further one.
        if (block[static_cast<size_t>(i)] != '\n' || at + i + 1 == end) continue;
        if (++newlines < lines) continue;
        lseek(file_.get(), at + i + 1, SEEK_SET);
        return absl::OkStatus();
      }
    }
    lseek(file_.get(), lines == 0 ? end : 0, SEEK_SET);
    return absl::OkStatus();
  }

  // Prints what is there; true when there was anything.
  bool Drain() {
    bool any = false;
    std::string block(kBuffer, '\0');
    ssize_t n;
    while ((n = read(file_.get(), block.data(), block.size())) > 0) {
      any = true;
      Take(absl::string_view(block.data(), static_cast<size_t>(n)));
    }
    fflush(stdout);
    return any || Reopen();
  }

 private:
  void Take(absl::string_view data) {
    if (!json_) {
      PrintOut(data);
      return;
    }
    rest_.append(data.data(), data.size());
    size_t start = 0;
    for (size_t end; (end = rest_.find('\n', start)) != std::string::npos; start = end + 1) {
      PrintLine(absl::string_view(rest_).substr(start, end - start));
    }
    rest_.erase(0, start);
    if (rest_.size() > kMaxLine) rest_.clear();  // no line of the shim is so long
  }

  void PrintLine(absl::string_view line) {
    auto parsed = ParseLogLine(line);
    if (!parsed.ok()) return;  // a torn line after a crash
    std::string text = timestamps_ ? absl::StrCat(parsed->time, " ", parsed->text) : parsed->text;
    if (parsed->stream == "stderr") {
      PrintNote(text);
    } else {
      PrintOut(text);
    }
  }

  // After a rotation `path_` is another file.
  bool Reopen() {
    struct stat now = {};
    struct stat held = {};
    if (stat(path_.c_str(), &now) != 0 || fstat(file_.get(), &held) != 0) return false;
    if (now.st_ino == held.st_ino) return false;
    auto file = base::Open(path_, O_RDONLY);
    if (!file.ok()) return false;
    file_ = *std::move(file);
    return true;
  }

  std::string path_;
  bool json_;
  bool timestamps_;
  base::UniqueFd file_;
  std::string rest_;
};

bool Runs(const client::Connection& connection, const std::string& id) {
  auto task = GetTask(connection, id);
  return task.ok() && task->status() != containerd::v1::types::STOPPED;
}

// The older part of a rotated log, when all of it is wanted.
void PrintRotated(const std::string& path, bool json, bool timestamps) {
  for (int i = 9; i >= 1; --i) {
    LogPrinter old(absl::StrCat(path, ".", i), json, timestamps);
    if (old.Open().ok()) old.Drain();
  }
}

// The URI of its log.
absl::StatusOr<std::string> LogOf(const client::Connection& connection,
                                  const client::ContainerRecord& record) {
  auto label = record.labels().find(client::kLogLabel);
  if (label != record.labels().end()) return label->second;
  if (IsManaged(record)) {
    GANTRY_ASSIGN_OR_RETURN(life::Container managed, GetManaged(connection, record.id()));
    if (!managed.policy().log_uri().empty()) return managed.policy().log_uri();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("container ", ShortId(record.id()),
                   " has no log: its output went to the terminal that ran it (run -d keeps one)"));
}

absl::StatusOr<int> Logs(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "the container whose output to show"));
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record,
                          client::FindContainer(call.connection, call.args.positional()[0]));
  GANTRY_ASSIGN_OR_RETURN(const std::string uri, LogOf(call.connection, record));
  GANTRY_ASSIGN_OR_RETURN(std::string path, LogPath(uri));
  bool json = absl::StartsWith(uri, "json-file:");
  bool timestamps = call.args.Bool("timestamps");
  LogPrinter printer(path, json, timestamps);
  absl::Status opened = printer.Open();
  if (absl::IsNotFound(opened)) {
    return absl::NotFoundError(
        absl::StrCat("container ", ShortId(record.id()), " has written nothing yet"));
  }
  GANTRY_RETURN_IF_ERROR(opened);
  int64_t tail = -1;
  if (call.args.Has("tail")) {
    if (!absl::SimpleAtoi(call.args.String("tail"), &tail) || tail < 0) {
      return absl::InvalidArgumentError("--tail is a number of lines");
    }
    GANTRY_RETURN_IF_ERROR(printer.SkipToTail(tail));
  } else {
    PrintRotated(path, json, timestamps);
  }
  printer.Drain();
  while (call.args.Bool("follow")) {
    bool runs = Runs(call.connection, record.id());
    if (printer.Drain()) continue;
    if (!runs) break;
    absl::SleepFor(kFollowPoll);
  }
  return 0;
}

}  // namespace

std::vector<Command> LogCommands() {
  return {{"logs",
           "Containers",
           "[FLAGS] CONTAINER",
           "Show what a container in the background has written",
           "gantryctl logs -f --tail 20 web",
           {{"follow", 'f', FlagKind::kBool, "", "go on until it ends"},
            {"tail", '\0', FlagKind::kString, "LINES", "only the last ones"},
            {"timestamps", '\0', FlagKind::kBool, "", "with the time of each line (json-file)"}},
           Logs}};
}

}  // namespace gantry::ctl
