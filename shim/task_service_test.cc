#include "shim/task_service.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "containerd/events/task.pb.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "containerd/types/runc/options/oci.pb.h"
#include "gtest/gtest.h"
#include "io/containerd/cgroups/v1.pb.h"

namespace gantry::shim {
namespace {

// A call that a test makes; the answer is read from it.
class FakeCall final : public base::ttrpc::Call {
 public:
  FakeCall(std::string method, std::string payload)
      : method_(std::move(method)), payload_(std::move(payload)) {}
  absl::string_view service() const override { return "containerd.task.v2.Task"; }
  absl::string_view method() const override { return method_; }
  absl::string_view payload() const override { return payload_; }
  absl::string_view metadata(absl::string_view) const override { return {}; }
  void Reply(std::string payload) override {
    EXPECT_FALSE(answered);
    answered = true;
    answer = std::move(payload);
  }
  void Fail(const absl::Status& s) override {
    EXPECT_FALSE(answered);
    answered = true;
    status = s;
  }
  bool finished() const override { return answered; }

  bool answered = false;
  absl::Status status;
  std::string answer;

 private:
  std::string method_, payload_;
};

class TaskServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-task-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    signals_.Reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    ASSERT_TRUE(loop_.Add(signals_.get(), EPOLLIN, [this](uint32_t) { Reap(); }).ok());
    StartSupervisor();
    events_ = std::make_unique<EventPublisher>(&loop_, dir_ + "/events", "ns");
    service_ =
        std::make_unique<TaskService>(&loop_, events_.get(), "ns", [this] { shutdown_ = true; });
  }
  void TearDown() override {
    service_.reset();
    events_.reset();
    server_.reset();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  void Reap() {
    signalfd_siginfo info;
    while (read(signals_.get(), &info, sizeof info) > 0) {
    }
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      service_->OnChildExit(pid, status, absl::Now());
  }
  void StartSupervisor() {
    server_ = std::make_unique<base::ttrpc::Server>(&loop_);
    server_->Register("containerd.services.events.ttrpc.v1.Events",
                      [this](std::shared_ptr<base::ttrpc::Call> call) {
                        containerd::services::events::ttrpc::v1::ForwardRequest request;
                        ASSERT_TRUE(request.ParseFromString(std::string(call->payload())));
                        std::string text = request.envelope().topic();
                        if (text == "/tasks/exit") {
                          containerd::events::TaskExit exit;
                          exit.ParseFromString(request.envelope().event().value());
                          absl::StrAppend(&text, " ", exit.id(), " ", exit.exit_status());
                        }
                        seen_.push_back(text);
                        call->Reply("");
                      });
    base::UniqueFd listener;
    ASSERT_TRUE(base::ttrpc::ListenUnix(dir_ + "/events", &listener).ok());
    ASSERT_TRUE(server_->Listen(std::move(listener)).ok());
  }

  // Runs the loop until `condition` or 10 seconds have passed.
  template <typename Condition>
  void RunUntil(Condition condition) {
    absl::Time limit = absl::Now() + absl::Seconds(10);
    std::function<void()> look = [&] {
      if (condition()) return loop_.Stop();
      if (absl::Now() > limit) {
        ADD_FAILURE() << "timed out";
        return loop_.Stop();
      }
      loop_.After(absl::Milliseconds(2), look);
    };
    look();
    ASSERT_TRUE(loop_.Run().ok());
  }

  std::shared_ptr<FakeCall> Send(const std::string& method,
                                 const google::protobuf::MessageLite& request) {
    auto call = std::make_shared<FakeCall>(method, request.SerializeAsString());
    service_->Handle(call);
    return call;
  }
  absl::Status Do(const std::string& method, const google::protobuf::MessageLite& request,
                  google::protobuf::MessageLite* response = nullptr) {
    auto call = Send(method, request);
    RunUntil([&] { return call->answered; });
    if (response && call->status.ok()) response->ParseFromString(call->answer);
    return call->status;
  }

  std::string Bundle(const std::string& id, const std::string& script, bool shared = false) {
    std::string bundle = dir_ + "/" + id;
    EXPECT_TRUE(base::MakeDirs(bundle).ok());
    base::Json spec = {{"process", {{"args", {"/bin/sh", "-c", script}}}}};
    if (shared) spec["pid"] = "shared";
    EXPECT_TRUE(base::WriteFile(bundle + "/config.json", base::DumpJson(spec)).ok());
    return bundle;
  }
  absl::Status Create(const std::string& id, const std::string& script, bool shared = false) {
    task_api::CreateTaskRequest request;
    request.set_id(id);
    request.set_bundle(Bundle(id, script, shared));
    request.set_stdout("file://" + dir_ + "/" + id + ".out");
    task_api::CreateTaskResponse response;
    absl::Status status = Do("Create", request, &response);
    EXPECT_EQ(status.ok(), response.pid() > 0);
    return status;
  }
  template <typename Request>
  static Request Ids(const std::string& id, const std::string& exec_id = "") {
    Request request;
    request.set_id(id);
    if constexpr (requires { request.set_exec_id(exec_id); }) request.set_exec_id(exec_id);
    return request;
  }
  absl::Status Start(const std::string& id, const std::string& exec = "") {
    return Do("Start", Ids<task_api::StartRequest>(id, exec));
  }
  absl::Status Exec(const std::string& id, const std::string& exec, const std::string& script) {
    auto request = Ids<task_api::ExecProcessRequest>(id, exec);
    request.mutable_spec()->set_value(base::DumpJson({{"args", {"/bin/sh", "-c", script}}}));
    return Do("Exec", request);
  }
  absl::Status Kill(const std::string& id, int signal, const std::string& exec = "") {
    auto request = Ids<task_api::KillRequest>(id, exec);
    request.set_signal(signal);
    return Do("Kill", request);
  }
  task_api::StateResponse State(const std::string& id, const std::string& exec = "") {
    task_api::StateResponse response;
    EXPECT_TRUE(Do("State", Ids<task_api::StateRequest>(id, exec), &response).ok());
    return response;
  }
  int Wait(const std::string& id, const std::string& exec = "") {
    task_api::WaitResponse response;
    EXPECT_TRUE(Do("Wait", Ids<task_api::WaitRequest>(id, exec), &response).ok());
    EXPECT_GT(response.exited_at().seconds(), 1'500'000'000);
    return static_cast<int>(response.exit_status());
  }
  absl::Status Delete(const std::string& id, const std::string& exec = "") {
    return Do("Delete", Ids<task_api::DeleteRequest>(id, exec));
  }

  std::string dir_;
  base::EventLoop loop_;
  base::UniqueFd signals_;
  std::unique_ptr<base::ttrpc::Server> server_;
  std::unique_ptr<EventPublisher> events_;
  std::unique_ptr<TaskService> service_;
  std::vector<std::string> seen_;
  bool shutdown_ = false;
};

namespace types = containerd::v1::types;

TEST_F(TaskServiceTest, LifeOfATask) {
  ASSERT_TRUE(Create("c1", "echo hello; exit 3").ok());
  EXPECT_EQ(State("c1").status(), types::CREATED);
  auto early = Send("Wait", Ids<task_api::WaitRequest>("c1"));
  EXPECT_FALSE(early->answered);
  ASSERT_TRUE(Start("c1").ok());
  EXPECT_EQ(Wait("c1"), 3);
  EXPECT_TRUE(early->answered);
  auto state = State("c1");
  EXPECT_EQ(state.status(), types::STOPPED);
  EXPECT_EQ(state.exit_status(), 3u);
  EXPECT_EQ(Start("c1").code(), absl::StatusCode::kFailedPrecondition);
  absl::Status killed = Kill("c1", SIGTERM);
  EXPECT_EQ(killed.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(killed.message().substr(0, 24), "process already finished");
  ASSERT_TRUE(Delete("c1").ok());
  EXPECT_EQ(*base::ReadFile(dir_ + "/c1.out"), "hello\n");
  EXPECT_EQ(Delete("c1").code(), absl::StatusCode::kNotFound);
  RunUntil([&] { return seen_.size() == 4; });
  EXPECT_EQ(seen_, (std::vector<std::string>{"/tasks/create", "/tasks/start", "/tasks/exit c1 3",
                                             "/tasks/delete"}));
}

TEST_F(TaskServiceTest, SignalsBecome128Plus) {
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  ASSERT_TRUE(Start("c1").ok());
  EXPECT_EQ(Delete("c1").message(), "cannot delete a running process");
  ASSERT_TRUE(Kill("c1", SIGKILL).ok());
  EXPECT_EQ(Wait("c1"), 137);
  EXPECT_EQ(Kill("c1", 1000).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Delete("c1").ok());
}

TEST_F(TaskServiceTest, ACreatedTaskCanBeDeleted) {
  ASSERT_TRUE(Create("c1", "echo never").ok());
  auto waiter = Send("Wait", Ids<task_api::WaitRequest>("c1"));
  ASSERT_TRUE(Delete("c1").ok());
  EXPECT_TRUE(waiter->answered);
  EXPECT_EQ(*base::ReadFile(dir_ + "/c1.out"), "");
  // The id is free again.
  EXPECT_TRUE(Create("c1", "true").ok());
  EXPECT_TRUE(Delete("c1").ok());
}

TEST_F(TaskServiceTest, ExecsLiveBesideAndTheirExitsComeFirst) {
  // The sleeps are in a shared pid namespace: the shim has to end them.
  ASSERT_TRUE(Create("c1", "sleep 0.3; exit 5", /*shared=*/true).ok());
  ASSERT_TRUE(Start("c1").ok());
  ASSERT_TRUE(Exec("c1", "e1", "exec sleep 100").ok());
  EXPECT_EQ(Exec("c1", "e1", "true").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(State("c1", "e1").status(), types::CREATED);
  ASSERT_TRUE(Start("c1", "e1").ok());
  EXPECT_EQ(State("c1", "e1").status(), types::RUNNING);
  ASSERT_TRUE(Exec("c1", "e2", "exit 9").ok());
  ASSERT_TRUE(Start("c1", "e2").ok());
  EXPECT_EQ(Wait("c1", "e2"), 9);
  task_api::DeleteResponse deleted;
  ASSERT_TRUE(Do("Delete", Ids<task_api::DeleteRequest>("c1", "e2"), &deleted).ok());
  EXPECT_EQ(deleted.exit_status(), 9u);
  EXPECT_EQ(Wait("c1"), 5);
  EXPECT_EQ(Wait("c1", "e1"), 137);
  EXPECT_EQ(Exec("c1", "e3", "true").code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Delete("c1").ok());
  RunUntil([&] { return !seen_.empty() && seen_.back() == "/tasks/delete"; });
  EXPECT_EQ(seen_, (std::vector<std::string>{
                       "/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started",
                       "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit e2 9",
                       "/tasks/exit e1 137", "/tasks/exit c1 5", "/tasks/delete"}));
}

TEST_F(TaskServiceTest, AnExecThatCannotStartIsOnlyDeletable) {
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  ASSERT_TRUE(Start("c1").ok());
  auto request = Ids<task_api::ExecProcessRequest>("c1", "bad");
  request.mutable_spec()->set_value("{\"args\":[\"/no/such\"]}");
  ASSERT_TRUE(Do("Exec", request).ok());
  absl::Status started = Start("c1", "bad");
  EXPECT_EQ(started.code(), absl::StatusCode::kUnknown);
  EXPECT_NE(started.message().find("OCI runtime exec failed"), std::string::npos);
  EXPECT_NE(started.message().find("executable file not found"), std::string::npos);
  EXPECT_EQ(Wait("c1", "bad"), 127);
  EXPECT_TRUE(Delete("c1", "bad").ok());
  request.set_exec_id("json");
  request.mutable_spec()->set_value("{");
  EXPECT_EQ(Do("Exec", request).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(Kill("c1", SIGKILL).ok());
  EXPECT_EQ(Wait("c1"), 137);
  EXPECT_TRUE(Delete("c1").ok());
}

TEST_F(TaskServiceTest, PauseAndResume) {
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  EXPECT_FALSE(Do("Pause", Ids<task_api::PauseRequest>("c1")).ok());
  ASSERT_TRUE(Start("c1").ok());
  EXPECT_EQ(Do("Resume", Ids<task_api::ResumeRequest>("c1")).code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Do("Pause", Ids<task_api::PauseRequest>("c1")).ok());
  EXPECT_EQ(State("c1").status(), types::PAUSED);
  EXPECT_EQ(Exec("c1", "e", "true").message(), "cannot exec in a paused state");
  ASSERT_TRUE(Do("Resume", Ids<task_api::ResumeRequest>("c1")).ok());
  EXPECT_EQ(State("c1").status(), types::RUNNING);
  ASSERT_TRUE(Kill("c1", SIGKILL).ok());
  EXPECT_EQ(Wait("c1"), 137);
  EXPECT_TRUE(Delete("c1").ok());
}

TEST_F(TaskServiceTest, UnknownThingsHaveTheCodesThatClientsMatchOn) {
  EXPECT_EQ(Do("State", Ids<task_api::StateRequest>("none")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Do("Wait", Ids<task_api::WaitRequest>("none")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Do("Nothing", Ids<task_api::WaitRequest>("none")).code(),
            absl::StatusCode::kUnimplemented);
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  EXPECT_EQ(Create("c1", "true").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Start("c1", "none").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Kill("c1", 9, "none").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Do("Checkpoint", Ids<task_api::CheckpointTaskRequest>("c1")).code(),
            absl::StatusCode::kUnimplemented);
  auto broken = std::make_shared<FakeCall>("State", "\xff\xff");
  service_->Handle(broken);
  EXPECT_EQ(broken->status.code(), absl::StatusCode::kInvalidArgument);
  task_api::ConnectResponse connected;
  ASSERT_TRUE(Do("Connect", Ids<task_api::ConnectRequest>("none"), &connected).ok());
  EXPECT_EQ(connected.shim_pid(), static_cast<uint32_t>(getpid()));
  EXPECT_EQ(connected.task_pid(), 0u);
  EXPECT_TRUE(Delete("c1").ok());
}

TEST_F(TaskServiceTest, CreateFailuresAreRuntimeErrorsAndLeaveNothing) {
  task_api::CreateTaskRequest request;
  request.set_id("c1");
  request.set_bundle(dir_ + "/c1");
  EXPECT_FALSE(Do("Create", request).ok());  // no bundle
  Bundle("c1", "true");
  ASSERT_TRUE(
      base::WriteFile(dir_ + "/c1/config.json", R"({"process":{"args":["/no/such"]}})").ok());
  absl::Status missing = Do("Create", request);
  EXPECT_EQ(missing.code(), absl::StatusCode::kUnknown);
  EXPECT_NE(missing.message().find("OCI runtime create failed"), std::string::npos);
  Bundle("c1", "true");
  request.mutable_options()->set_type_url("some.Options");
  EXPECT_EQ(Do("Create", request).code(), absl::StatusCode::kInvalidArgument);
  containerd::runc::v1::Options runc;
  runc.set_no_pivot_root(true);
  request.mutable_options()->set_type_url("containerd.runc.v1.Options");
  request.mutable_options()->set_value(runc.SerializeAsString());
  request.set_checkpoint("/somewhere");
  EXPECT_EQ(Do("Create", request).code(), absl::StatusCode::kUnimplemented);
  request.clear_checkpoint();
  EXPECT_TRUE(Do("Create", request).ok());
  EXPECT_EQ(service_->containers(), 1u);
  EXPECT_TRUE(Delete("c1").ok());
  EXPECT_EQ(service_->containers(), 0u);
}

TEST_F(TaskServiceTest, AHungLoggingProgramHoldsUpNobody) {
  std::string logger = dir_ + "/logger", gate = dir_ + "/gate";
  ASSERT_TRUE(base::WriteFile(
                  logger,
                  absl::StrCat("#!/bin/sh\nwhile ! [ -e ", gate,
                               " ]; do sleep 0.05; done\nexec 5>&-\ncat <&3 >", dir_, "/c1.out\n"),
                  0755)
                  .ok());
  task_api::CreateTaskRequest request;
  request.set_id("c1");
  request.set_bundle(Bundle("c1", "echo logged"));
  request.set_stdout("binary://" + logger);
  auto creating = Send("Create", request);
  EXPECT_EQ(Do("Create", request).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Do("State", Ids<task_api::StateRequest>("c1")).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Create("c2", "sleep 100").ok());
  ASSERT_TRUE(Start("c2").ok());
  auto exec = Ids<task_api::ExecProcessRequest>("c2", "e");
  exec.mutable_spec()->set_value(base::DumpJson({{"args", {"/bin/true"}}}));
  exec.set_stdout("binary://" + logger);
  ASSERT_TRUE(Do("Exec", exec).ok());
  auto starting = Send("Start", Ids<task_api::StartRequest>("c2", "e"));
  EXPECT_EQ(Start("c2", "e").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Delete("c2", "e").code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Kill("c2", SIGKILL).ok());
  EXPECT_EQ(Wait("c2"), 137);
  ASSERT_TRUE(Delete("c2").ok());
  EXPECT_FALSE(creating->answered);
  ASSERT_TRUE(base::WriteFile(gate, "").ok());
  RunUntil([&] { return creating->answered && starting->answered; });
  EXPECT_EQ(starting->status.code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(creating->status.ok()) << creating->status;
  ASSERT_TRUE(Start("c1").ok());
  EXPECT_EQ(Wait("c1"), 0);
  ASSERT_TRUE(Delete("c1").ok());
  EXPECT_EQ(*base::ReadFile(dir_ + "/c1.out"), "logged\n");
}

TEST_F(TaskServiceTest, ShutdownWhileATaskIsMade) {
  std::string logger = dir_ + "/logger";
  ASSERT_TRUE(base::WriteFile(logger, "#!/bin/sh\nsleep 0.2\n", 0755).ok());
  task_api::CreateTaskRequest request;
  request.set_id("c1");
  request.set_bundle(Bundle("c1", "sleep 100"));
  request.set_stdout("binary://" + logger);
  auto creating = Send("Create", request);
  EXPECT_TRUE(Do("Shutdown", Ids<task_api::ShutdownRequest>("c1")).ok());
  EXPECT_FALSE(shutdown_);
  RunUntil([&] { return shutdown_; });
  EXPECT_EQ(creating->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(service_->containers(), 0u);
}

TEST_F(TaskServiceTest, DeleteWaitsForOutputButNotForEver) {
  ASSERT_TRUE(Create("c1", "sleep 5 & echo out").ok());
  ASSERT_TRUE(Start("c1").ok());
  EXPECT_EQ(Wait("c1"), 0);
  absl::Time before = absl::Now();
  ASSERT_TRUE(Delete("c1").ok());
  absl::Duration took = absl::Now() - before;
  EXPECT_GE(took, absl::Seconds(1.9));
  EXPECT_LT(took, absl::Seconds(5));
  EXPECT_EQ(*base::ReadFile(dir_ + "/c1.out"), "out\n");
}

TEST_F(TaskServiceTest, ShutdownOnlyWhenEmpty) {
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  EXPECT_TRUE(Do("Shutdown", Ids<task_api::ShutdownRequest>("c1")).ok());
  EXPECT_FALSE(shutdown_);
  ASSERT_TRUE(Delete("c1").ok());
  EXPECT_TRUE(Do("Shutdown", Ids<task_api::ShutdownRequest>("c1")).ok());
  RunUntil([&] { return shutdown_; });
}

TEST_F(TaskServiceTest, StatsAndPids) {
  ASSERT_TRUE(Create("c1", "sleep 100").ok());
  ASSERT_TRUE(Start("c1").ok());
  ASSERT_TRUE(Exec("c1", "e1", "exec sleep 100").ok());
  ASSERT_TRUE(Start("c1", "e1").ok());
  task_api::StatsResponse stats;
  ASSERT_TRUE(Do("Stats", Ids<task_api::StatsRequest>("c1"), &stats).ok());
  EXPECT_EQ(stats.stats().type_url(), "io.containerd.cgroups.v1.Metrics");
  io::containerd::cgroups::v1::Metrics metrics;
  ASSERT_TRUE(metrics.ParseFromString(stats.stats().value()));
  EXPECT_EQ(metrics.pids().current(), 2u);
  EXPECT_EQ(metrics.memory().pg_pg_in(), 7u);
  EXPECT_EQ(metrics.memory().total_rss(), 8u);
  task_api::PidsResponse pids;
  ASSERT_TRUE(Do("Pids", Ids<task_api::PidsRequest>("c1"), &pids).ok());
  ASSERT_EQ(pids.processes_size(), 2);
  int execs = 0;
  for (const auto& process : pids.processes()) {
    if (!process.has_info()) continue;
    containerd::runc::v1::ProcessDetails details;
    EXPECT_EQ(process.info().type_url(), "containerd.runc.v1.ProcessDetails");
    ASSERT_TRUE(details.ParseFromString(process.info().value()));
    EXPECT_EQ(details.exec_id(), "e1");
    ++execs;
  }
  EXPECT_EQ(execs, 1);
  auto kill_all = Ids<task_api::KillRequest>("c1");
  kill_all.set_signal(SIGKILL);
  kill_all.set_all(true);
  ASSERT_TRUE(Do("Kill", kill_all).ok());
  EXPECT_EQ(Wait("c1"), 137);
  EXPECT_EQ(Wait("c1", "e1"), 137);
  EXPECT_TRUE(Delete("c1").ok());
}

}  // namespace
}  // namespace gantry::shim
