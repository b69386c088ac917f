// The layer around rules, kernel parameters and DNS of networks.

#include <linux/netlink.h>
#include <sys/socket.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "services/networks/dns_names.h"
#include "tests/security/mistakes.h"

namespace gantry::tests {

extern "C" {

int __real_setsockopt(int fd, int level, int name, const void* value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size);

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  bool listens = level == SOL_NETLINK && name == NETLINK_ADD_MEMBERSHIP;
  if (listens && Makes(Mistake::kForgetsRules)) return 0;
  return __real_setsockopt(fd, level, name, value, size);
}

}  // extern "C"
}  // namespace gantry::tests

// Each mangled name stands in one line, where CMakeLists.txt finds it.
// clang-format off
namespace gantry::base {

GANTRY_LAYER(absl::Status, WriteFile,
             "_ZN6gantry4base9WriteFileERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEN4absl7debian311string_viewEj",
             const std::string& path, absl::string_view data, mode_t mode) {
  bool ipv6 = absl::EndsWith(path, "/accept_ra") || absl::EndsWith(path, "/disable_ipv6");
  if (ipv6 && data != "2" && tests::Makes(tests::Mistake::kIpv6Everywhere)) return absl::OkStatus();
  return RealWriteFile(path, data, mode);
}

}  // namespace gantry::base

namespace gantry::services {

using tests::Makes;
using tests::Mistake;

class DnsServer;

GANTRY_LAYER(
    std::string, TableText,
    "_ZN6gantry8services9TableTextERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEb",
    const std::string& table, bool guard_forwarding) {
  std::string text = RealTableText(table, guard_forwarding);
  auto without = [&text](absl::string_view rule) {
    text = absl::StrReplaceAll(text, {{rule, ""}});
  };
  if (Makes(Mistake::kLoopbackForAll)) {
    without("iifname @bridges ip daddr 127.0.0.0/8 drop");
    without("iifname @bridges ip saddr 127.0.0.0/8 drop");
  }
  if (Makes(Mistake::kAnyDestination)) without("fib daddr type local");
  if (Makes(Mistake::kDirectAccess)) {
    without("    iifname @bridges drop\n");
    without("    drop\n");
  }
  if (Makes(Mistake::kInternalLeadsOut)) {
    without("    iifname @internal drop\n");
    without("    oifname @internal drop\n");
  }
  if (Makes(Mistake::kLoopbackFromTheWire)) without("    ip daddr 127.0.0.0/8 return\n");
  return text;
}

GANTRY_LAYER(absl::Status, Serve,
             "_ZN6gantry8services9DnsServer5ServeERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEiNS0_8DnsScopeE",
             DnsServer* self, const std::string& key, int netns, DnsScope scope) {
  if (Makes(Mistake::kAsksForInternal)) scope.forwards = true;
  return RealServe(self, key, netns, std::move(scope));
}

}  // namespace gantry::services
