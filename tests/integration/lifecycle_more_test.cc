// Health checks, joined namespaces, waiting, and many containers, through the Lifecycle service.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "gantry/shim/v1/attach.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/lifecycle_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class LifecycleMoreTest : public LifecycleTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
    GantryctlOk({"run", "--rm", "busybox", "true"});  // unpacks
  }
  static std::function<void(life::Policy*)> Checked(const std::string& command) {
    return [command](life::Policy* policy) {
      for (const char* word : {"sh", "-c"}) policy->mutable_health()->add_test(word);
      policy->mutable_health()->add_test(command);
      policy->mutable_health()->mutable_interval()->set_nanos(200'000'000);
      policy->mutable_health()->mutable_timeout()->set_seconds(1);
      policy->mutable_health()->set_retries(2);
    };
  }
};

TEST_F(LifecycleMoreTest, HealthFollowsTheProgramAcrossGantryd) {
  Create("well", "while :; do sleep 0.1; done",
         Checked("echo checked; yes | head -c 100000; test ! -e /tmp/sick"));
  Start("well");
  EXPECT_EQ(State("well").health(), "starting");
  ASSERT_TRUE(Eventually([&] { return State("well").health() == "healthy"; }));
  life::State state = State("well");
  EXPECT_THAT(state.health_log(0).output(), HasSubstr("checked\ny\n"));
  EXPECT_EQ(state.health_log(0).output().size(), 4096u);
  EXPECT_EQ(state.health_log(0).exit_code(), 0);
  KillGantryd();
  StartGantryd();
  const absl::Time restarted = absl::Now();
  EXPECT_EQ(State("well").health(), "healthy");
  ASSERT_TRUE(Eventually([&] {
    life::State now = State("well");
    return absl::FromUnixSeconds(now.health_log(now.health_log_size() - 1).start().seconds()) >=
           restarted;
  })) << "checks go on";
  EXPECT_LE(State("well").health_log_size(), 5);
  GantryctlOk({"exec", "well", "touch", "/tmp/sick"});
  ASSERT_TRUE(Eventually([&] { return State("well").health() == "unhealthy"; }));
  EXPECT_GE(State("well").failing_streak(), 2u);
  EXPECT_THAT(Events("well"), Contains("health_status: healthy"));
  EXPECT_THAT(Events("well"), Contains("health_status: unhealthy"));
  EXPECT_TRUE(TryRemove("well", true).ok());
}

TEST_F(LifecycleMoreTest, AHealthCheckThatHangsIsEnded) {
  Create("slow", "while :; do sleep 0.1; done", Checked("echo begun; sleep 100"));
  Start("slow");
  ASSERT_TRUE(Eventually([&] { return State("slow").health_log_size() > 0; }));
  EXPECT_EQ(State("slow").health_log(0).exit_code(), -1);
  EXPECT_THAT(State("slow").health_log(0).output(), HasSubstr("Health check exceeded timeout"));
  Stop("slow", 0);
  EXPECT_EQ(State("slow").status(), "exited");
  EXPECT_TRUE(TryRemove("slow").ok());
  EXPECT_TRUE(FindLeftovers(absl::StrCat("/", ns(), "/slow")).empty());
}

TEST_F(LifecycleMoreTest, JoinsTheNetworkAndTheIpcOfAnother) {
  Create("host1", "ls -l /proc/self/ns/net /proc/self/ns/ipc | sed 's/.*-> //'; sleep 100");
  auto join = [](life::Policy* policy) {
    policy->set_network_mode("container");
    policy->set_network_container("host1");
    (*policy->mutable_join_namespaces())["ipc"] = "host1";
  };
  Create("guest", "ls -l /proc/self/ns/net /proc/self/ns/ipc | sed 's/.*-> //'", join);
  EXPECT_THAT(TryStart("guest").message(), HasSubstr("of a non running container: host1"));
  Start("host1");
  Start("guest");
  EXPECT_EQ(Wait("guest"), 0);
  ASSERT_TRUE(Eventually([&] { return !Log("host1").empty(); }));
  EXPECT_EQ(Log("guest"), Log("host1"));
  EXPECT_TRUE(TryRemove("host1", true).ok());
  EXPECT_TRUE(TryRemove("guest").ok());
}

TEST_F(LifecycleMoreTest, WaitersHearOfWhatTheyWaitFor) {
  Create("w", "sleep 0.4; exit 9");
  EXPECT_EQ(Wait("w"), 0) << "it does not run";
  std::vector<std::thread> waiters;
  std::vector<int> codes(8, -2);
  for (size_t i = 0; i < codes.size(); ++i) {
    waiters.emplace_back(
        [this, &codes, i] { codes[i] = Wait("w", i % 2 == 0 ? "next-exit" : "removed"); });
  }
  // Those that lose patience are forgotten.
  life::WaitRequest brief;
  brief.set_id("w");
  brief.set_condition("removed");
  life::WaitResponse none;
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(Connect().Call(Lifecycle::kWait, brief, &none, absl::Milliseconds(5)).ok());
  }
  Start("w");
  EXPECT_EQ(Wait("w", "next-exit"), 9);
  EXPECT_TRUE(TryRemove("w").ok());
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_THAT(codes, ::testing::Each(9));
  brief.set_condition("sometime");
  Create("x", "true");
  brief.set_id("x");
  EXPECT_EQ(Connect().Call(Lifecycle::kWait, brief, &none, kCallTimeout).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(TryRemove("x").ok());
}

