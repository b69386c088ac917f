#include "services/lifecycle/restart.h"

#include "gtest/gtest.h"

namespace gantry::services::lifecycle {
namespace {

v1::RestartPolicy Named(const std::string& name, uint32_t retries = 0) {
  v1::RestartPolicy policy;
  policy.set_name(name);
  policy.set_maximum_retries(retries);
  return policy;
}

TEST(RestartTest, WhoIsStartedAgain) {
  struct Case {
    v1::RestartPolicy policy;
    Ending ending;
    bool want;
  };
  for (const Case& c : std::vector<Case>{
           {Named(""), {.exit_code = 1}, false},
           {Named("no"), {.exit_code = 1}, false},
           {Named("always"), {.exit_code = 0}, true},
           {Named("always"), {.exit_code = 0, .by_user = true}, false},
           {Named("unless-stopped"), {.exit_code = 0, .restart_count = 1000}, true},
           {Named("unless-stopped"), {.exit_code = 137, .by_user = true}, false},
           {Named("on-failure"), {.exit_code = 0}, false},
           {Named("on-failure"), {.exit_code = 2, .restart_count = 99}, true},
           {Named("on-failure", 3), {.exit_code = 2, .restart_count = 2}, true},
           {Named("on-failure", 3), {.exit_code = 2, .restart_count = 3}, false},
           {Named("on-failure"), {.exit_code = 2, .by_user = true}, false},
       }) {
    EXPECT_EQ(ShouldRestart(c.policy, c.ending), c.want)
        << c.policy.name() << " " << c.ending.exit_code;
  }
}

TEST(RestartTest, AfterARestartOfTheMachine) {
  EXPECT_TRUE(ShouldStartAtBoot(Named("always"), true));
  EXPECT_TRUE(ShouldStartAtBoot(Named("unless-stopped"), false));
  EXPECT_FALSE(ShouldStartAtBoot(Named("unless-stopped"), true));
  EXPECT_FALSE(ShouldStartAtBoot(Named("on-failure"), false));
  EXPECT_FALSE(ShouldStartAtBoot(Named("no"), false));
}

TEST(RestartTest, ThePauseDoublesUpToAMinute) {
  Backoff backoff;
  absl::Duration want = absl::Milliseconds(100);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(backoff.Next(absl::Seconds(1)), want);
    want = std::min(2 * want, absl::Minutes(1));
  }
  EXPECT_EQ(backoff.Next(absl::Seconds(1)), absl::Minutes(1));
  EXPECT_EQ(backoff.Next(absl::Seconds(10)), absl::Milliseconds(100));
  EXPECT_EQ(backoff.Next(absl::Seconds(9)), absl::Milliseconds(200));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(absl::ZeroDuration()), absl::Milliseconds(100));
}

TEST(RestartTest, PoliciesThatMakeNoSense) {
  auto check = [](const std::string& name, uint32_t retries, bool remove) {
    v1::Policy policy;
    *policy.mutable_restart() = Named(name, retries);
    policy.set_auto_remove(remove);
    return std::string(CheckRestartPolicy(policy).message());
  };
  EXPECT_EQ(check("on-failure", 5, false), "");
  EXPECT_EQ(check("", 0, true), "");
  EXPECT_EQ(check("always", 5, false),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'");
  EXPECT_EQ(check("often", 0, false),
            "invalid restart policy: unknown policy 'often'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'");
  EXPECT_EQ(check("always", 0, true), "can't create 'AutoRemove' container with restart policy");
}

}  // namespace
}  // namespace gantry::services::lifecycle
