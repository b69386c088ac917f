#include "shim/kernel_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

// The value behind ` KEY=` or `,KEY=`, up to the next separator; a quoted one without its quotes.
absl::string_view Value(absl::string_view text, absl::string_view key, char separator) {
  std::string needle = absl::StrCat(std::string(1, separator), key, "=");
  size_t at = text.find(needle);
  if (at == absl::string_view::npos) return {};
  absl::string_view value = text.substr(at + needle.size());
  if (absl::ConsumePrefix(&value, "\"")) return value.substr(0, value.find('"'));
  return value.substr(0, value.find(separator));
}

uint64_t Number(absl::string_view text, uint64_t limit) {
  return base::ParseDecimal(text, limit).value_or(0);
}

uint32_t Hex(absl::string_view text) {
  absl::ConsumePrefix(&text, "0x");
  uint32_t number = 0;
  return absl::SimpleHexAtoi(text, &number) ? number : 0;
}

// SECCOMP_RET_* by its upper half.
const char* ActionName(uint32_t code) {
  switch (code & 0xffff0000u) {
    case 0x7ffc0000u:
      return "logged";
    case 0x00050000u:
      return "refused";
    case 0x00030000u:
      return "trapped";
    default:
      return "killed";
  }
}

}  // namespace

std::optional<OomKill> ParseOomKill(absl::string_view message) {
  if (!absl::ConsumePrefix(&message, "oom-kill:")) return std::nullopt;
  OomKill kill;
  kill.cgroup = std::string(Value(message, "task_memcg", ','));
  kill.program = std::string(Value(message, "task", ','));
  kill.pid = static_cast<pid_t>(Number(Value(message, "pid", ','), 0x7fffffff));
  kill.machine_wide = absl::StrContains(message, ",global_oom,");
  if (kill.cgroup.empty() || kill.pid == 0) return std::nullopt;
  return kill;
}

std::optional<AuditedCall> ParseAuditedCall(absl::string_view message) {
  if (!absl::StrContains(message, "type=1326 ")) return std::nullopt;
  AuditedCall call;
  call.pid = static_cast<pid_t>(Number(Value(message, "pid", ' '), 0x7fffffff));
  call.program = std::string(Value(message, "comm", ' '));
  call.arch = Hex(Value(message, "arch", ' '));
  call.number = static_cast<int>(Number(Value(message, "syscall", ' '), 0x7fffffff));
  call.action = ActionName(Hex(Value(message, "code", ' ')));
  if (call.pid == 0 || call.arch == 0) return std::nullopt;
  return call;
}

absl::StatusOr<KernelLog> KernelLog::Open(From from) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open("/dev/kmsg", O_RDONLY | O_NONBLOCK));
  if (from == From::kNow && lseek(fd.get(), 0, SEEK_END) < 0)
    return base::ErrnoStatus(errno, "seek to the end of /dev/kmsg");
  return KernelLog(std::move(fd));
}

// A record is "priority,sequence,microseconds,flags;text\n key=value\n…".
void KernelLog::Read(const std::function<void(absl::string_view)>& fn) {
  char buffer[8192];
  while (true) {
    ssize_t n = read(fd_.get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EPIPE)) continue;  // EPIPE: some were overwritten
    if (n <= 0) return;
    absl::string_view record(buffer, static_cast<size_t>(n));
    size_t text = record.find(';');
    if (text == absl::string_view::npos) continue;
    record.remove_prefix(text + 1);
    fn(record.substr(0, record.find('\n')));
  }
}

}  // namespace gantry::shim
