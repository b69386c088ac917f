#ifndef GANTRY_TESTS_SECURITY_DAEMON_FIXTURE_H_
#define GANTRY_TESTS_SECURITY_DAEMON_FIXTURE_H_

// A gantryd with shims for attacks. While a mistake is chosen it is gantryd-mistaken that is
// started, and its shims are gantry-shim-mistaken.

#include <string>
#include <vector>

#include "tests/integration/gantryd_fixture.h"
#include "tests/security/attack.h"

namespace gantry::tests {

class DaemonAttack : public GantrydTest {
 protected:
  // As MustHold; what `attack` starts with Begin() is stopped afterwards.
  void MustHoldHere(std::initializer_list<Mistake> mistakes, const std::function<void()>& attack);
  void Begin();

  std::string Busybox() const { return std::string(kBusybox); }
  std::string Bundle(const std::string& id) const {
    return state() + "/io.containerd.runtime.v2.task/" + ns() + "/" + id;
  }
  // By its working directory, which is the bundle; -1: none.
  pid_t ShimOf(const std::string& id) const;

  // In a process of another user: its exit status, or -1.
  static int AsUser(uid_t uid, const std::function<int()>& body);
};

// What a process holds. Growth of it, between two moments, is a leak.
struct Holdings {
  int descriptors = 0;
  int threads = 0;
  int64_t rss_kib = 0;   // VmRSS
  int64_t peak_kib = 0;  // VmHWM
};
Holdings HoldingsOf(pid_t pid);

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_SECURITY_DAEMON_FIXTURE_H_
