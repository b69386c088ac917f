// Containers whose life gantryd keeps up, by gantryctl.

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/lifecycle_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GantryctlManagedTest : public LifecycleTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
  }
  base::Json Inspected(const std::string& name) {
    auto json = base::ParseJson(GantryctlOk({"inspect", name}));
    return json.ok() && !json->empty() ? json->at(0) : base::Json();
  }
};

TEST_F(GantryctlManagedTest, RestartsAndIsStoppedAndRemoved) {
  GantryctlOk({"run", "-d", "--name", "phoenix", "--restart", "always", "busybox", "sh", "-c",
               "echo up; sleep 0.2; exit 1"});
  ASSERT_TRUE(Eventually([&] { return Inspected("phoenix")["lifecycle"]["restartCount"] >= 2; }));
  EXPECT_THAT(GantryctlOk({"ps", "-a"}), HasSubstr("phoenix"));
  EXPECT_THAT(GantryctlOk({"logs", "phoenix"}), HasSubstr("up\nup\n"));
  GantryctlOk({"stop", "phoenix"});
  EXPECT_THAT(GantryctlOk({"ps", "-a"}), HasSubstr("exited ("));
  EXPECT_THAT(GantryctlOk({"ps"}), Not(HasSubstr("phoenix")));
  GantryctlOk({"start", "phoenix"});
  EXPECT_NE(Gantryctl({"rm", "phoenix"}).exit.code, 0);
  GantryctlOk({"rm", "-f", "phoenix"});
  EXPECT_THAT(GantryctlOk({"ps", "-a"}), Not(HasSubstr("phoenix")));
}

TEST_F(GantryctlManagedTest, InTheForegroundWithInput) {
  base::RunResult ran = Gantryctl({"run", "--rm", "-i", "--restart", "no", "busybox", "sh", "-c",
                                   "cat; echo to-stderr >&2; exit 7"},
                                  "typed\n");
  EXPECT_EQ(ran.exit.code, 7) << ran.err;
  EXPECT_EQ(ran.out, "typed\n");
  EXPECT_THAT(ran.err, HasSubstr("to-stderr"));
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
  // One that ends before anybody can attach.
  for (int i = 0; i < 5; ++i) GantryctlOk({"run", "--rm", "--restart", "no", "busybox", "true"});
  ran = Gantryctl({"run", "--rm", "--restart", "no", "busybox", "no-such-program"});
  EXPECT_EQ(ran.exit.code, 127);
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
}

TEST_F(GantryctlManagedTest, HealthIsShown) {
  GantryctlOk({"run", "-d", "--name", "fit", "--health-cmd", "true", "--health-interval", "100ms",
               "busybox", "sleep", "100"});
  ASSERT_TRUE(
      Eventually([&] { return absl::StrContains(GantryctlOk({"ps"}), "running (healthy)"); }));
  EXPECT_EQ(Inspected("fit")["lifecycle"]["health"], "healthy");
  GantryctlOk({"pause", "fit"});
  EXPECT_EQ(Inspected("fit")["status"], "paused");
  GantryctlOk({"resume", "fit"});
  GantryctlOk({"kill", "fit"});
  ASSERT_TRUE(Eventually([&] { return Inspected("fit")["status"] == "exited (137)"; }));
  GantryctlOk({"rm", "fit"});
}

}  // namespace
}  // namespace gantry::tests
