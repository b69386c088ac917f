#ifndef GANTRY_TESTS_INTEGRATION_CTR_FIXTURE_H_
#define GANTRY_TESTS_INTEGRATION_CTR_FIXTURE_H_

// The stock containerd client does with gantryd what it does with containerd. Every case also
// passes on containerd: GANTRY_TEST_DAEMON=/usr/bin/containerd with Debian 12's ctr, and
// GANTRY_TEST_DAEMON=sid with GANTRY_TEST_CTR=sid.

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class CtrTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    if (!IsSkipped()) StartGantryd();
  }

  std::string Busybox() { return std::string(kBusybox); }

  // `ctr run --rm` with flags before the image, returns stdout.
  std::string RunRm(std::vector<std::string> flags, std::vector<std::string> command) {
    std::vector<std::string> argv = {"run", "--rm"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    argv.push_back(Busybox());
    argv.push_back(absl::StrCat("c", ++serial_));
    argv.insert(argv.end(), command.begin(), command.end());
    return CtrOk(argv);
  }

  // Polls until the output of a ctr command has `text`.
  bool Eventually(const std::vector<std::string>& arguments, absl::string_view text) {
    for (int i = 0; i < 100; ++i) {
      if (absl::StrContains(Ctr(arguments).out, text)) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }

  // A shell script in which $CTR is ctr with address and namespace, $IMAGE busybox, and `running`
  // waits until a task does.
  base::RunResult Shell(const std::string& script) {
    return tests::Run({"sh", "-c", Preamble() + script});
  }
  // The same on a terminal of 77 columns and 33 rows; `typed` is a script that writes what is
  // typed.
  base::RunResult OnTerminal(const std::string& script, const std::string& typed = ":") {
    EXPECT_TRUE(base::ReplaceFile(dir() + "/script",
                                  absl::StrCat(Preamble(), "stty rows 33 cols 77\n", script))
                    .ok());
    return Shell(
        absl::StrCat("(", typed, ") | exec script -qec 'sh ", dir(), "/script' /dev/null"));
  }

  int serial_ = 0;

 private:
  std::string Preamble() {
    return absl::StrCat(
        "CTR='", absl::StrJoin(CtrCommand(), " "), "' IMAGE=", kBusybox,
        "\nrunning() { until $CTR task ls | grep -q RUNNING; do :; done; sleep 0.3; }\n");
  }
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_CTR_FIXTURE_H_
