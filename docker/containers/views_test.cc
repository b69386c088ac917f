#include "docker/containers/views.h"

#include <string>

#include "base/clock.h"
#include "docker/containers/exec_records.h"
#include "docker/containers/signals.h"
#include "docker/containers/top.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using gantry::services::lifecycle::v1::State;

TEST(ViewsTest, AgesAsDockerPrintsThem) {
  struct Case {
    absl::Duration age;
    const char* text;
  };
  const Case cases[] = {{absl::Milliseconds(3), "Less than a second"},
                        {absl::Seconds(1), "1 second"},
                        {absl::Seconds(59), "59 seconds"},
                        {absl::Seconds(60), "About a minute"},
                        {absl::Minutes(46), "46 minutes"},
                        {absl::Minutes(61), "About an hour"},
                        {absl::Hours(47), "47 hours"},
                        {absl::Hours(24 * 3), "3 days"},
                        {absl::Hours(24 * 20), "2 weeks"},
                        {absl::Hours(24 * 70), "2 months"},
                        {absl::Hours(24 * 800), "2 years"}};
  for (const Case& c : cases) EXPECT_EQ(HumanDuration(c.age), c.text);
}

TEST(ViewsTest, StatusOfEveryState) {
  absl::Time now = absl::FromUnixSeconds(1000);
  State state;
  state.set_status("created");
  EXPECT_EQ(StatusText(state, now), "Created");
  EXPECT_EQ(StateJson(state)["StartedAt"], "0001-01-01T00:00:00Z");
  state.set_status("running");
  base::SetTimestamp(state.mutable_started_at(), absl::FromUnixSeconds(990));
  EXPECT_EQ(StatusText(state, now), "Up 10 seconds");
  state.set_health("healthy");
  EXPECT_EQ(StatusText(state, now), "Up 10 seconds (healthy)");
  state.set_status("paused");
  EXPECT_EQ(StatusText(state, now), "Up 10 seconds (Paused)");
  state.set_status("exited");
  state.set_exit_code(137);
  base::SetTimestamp(state.mutable_finished_at(), absl::FromUnixSeconds(995));
  EXPECT_EQ(StatusText(state, now), "Exited (137) 5 seconds ago");
}

TEST(ExecRecordsTest, AnIdTellsItsContainer) {
  std::string container(64, 'c');
  std::string id = MakeExecId(container);
  EXPECT_EQ(id.size(), 64u);
  EXPECT_EQ(ContainerOfExec(id), container.substr(0, 32));
  EXPECT_EQ(ContainerOfExec("../x"), "");
  EXPECT_EQ(ContainerOfExec(std::string(64, 'x')), "");
}

TEST(SignalsTest, NamesAndNumbers) {
  EXPECT_EQ(*ParseSignal("SIGTERM"), 15u);
  EXPECT_EQ(*ParseSignal("kill"), 9u);
  EXPECT_EQ(*ParseSignal("10"), 10u);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), 37u);
  for (const char* bad : {"", "FOO", "0", "65", "-1", "SIGRTMIN+99", "1x"}) {
    EXPECT_FALSE(ParseSignal(bad).ok()) << bad;
  }
}

TEST(TopTest, ColumnsOfPs) {
  EXPECT_EQ(PsColumns("")->size(), 8u);
  EXPECT_EQ(PsColumns("aux")->front(), "USER");
  EXPECT_THAT(*PsColumns("-eo pid,comm"), testing::ElementsAre("PID", "COMM"));
  EXPECT_FALSE(PsColumns("-o comm").ok());
  EXPECT_FALSE(PsColumns("--forest; rm -rf /").ok());
}

}  // namespace
}  // namespace gantry::docker
