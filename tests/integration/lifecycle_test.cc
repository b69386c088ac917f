// The life of containers through gantryd's Lifecycle service: what Docker's users expect of create,
// start, stop, restart policies, removal and waiting, also when gantryd is killed meanwhile.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/lifecycle_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LifecycleIntegrationTest : public LifecycleTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    ImportBusybox();
    GantryctlOk({"run", "--rm", "busybox", "true"});  // unpacks
  }
  void Restart() {
    KillGantryd();
    StartGantryd();
  }
  // Every object has its owner, and nothing is begun and not ended.
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
};

TEST_F(LifecycleIntegrationTest, CreateStartEndRemove) {
  Create("one", "echo hello; exit 3", [](life::Policy* policy) { policy->set_name("first"); });
  EXPECT_EQ(State("one").status(), "created");
  EXPECT_TRUE(base::Exists(directory("one")));
  Start("one");
  EXPECT_EQ(Wait("one"), 3);
  life::State state = State("one");
  EXPECT_EQ(state.status(), "exited");
  EXPECT_EQ(state.exit_code(), 3u);
  EXPECT_EQ(state.pid(), 0u);
  EXPECT_TRUE(state.has_finished_at());
  EXPECT_EQ(Log("one"), "hello\n");
  // Again, and its state survives gantryd.
  Start("one");
  EXPECT_EQ(Wait("one"), 3);
  Restart();
  EXPECT_EQ(State("one").exit_code(), 3u);
  ASSERT_TRUE(TryRemove("one").ok());
  EXPECT_EQ(TryState("one").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(base::Exists(directory("one")));
  EXPECT_THAT(Events("one"), ElementsAre("create", "start", "die 3", "start", "die 3", "destroy"));
  ExpectInOrder();
}

TEST_F(LifecycleIntegrationTest, NamesAreUnique) {
  auto name = [](life::Policy* policy) { policy->set_name("web"); };
  Create("aaa1", "true", name);
  auto second = TryCreate("aaa2", "true",
                          [&](life::CreateRequest* request) { name(request->mutable_policy()); });
  EXPECT_EQ(second.status().message(),
            "Conflict. The container name \"/web\" is already in use by container \"aaa1\". You "
            "have to remove (or rename) that container to be able to reuse that name.");
  EXPECT_FALSE(base::Exists(directory("aaa2")));
  Create("aaa2", "true");
  life::FindRequest find;
  life::GetResponse found;
  auto id_of = [&](const std::string& typed) {
    find.set_name(typed);
    absl::Status status = Connect().Call(Lifecycle::kFind, find, &found, kCallTimeout);
    return status.ok() ? found.container().id() : std::string(status.message());
  };
  EXPECT_EQ(id_of("/web"), "aaa1");
  EXPECT_EQ(id_of("aaa2"), "aaa2");
  EXPECT_EQ(id_of("aaa"), "Multiple IDs found with provided prefix: aaa");
  EXPECT_EQ(id_of("b"), "No such container: b");
  // A new name is free for others after it is given up.
  life::UpdateRequest update;
  update.set_id("aaa1");
  update.mutable_policy()->set_name("api");
  update.add_paths("name");
  life::UpdateResponse updated;
  ASSERT_TRUE(Connect().Call(Lifecycle::kUpdate, update, &updated, kCallTimeout).ok());
  EXPECT_EQ(id_of("api"), "aaa1");
  EXPECT_EQ(id_of("web"), "No such container: web");
  Restart();
  EXPECT_EQ(id_of("api"), "aaa1");
  EXPECT_THAT(Events("aaa1"), ElementsAre("create", "rename /web"));
  EXPECT_TRUE(TryRemove("aaa1").ok());
  EXPECT_TRUE(TryRemove("aaa2").ok());
}

TEST_F(LifecycleIntegrationTest, StopKillPauseAndForce) {
  Create("run", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
  Start("run");
  EXPECT_EQ(State("run").status(), "running");
  ASSERT_TRUE(Eventually([&] { return Log("run") == "ready\n"; }));
  EXPECT_THAT(TryRemove("run").message(), HasSubstr("stop the container before removing or force"));
  google::protobuf::Empty none;
  life::PauseRequest pause;
  pause.set_id("run");
  ASSERT_TRUE(Connect().Call(Lifecycle::kPause, pause, &none, kCallTimeout).ok());
  EXPECT_EQ(State("run").status(), "paused");
  EXPECT_EQ(Connect().Call(Lifecycle::kPause, pause, &none, kCallTimeout).message(),
            "Container run is already paused");
  EXPECT_EQ(TryStart("run").code(), absl::StatusCode::kFailedPrecondition);
  life::ResumeRequest resume;
  resume.set_id("run");
  ASSERT_TRUE(Connect().Call(Lifecycle::kResume, resume, &none, kCallTimeout).ok());
  Stop("run");
  EXPECT_EQ(State("run").exit_code(), 5u);
  life::KillRequest kill;
  kill.set_id("run");
  kill.set_signal(9);
  EXPECT_EQ(Connect().Call(Lifecycle::kKill, kill, &none, kCallTimeout).message(),
            "container run is not running");
  // One that does not hear the signal is killed.
  Create("deaf", "trap '' TERM; while :; do sleep 0.05; done");
  Start("deaf");
  Stop("deaf", 1);
  EXPECT_EQ(State("deaf").exit_code(), 137u);
  Start("deaf");
  EXPECT_TRUE(TryRemove("deaf", /*force=*/true).ok());
  EXPECT_TRUE(TryRemove("run").ok());
  EXPECT_THAT(Events("deaf"), ElementsAre("create", "start", "kill 15", "kill 9", "die 137", "stop",
                                          "start", "kill 9", "die 137", "destroy"));
  ExpectInOrder();
}

TEST_F(LifecycleIntegrationTest, AProgramThatCannotStart) {
  auto start = [&](const std::string& id, const std::string& program) {
    auto made = TryCreate(id, "", [&](life::CreateRequest* request) {
      base::Json spec = *base::ParseJson(request->spec());
      spec["process"]["args"] = {program};
      request->set_spec(base::DumpJson(spec));
    });
    EXPECT_TRUE(made.ok()) << made.status();
    return TryStart(id);
  };
  absl::Status missing = start("missing", "no-such-program");
  EXPECT_THAT(missing.message(), HasSubstr("executable file not found in $PATH"));
  EXPECT_EQ(State("missing").exit_code(), 127u);
  EXPECT_THAT(State("missing").error(), HasSubstr("executable file not found"));
  EXPECT_EQ(State("missing").status(), "created");
  absl::Status denied = start("denied", "/etc/passwd");
  EXPECT_THAT(denied.message(), HasSubstr("permission denied"));
  EXPECT_EQ(State("denied").exit_code(), 126u);
  EXPECT_TRUE(TryRemove("missing").ok());
  EXPECT_TRUE(TryRemove("denied").ok());
  ExpectInOrder();
}

TEST_F(LifecycleIntegrationTest, RemovedAtItsEnd) {
  Create("gone", "sleep 0.3; exit 4", [](life::Policy* policy) { policy->set_auto_remove(true); });
  Start("gone");
  EXPECT_EQ(Wait("gone", "removed"), 4);
  EXPECT_EQ(TryState("gone").status().message(), "No such container: gone");
  EXPECT_FALSE(base::Exists(directory("gone")));
  // Also when gantryd was not there at its end.
  Create("late", "sleep 0.5", [](life::Policy* policy) { policy->set_auto_remove(true); });
  Start("late");
  KillGantryd();
  absl::SleepFor(absl::Seconds(1));
  StartGantryd();
  EXPECT_TRUE(Eventually([&] { return absl::IsNotFound(TryState("late").status()); }));
  ExpectInOrder();
}

TEST_F(LifecycleIntegrationTest, RestartPolicies) {
  auto policy = [](const std::string& name, uint32_t retries = 0) {
    return [name, retries](life::Policy* policy) {
      policy->mutable_restart()->set_name(name);
      policy->mutable_restart()->set_maximum_retries(retries);
    };
  };
  Create("twice", "exit 1", policy("on-failure", 2));
  Start("twice");
  ASSERT_TRUE(Becomes("twice", "exited"));
  EXPECT_EQ(State("twice").restart_count(), 2u);
  Create("fine", "exit 0", policy("on-failure"));
  Start("fine");
  ASSERT_TRUE(Becomes("fine", "exited"));
  EXPECT_EQ(State("fine").restart_count(), 0u);
  Create("ever", "sleep 0.1; exit 0", policy("always"));
  Start("ever");
  ASSERT_TRUE(Eventually([&] { return State("ever").restart_count() >= 2; }));
  Stop("ever");
  EXPECT_EQ(State("ever").status(), "exited");
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(State("ever").status(), "exited");
  EXPECT_EQ(TryCreate("bad", "",
                      [&](life::CreateRequest* request) {
                        policy("sometimes")(request->mutable_policy());
                      })
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  for (const char* id : {"twice", "fine", "ever"}) EXPECT_TRUE(TryRemove(id).ok());
  ExpectInOrder();
}

TEST_F(LifecycleIntegrationTest, ContainersOutliveGantryd) {
  Create("stay", "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done");
  Create("die", "sleep 0.5; exit 7");
  Create("again", "sleep 0.5; exit 1",
         [](life::Policy* policy) { policy->mutable_restart()->set_name("unless-stopped"); });
  for (const char* id : {"stay", "die", "again"}) Start(id);
  const uint32_t pid = State("stay").pid();
  const uint32_t other = State("again").pid();
  KillGantryd();
  absl::SleepFor(absl::Seconds(1));
  StartGantryd();
  EXPECT_EQ(State("stay").status(), "running");
  EXPECT_EQ(State("stay").pid(), pid);
  EXPECT_EQ(State("die").status(), "exited");
  EXPECT_EQ(State("die").exit_code(), 7u);
  EXPECT_TRUE(Eventually([&] {
    life::State state = State("again");
    return state.status() == "running" && state.pid() != other;
  }));
  Stop("stay");
  EXPECT_EQ(State("stay").exit_code(), 6u);
  for (const char* id : {"stay", "die", "again"}) EXPECT_TRUE(TryRemove(id, true).ok());
  ExpectInOrder();
}

}  // namespace
}  // namespace gantry::tests