TEST_F(LifecycleMoreTest, ClientsAttachWhileTheLogKeepsAll) {
  Create("cat", "cat; echo end", [](life::Policy* policy) {
    policy->set_open_stdin(true);
    policy->set_stdin_once(true);
  });
  life::StartRequest start;
  start.set_id("cat");
  start.set_expect_attach(true);
  life::StartResponse started;
  absl::Status status = Connect().Call(Lifecycle::kStart, start, &started, kCallTimeout);
  ASSERT_TRUE(status.ok()) << status;
  const std::string path = started.container().state().attach_path();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  gantry::shim::v1::AttachRequest request;
  request.set_stdin(true);
  request.set_stdout(true);
  const std::string bytes = request.SerializeAsString();
  ASSERT_TRUE(
      base::WriteAll(fd.get(), std::string({0, 0, 0, static_cast<char>(bytes.size())}) + bytes)
          .ok());
  char answer = 1;
  ASSERT_EQ(read(fd.get(), &answer, 1), 1);
  ASSERT_EQ(answer, 0);
  ASSERT_TRUE(base::WriteAll(fd.get(), "hello\n").ok());
  shutdown(fd.get(), SHUT_WR);
  auto all = base::ReadFd(fd.get());
  ASSERT_TRUE(all.ok());
  EXPECT_THAT(*all, HasSubstr("hello\n"));
  EXPECT_THAT(*all, HasSubstr("end\n"));
  EXPECT_EQ(Wait("cat"), 0);
  EXPECT_EQ(Log("cat"), "hello\nend\n");
  EXPECT_FALSE(base::Exists(path));
  EXPECT_TRUE(TryRemove("cat").ok());
}

TEST_F(LifecycleMoreTest, ListingFiveHundredAsksNobody) {
  for (int i = 0; i < 500; ++i) Create(absl::StrCat("c", i), "true");
  life::ListRequest request;
  request.set_all(true);
  life::ListResponse response;
  client::Connection connection = Connect();
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 20; ++i) {
    const absl::Time begun = absl::Now();
    ASSERT_TRUE(connection.Call(Lifecycle::kList, request, &response, kCallTimeout).ok());
    best = std::min(best, absl::Now() - begun);
  }
  ASSERT_EQ(response.containers_size(), 500);
  EXPECT_EQ(response.containers(0).container().id(), "c499") << "newest first";
  EXPECT_LT(best, absl::Milliseconds(20));
  std::cout << "listing 500 containers takes " << best << "\n";
  request.set_all(false);
  ASSERT_TRUE(connection.Call(Lifecycle::kList, request, &response, kCallTimeout).ok());
  EXPECT_EQ(response.containers_size(), 0);
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(TryRemove(absl::StrCat("c", i)).ok());
}

// Not a promise, but printed for who looks: what a container costs from its creation to its
// removal.
TEST_F(LifecycleMoreTest, WhatARunCosts) {
  absl::Duration create, start, run;
  constexpr int kRuns = 20;
  for (int i = 0; i < kRuns; ++i) {
    const std::string id = absl::StrCat("cost", i);
    absl::Time begun = absl::Now();
    Create(id, "exit 0", [](life::Policy* policy) { policy->set_auto_remove(true); });
    absl::Time created = absl::Now();
    create += created - begun;
    life::WaitRequest wait;
    wait.set_id(id);
    wait.set_condition("removed");
    life::WaitResponse ended;
    client::Connection connection = Connect();
    client::Batch batch(connection);
    const size_t waiting = batch.Start(Lifecycle::kWait, wait, &ended);
    Start(id);
    start += absl::Now() - created;
    ASSERT_TRUE(batch.Wait(waiting).ok());
    run += absl::Now() - begun;
  }
  std::cout << "create " << create / kRuns << ", start " << start / kRuns << ", all " << run / kRuns
            << "\n";
  EXPECT_LT(run / kRuns, absl::Seconds(2));
}

TEST_F(LifecycleMoreTest, AKilledShimIsAnEnd) {
  Create("orphan", "sleep 100");
  Start("orphan");
  auto stat = base::ReadFile(absl::StrCat("/proc/", State("orphan").pid(), "/stat"));
  ASSERT_TRUE(stat.ok());
  const int shim = atoi(stat->substr(stat->rfind(')') + 4).c_str());
  ASSERT_GT(shim, 1);
  ASSERT_EQ(kill(shim, SIGKILL), 0);
  EXPECT_TRUE(Becomes("orphan", "exited"));
  EXPECT_NE(State("orphan").exit_code(), 0u);
  EXPECT_TRUE(TryRemove("orphan").ok());
}

TEST_F(LifecycleMoreTest, OneThatWasRemovedThroughTheApiOfRecordsIsGone) {
  Create("rec", "true", [](life::Policy* policy) { policy->set_name("taken"); });
  CtrOk({"container", "rm", "rec"});
  EXPECT_TRUE(Eventually([&] { return absl::IsNotFound(TryState("rec").status()); }));
  EXPECT_TRUE(Eventually([&] { return !base::Exists(directory("rec")); }));
  Create("next", "true", [](life::Policy* policy) { policy->set_name("taken"); });
  EXPECT_TRUE(TryRemove("next").ok());
}

}  // namespace
}  // namespace gantry::tests
