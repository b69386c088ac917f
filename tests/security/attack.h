#ifndef GANTRY_TESTS_SECURITY_ATTACK_H_
#define GANTRY_TESTS_SECURITY_ATTACK_H_

// What every case of this folder stands on: a container to attack from, a canary on the host that
// must not change, and the rule that a test is worth something only if it fails when the mistake it
// is about is made.

#include <sys/types.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "shim/oci/container_test_util.h"
#include "tests/security/mistakes.h"

namespace gantry::tests {

// A process that exchanges two paths (renameat2, RENAME_EXCHANGE) as fast as it can, until
// destroyed.
class Swapper {
 public:
  Swapper(const std::string& a, const std::string& b);
  ~Swapper();
  Swapper(const Swapper&) = delete;

 private:
  pid_t pid_;
};

// Takes part in a container's life as its root, in its namespaces and with Docker's capabilities:
// calls `is_prey` (no allocation needed, it is a process of its own) for every process that it sees
// besides the container's first, over and over, until that returns true or the hunter is destroyed.
class Hunter {
 public:
  Hunter(int init_pidfd, bool (*is_prey)(pid_t pid));
  ~Hunter() { Caught(); }
  Hunter(const Hunter&) = delete;
  bool Running();
  bool Caught();  // ends the hunt

 private:
  pid_t pid_ = -1;
  int status_ = -1;
};

// Kind, mode, owner, size and content of everything beneath a directory, one line each.
std::vector<std::string> Describe(const std::string& dir);

// One bundle made to break out. The canary is a directory beside the root file system.
class Attack {
 public:
  Attack();

  oci::TestBundle bundle;
  const std::string& canary() const { return canary_; }
  // False once anything on the host differs: the canary, or mounts.
  bool HostUntouched() const { return Host() == before_; }
  void ExpectHostUntouched() const;
  // After the attack itself has put something into the canary.
  void Remember() { before_ = Host(); }

  // Changes of the root file system; `path` is absolute in it. What is there is replaced.
  void Link(const std::string& path, const std::string& target) const;
  void Directory(const std::string& path) const;
  void File(const std::string& path, const std::string& text, mode_t mode = 0644) const;
  void Remove(const std::string& path) const;

  // Changes of the spec.
  void AddTmpfs(const std::string& destination);
  void AddBind(const std::string& source, const std::string& destination,
               const std::vector<std::string>& options = {"bind", "ro"});
  void DropMounts(absl::string_view prefix);  // those at or beneath it
  void SetUser(uint32_t uid, uint32_t gid);

 private:
  std::vector<std::string> Host() const;
  std::string canary_;
  std::vector<std::string> before_;
};

// The rounds of a race: 500, or as many as a busy machine runs in 20 s.
class Rounds {
 public:
  bool Next() { return ++round_ <= 500 && absl::Now() < end_; }

 private:
  int round_ = 0;
  absl::Time end_ = absl::Now() + absl::Seconds(20);
};

// Runs `attack`, whose EXPECTs must hold, in 30 s at most. Then runs it once for each of
// `mistakes`, made by the engine on purpose: at least one EXPECT must fail, and the first that did
// is printed.
void MustHold(std::initializer_list<Mistake> mistakes, const std::function<void()>& attack);

// As above, on a bundle of its own each time, and the host must be untouched afterwards.
void MustHold(std::initializer_list<Mistake> mistakes, const std::function<void(Attack&)>& attack);

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_SECURITY_ATTACK_H_
