#include "client/spec/capabilities.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"

namespace gantry::client {
namespace {

// By number, as linux/capability.h counts them.
constexpr absl::string_view kNames[] = {"CHOWN",
                                        "DAC_OVERRIDE",
                                        "DAC_READ_SEARCH",
                                        "FOWNER",
                                        "FSETID",
                                        "KILL",
                                        "SETGID",
                                        "SETUID",
                                        "SETPCAP",
                                        "LINUX_IMMUTABLE",
                                        "NET_BIND_SERVICE",
                                        "NET_BROADCAST",
                                        "NET_ADMIN",
                                        "NET_RAW",
                                        "IPC_LOCK",
                                        "IPC_OWNER",
                                        "SYS_MODULE",
                                        "SYS_RAWIO",
                                        "SYS_CHROOT",
                                        "SYS_PTRACE",
                                        "SYS_PACCT",
                                        "SYS_ADMIN",
                                        "SYS_BOOT",
                                        "SYS_NICE",
                                        "SYS_RESOURCE",
                                        "SYS_TIME",
                                        "SYS_TTY_CONFIG",
                                        "MKNOD",
                                        "LEASE",
                                        "AUDIT_WRITE",
                                        "AUDIT_CONTROL",
                                        "SETFCAP",
                                        "MAC_OVERRIDE",
                                        "MAC_ADMIN",
                                        "SYSLOG",
                                        "WAKE_ALARM",
                                        "BLOCK_SUSPEND",
                                        "AUDIT_READ",
                                        "PERFMON",
                                        "BPF",
                                        "CHECKPOINT_RESTORE"};

constexpr absl::string_view kDefault[] = {
    "CHOWN",   "DAC_OVERRIDE", "FSETID",           "FOWNER",
    "MKNOD",   "NET_RAW",      "SETGID",           "SETUID",
    "SETFCAP", "SETPCAP",      "NET_BIND_SERVICE", "SYS_CHROOT",
    "KILL",    "AUDIT_WRITE"};

absl::StatusOr<std::string> Canonical(absl::string_view name) {
  std::string upper = absl::AsciiStrToUpper(name);
  if (absl::StartsWith(upper, "CAP_")) upper.erase(0, 4);
  if (std::find(std::begin(kNames), std::end(kNames), upper) == std::end(kNames)) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no capability \"", name, "\"; capabilities(7) lists them"));
  }
  return absl::StrCat("CAP_", upper);
}

// All ones without /proc: the engine drops what the kernel lacks.
uint64_t BoundingSet() {
  auto status = base::ReadFile("/proc/self/status", 64u << 10);
  uint64_t mask = 0;
  if (!status.ok()) return ~mask;
  for (absl::string_view line : absl::StrSplit(*status, '\n')) {
    if (!absl::ConsumePrefix(&line, "CapBnd:")) continue;
    if (absl::SimpleHexAtoi(absl::StripAsciiWhitespace(line), &mask)) return mask;
  }
  return ~uint64_t{0};
}

bool IsAll(absl::string_view name) { return absl::EqualsIgnoreCase(name, "ALL"); }

}  // namespace

std::vector<std::string> AllCapabilities() {
  uint64_t mask = BoundingSet();
  std::vector<std::string> names;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if ((mask >> i & 1) != 0) names.push_back(absl::StrCat("CAP_", kNames[i]));
  }
  return names;
}

std::vector<std::string> DefaultCapabilities() {
  std::vector<std::string> names;
  for (absl::string_view name : kDefault) names.push_back(absl::StrCat("CAP_", name));
  return names;
}

absl::StatusOr<std::vector<std::string>> MakeCapabilities(const std::vector<std::string>& add,
                                                          const std::vector<std::string>& drop) {
  std::vector<std::string> set = DefaultCapabilities();
  for (const std::string& name : drop) {
    if (IsAll(name)) {
      set.clear();
      continue;
    }
    auto canonical = Canonical(name);
    if (!canonical.ok()) return canonical.status();
    set.erase(std::remove(set.begin(), set.end(), *canonical), set.end());
  }
  for (const std::string& name : add) {
    if (IsAll(name)) {
      std::vector<std::string> all = AllCapabilities();
      for (const std::string& dropped : drop) {
        if (IsAll(dropped)) continue;
        all.erase(std::remove(all.begin(), all.end(), *Canonical(dropped)), all.end());
      }
      set = all;
      continue;
    }
    auto canonical = Canonical(name);
    if (!canonical.ok()) return canonical.status();
    if (std::find(set.begin(), set.end(), *canonical) == set.end()) set.push_back(*canonical);
  }
  return set;
}

}  // namespace gantry::client
