#ifndef GANTRY_TESTS_INTEGRATION_GANTRYD_FIXTURE_H_
#define GANTRY_TESTS_INTEGRATION_GANTRYD_FIXTURE_H_

// A gantryd of its own for each test: own root, state, socket and namespaces, all removed at the
// end, also when the test fails. Counts mounts, cgroups, network namespaces, shims and files before
// and after; what is left over fails the test.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "gtest/gtest.h"

namespace gantry::tests {

// Directory of the built programs ($GANTRY_BIN_DIR) and of the sources ($GANTRY_SOURCE_DIR).
std::string BinDir();
std::string SourceDir();

// Runs a program to its end; a failure to start or a timeout fails the test.
base::RunResult Run(const std::vector<std::string>& argv, absl::string_view input = {},
                    absl::Duration timeout = absl::Seconds(60));

// Directory with ctr, containerd and its shim of Debian sid (2.x), fetched once and cached. Empty,
// with the reason on stderr, when they cannot be fetched.
std::string SidContainerd();

// Path of an OCI image tar with busybox ("docker.io/library/busybox:latest"), made once and cached.
std::string BusyboxImage();

// The same of a Debian root with python3, redis and nginx ("docker.io/library/debian:programs").
// Empty, with the reason on stderr, when debootstrap finds no mirror.
std::string DebianImage();

// What exists on the machine that a runtime can leak and that names `marker` (a test's directory or
// containerd namespace): mounts, cgroups, processes. For comparing before and after.
std::vector<std::string> FindLeftovers(absl::string_view marker);

class GantrydTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // The daemon: gantryd, or $GANTRY_TEST_DAEMON, where "sid" means that of SidContainerd() and any
  // other value is a program that understands gantryd's flags. Start() with further arguments,
  // Stop() by SIGTERM, Kill() by SIGKILL.
  void StartGantryd(const std::vector<std::string>& arguments = {});
  void StopGantryd();
  void KillGantryd();
  // Waits until it has ended by itself, and returns how.
  base::ExitStatus WaitForGantryd(absl::Duration timeout = absl::Seconds(20));
  bool running() const { return daemon_.has_value(); }
  pid_t gantryd_pid() const { return daemon_ ? daemon_->pid() : -1; }

  // Runs ctr, or gantryctl, against it in the test's containerd namespace. ctr is Debian's own
  // (1.6), or $GANTRY_TEST_CTR, where "sid" means that of SidContainerd(): without one, tests are
  // skipped.
  base::RunResult Ctr(std::vector<std::string> arguments, absl::string_view input = {});
  base::RunResult Gantryctl(std::vector<std::string> arguments, absl::string_view input = {});
  // As above, and fails the test when the exit code is not 0; returns stdout.
  std::string CtrOk(std::vector<std::string> arguments, absl::string_view input = {});
  std::string GantryctlOk(std::vector<std::string> arguments, absl::string_view input = {});

  static bool is_gantryd();  // and not another daemon
  // Major version of that ctr.
  static int ctr_major();
  // Its command line up to the command.
  std::vector<std::string> CtrCommand() const;

  void ImportBusybox();

  const std::string& dir() const { return dir_; }  // everything of this test is below it
  std::string root() const { return dir_ + "/root"; }
  std::string state() const { return dir_ + "/state"; }
  std::string socket() const { return dir_ + "/gantry.sock"; }
  const std::string& ns() const { return ns_; }  // containerd namespace, unique
  std::vector<std::string> daemon_env;           // NAME=value, for the next StartGantryd()
  std::string config;                            // text of config.toml, before StartGantryd()

  static constexpr absl::string_view kBusybox = "docker.io/library/busybox:latest";

 private:
  std::string dir_;
  std::string ns_;
  std::optional<base::Process> daemon_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_GANTRYD_FIXTURE_H_
