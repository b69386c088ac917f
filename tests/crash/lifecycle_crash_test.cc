// gantryd is killed between any two steps of a container's life: the next start undoes or finishes
// each, and the container is what its last answered call said.

#include <signal.h>
#include <unistd.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/lifecycle_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class LifecycleCrashTest : public LifecycleTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
    GantryctlOk({"run", "--rm", "busybox", "true"});  // unpacks
  }
  void CrashAt(const std::string& point, const std::function<void()>& act) {
    StopGantryd();
    daemon_env = {absl::StrCat("GANTRY_CRASH_POINT=", point)};
    StartGantryd();
    act();
    const bool died = WaitForGantryd(absl::Seconds(8)).signal == SIGKILL;
    EXPECT_TRUE(died) << point << " was not passed";
    if (!died) KillGantryd();
    daemon_env.clear();
    StartGantryd();
  }
  void ExpectInOrder() {
    base::RunResult check;
    // Bundles go in the background.
    EXPECT_TRUE(Eventually([&] {
      check = Gantryctl({"fsck", "--young"});
      return check.exit.code == 0;
    })) << check.out
        << check.err;
    EXPECT_THAT(check.out, HasSubstr(" 0 intents"));
  }
  void ExpectNothingLeft() {
    ExpectInOrder();
    std::vector<std::string> left = FindLeftovers(absl::StrCat("/", ns(), "/crash"));
    EXPECT_TRUE(left.empty()) << absl::StrJoin(left, "\n");
  }
};

TEST_F(LifecycleCrashTest, Creation) {
  for (const char* point :
       {"lifecycle.create.begun", "lifecycle.create.made", "lifecycle.create.recorded"}) {
    SCOPED_TRACE(point);
    CrashAt(point, [&] {
      EXPECT_FALSE(TryCreate("crash", "exit 3", [](life::CreateRequest* request) {
                     request->mutable_policy()->set_name("crash-name");
                   }).ok());
    });
    const bool made = TryState("crash").ok();
    EXPECT_EQ(made, std::string(point) == "lifecycle.create.recorded");
    EXPECT_EQ(base::Exists(directory("crash")), made);
    if (!made) {
      Create("crash", "exit 3", [](life::Policy* policy) { policy->set_name("crash-name"); });
    }
    Start("crash");
    EXPECT_EQ(Wait("crash"), 3);
    EXPECT_TRUE(TryRemove("crash").ok());
    ExpectNothingLeft();
  }
}

TEST_F(LifecycleCrashTest, Start) {
  for (const char* point :
       {"lifecycle.start.prepared", "lifecycle.start.created", "lifecycle.start.started"}) {
    SCOPED_TRACE(point);
    Create("crash", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    CrashAt(point, [&] { EXPECT_FALSE(TryStart("crash").ok()); });
    // A program that runs is kept; a task that was not started is not.
    const std::string want =
        std::string(point) == "lifecycle.start.started" ? "running" : "created";
    EXPECT_EQ(State("crash").status(), want);
    ExpectInOrder();
    Start("crash");
    EXPECT_EQ(State("crash").status(), "running");
    ASSERT_TRUE(Eventually([&] { return Log("crash") == "ready\n"; }));
    Stop("crash");
    EXPECT_EQ(State("crash").exit_code(), 3u);
    EXPECT_TRUE(TryRemove("crash").ok());
    unlink(log_path("crash").c_str());
    ExpectNothingLeft();
  }
}

TEST_F(LifecycleCrashTest, End) {
  for (const char* point :
       {"lifecycle.exit.deleted", "lifecycle.exit.cleaned", "lifecycle.exit.recorded"}) {
    for (const char* restart : {"no", "on-failure"}) {
      SCOPED_TRACE(absl::StrCat(point, " ", restart));
      Create("crash", "sleep 0.3; exit 3", [&](life::Policy* policy) {
        policy->mutable_restart()->set_name(restart);
        if (std::string(restart) != "no") policy->mutable_restart()->set_maximum_retries(1);
      });
      // Of a policy with a restart it is the second end that is recorded as such.
      CrashAt(point, [&] { Start("crash"); });
      ASSERT_TRUE(Becomes("crash", "exited"));
      EXPECT_EQ(State("crash").exit_code(), 3u);
      EXPECT_TRUE(TryRemove("crash").ok());
      ExpectNothingLeft();
    }
  }
}

TEST_F(LifecycleCrashTest, Removal) {
  for (bool automatic : {false, true}) {
    SCOPED_TRACE(automatic);
    Create("crash", "exit 3", [&](life::Policy* policy) { policy->set_auto_remove(automatic); });
    CrashAt("lifecycle.remove.recorded", [&] {
      if (automatic) {
        TryStart("crash").IgnoreError();
      } else {
        EXPECT_FALSE(TryRemove("crash").ok());
      }
    });
    EXPECT_EQ(TryState("crash").status().code(), absl::StatusCode::kNotFound);
    EXPECT_FALSE(base::Exists(directory("crash")));
    ExpectNothingLeft();
  }
}

// At any moment, many times, while containers begin and end.
TEST_F(LifecycleCrashTest, AnyMoment) {
  Create("ever", "sleep 0.05; exit 1",
         [](life::Policy* policy) { policy->mutable_restart()->set_name("always"); });
  Start("ever");
  for (int i = 0; i < 20; ++i) {
    const std::string id = absl::StrCat("crash", i);
    auto made = TryCreate(id, "exit 3", [](life::CreateRequest* request) {
      request->mutable_policy()->set_auto_remove(true);
    });
    if (made.ok() && i % 2 == 0) TryStart(id).IgnoreError();
    absl::SleepFor(absl::Milliseconds(7 * i % 50));
    KillGantryd();
    StartGantryd();
  }
  EXPECT_TRUE(Eventually([&] { return State("ever").restart_count() > 0; }));
  Stop("ever");
  EXPECT_TRUE(TryRemove("ever").ok());
  for (int i = 0; i < 20; ++i) {
    const std::string id = absl::StrCat("crash", i);
    if (i % 2 != 0)
      EXPECT_TRUE(TryRemove(id).ok()) << id;
    else
      EXPECT_TRUE(Eventually([&] {
        auto state = TryState(id);
        if (state.ok() && state->status() == "created") return TryRemove(id).ok();
        return absl::IsNotFound(state.status());
      })) << id;
  }
  ExpectNothingLeft();
}

}  // namespace
}  // namespace gantry::tests
