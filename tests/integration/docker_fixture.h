#ifndef GANTRY_TESTS_INTEGRATION_DOCKER_FIXTURE_H_
#define GANTRY_TESTS_INTEGRATION_DOCKER_FIXTURE_H_

// A gantryd and a gantry-docker of their own, in a network namespace that the test program makes
// for itself, and the real docker CLI in front of them.

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/process.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {

class DockerTest : public GantrydTest {
 protected:
  // Skips, with the reason, when there is no docker CLI ($GANTRY_TEST_DOCKER, or in $PATH).
  void SetUp() override;
  void TearDown() override;

  void StartGantryDocker(const std::vector<std::string>& arguments = {});
  // By SIGKILL: it has nothing to save.
  void KillGantryDocker();
  pid_t gantry_docker_pid() const { return door_ ? door_->pid() : -1; }

  // Runs the CLI to its end.
  base::RunResult Docker(std::vector<std::string> arguments, absl::string_view input = {},
                         absl::Duration timeout = absl::Seconds(60));
  // As above, and fails the test when the exit code is not 0; returns stdout without the last
  // newline.
  std::string DockerOk(std::vector<std::string> arguments, absl::string_view input = {});
  // A CLI that goes on; its output in the file `log`.
  base::Process DockerInBackground(std::vector<std::string> arguments, const std::string& log);
  // curl --unix-socket; "STATUS BODY".
  std::string Curl(const std::string& method, const std::string& path,
                   const std::string& body = "");

  std::string docker_socket() const { return dir() + "/docker.sock"; }
  std::vector<std::string> docker_env() const;

  static constexpr char kImage[] = "busybox";

 private:
  std::optional<base::Process> door_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_DOCKER_FIXTURE_H_
