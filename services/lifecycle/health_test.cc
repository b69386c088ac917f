#include "services/lifecycle/health.h"

#include "base/clock.h"
#include "gtest/gtest.h"

namespace gantry::services::lifecycle {
namespace {

// A container that was started at `start_`, and its checks.
class HealthTest : public ::testing::Test {
 protected:
  HealthTest() {
    base::SetTimestamp(state_.mutable_started_at(), start_);
    ResetHealth(true, &state_);
  }
  bool Add(absl::Duration after_start, int exit_code, const std::string& output = "") {
    v1::HealthResult result;
    base::SetTimestamp(result.mutable_start(), start_ + after_start);
    result.set_exit_code(exit_code);
    result.set_output(output);
    return AddHealthResult(times_, result, &state_);
  }

  const absl::Time start_ = absl::FromUnixSeconds(1'000'000);
  HealthTimes times_ = TimesOf(v1::HealthCheck());
  v1::State state_;
};

TEST_F(HealthTest, Defaults) {
  EXPECT_EQ(times_.interval, absl::Seconds(30));
  EXPECT_EQ(times_.timeout, absl::Seconds(30));
  EXPECT_EQ(times_.start_interval, absl::Seconds(5));
  EXPECT_EQ(times_.retries, 3u);
  v1::State none;
  ResetHealth(false, &none);
  EXPECT_EQ(none.health(), "none");
}

TEST_F(HealthTest, ThreeFailuresInARowAreUnhealthyAndOneSuccessIsHealthy) {
  EXPECT_FALSE(Add(absl::Seconds(30), 1));
  EXPECT_FALSE(Add(absl::Seconds(60), 1));
  EXPECT_EQ(state_.health(), "starting");
  EXPECT_TRUE(Add(absl::Seconds(90), 1));
  EXPECT_EQ(state_.health(), "unhealthy");
  EXPECT_FALSE(Add(absl::Seconds(120), 1));
  EXPECT_EQ(state_.failing_streak(), 4u);
  EXPECT_TRUE(Add(absl::Seconds(150), 0));
  EXPECT_EQ(state_.health(), "healthy");
  EXPECT_EQ(state_.failing_streak(), 0u);
  EXPECT_FALSE(Add(absl::Seconds(180), 0));
  EXPECT_FALSE(Add(absl::Seconds(210), 1));
  EXPECT_EQ(state_.health(), "healthy");
}

TEST_F(HealthTest, FailuresOfTheStartPeriodDoNotCount) {
  times_.start_period = absl::Seconds(60);
  for (int i = 1; i < 10; ++i) EXPECT_FALSE(Add(absl::Seconds(5 * i), 1));
  EXPECT_EQ(state_.failing_streak(), 0u);
  EXPECT_EQ(NextHealthCheck(times_, state_, start_ + absl::Seconds(59)), times_.start_interval);
  EXPECT_EQ(NextHealthCheck(times_, state_, start_ + absl::Seconds(60)), times_.interval);
  // After a success they do, in the period as well.
  EXPECT_TRUE(Add(absl::Seconds(50), 0));
  EXPECT_EQ(NextHealthCheck(times_, state_, start_ + absl::Seconds(51)), times_.interval);
  Add(absl::Seconds(52), 1);
  EXPECT_EQ(state_.failing_streak(), 1u);
}

TEST_F(HealthTest, TheLogKeepsFive) {
  for (int i = 0; i < 8; ++i) Add(absl::Seconds(i), 0, std::to_string(i));
  ASSERT_EQ(state_.health_log_size(), kHealthLogLength);
  EXPECT_EQ(state_.health_log(0).output(), "3");
  EXPECT_EQ(state_.health_log(4).output(), "7");
}

TEST_F(HealthTest, ChecksThatMakeNoSense) {
  v1::HealthCheck check;
  EXPECT_FALSE(CheckHealthCheck(check).ok());
  check.add_test("true");
  EXPECT_TRUE(CheckHealthCheck(check).ok());
  check.mutable_interval()->set_nanos(1000);
  EXPECT_FALSE(CheckHealthCheck(check).ok());
  check.mutable_interval()->set_nanos(1'000'000);
  EXPECT_TRUE(CheckHealthCheck(check).ok());
  check.mutable_timeout()->set_seconds(-1);
  EXPECT_FALSE(CheckHealthCheck(check).ok());
}

}  // namespace
}  // namespace gantry::services::lifecycle
