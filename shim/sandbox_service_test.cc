#include "shim/sandbox_service.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

class FakeCall final : public base::ttrpc::Call {
 public:
  FakeCall(std::string method, std::string payload)
      : method_(std::move(method)), payload_(std::move(payload)) {}
  absl::string_view service() const override { return "containerd.runtime.sandbox.v1.Sandbox"; }
  absl::string_view method() const override { return method_; }
  absl::string_view payload() const override { return payload_; }
  absl::string_view metadata(absl::string_view) const override { return {}; }
  void Reply(std::string payload) override {
    answered = true;
    answer = std::move(payload);
  }
  void Fail(const absl::Status& s) override {
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

class SandboxServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-sandbox-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  void Config(const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/config.json", text).ok());
  }
  template <typename Request>
  static Request Pod() {
    Request request;
    request.set_sandbox_id("pod");
    return request;
  }
  std::shared_ptr<FakeCall> Send(const std::string& method,
                                 const google::protobuf::MessageLite& request) {
    auto call = std::make_shared<FakeCall>(method, request.SerializeAsString());
    service_.Handle(call);
    return call;
  }
  std::shared_ptr<FakeCall> Create() {
    auto request = Pod<sandbox_api::CreateSandboxRequest>();
    request.set_bundle_path(dir_);
    return Send("CreateSandbox", request);
  }
  void Reap(pid_t pid) {
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
    EXPECT_TRUE(service_.OnChildExit(pid, status, absl::Now()));
  }

  std::string dir_;
  base::EventLoop loop_;
  size_t containers_ = 0;
  bool shutdown_ = false;
  SandboxService service_{&loop_, [this] { return containers_; },
                          [this] {
                            shutdown_ = true;
                            loop_.Stop();
                          }};
};

TEST_F(SandboxServiceTest, ThePlanIsWhatTheConfigurationAsksFor) {
  constexpr int kAll = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID;
  auto plan = PlanSandbox(dir_, "");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->new_namespaces, kAll);
  plan = PlanSandbox(dir_, "/proc/self/ns/net");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->new_namespaces, kAll & ~CLONE_NEWNET);
  EXPECT_EQ(plan->joins.size(), 1u);
  Config(R"({"hostname":"h","linux":{"namespaces":[{"type":"uts"},{"type":"mount"},
             {"type":"ipc","path":"/proc/self/ns/ipc"}],"sysctl":{"kernel.shm_rmid_forced":"1"}}})");
  plan = PlanSandbox(dir_, "");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->new_namespaces, CLONE_NEWUTS);
  EXPECT_EQ(plan->joins.size(), 1u);
  EXPECT_EQ(plan->hostname, "h");
  EXPECT_EQ(plan->sysctls[0].first, "/proc/sys/kernel/shm_rmid_forced");

  struct Case {
    const char* config;
    absl::StatusCode code;
  };
  for (const Case& test :
       {Case{R"({"linux":{"namespaces":[{"type":"user"}]}})", absl::StatusCode::kUnimplemented},
        Case{R"({"linux":{"namespaces":[{"type":"pid","path":"/proc/self/ns/pid"}]}})",
             absl::StatusCode::kUnimplemented},
        Case{R"({"linux":{"namespaces":[{"type":"ipc"}],"sysctl":{"net.x":"1"}}})",
             absl::StatusCode::kInvalidArgument},
        Case{R"({"linux":{"sysctl":{"kernel.hostname":"x"}}})", absl::StatusCode::kInvalidArgument},
        Case{R"({"linux":{"sysctl":{"net...":"x"}}})", absl::StatusCode::kInvalidArgument},
        Case{R"({"linux":{"namespaces":[{"type":"network","path":"/no/such"}]}})",
             absl::StatusCode::kNotFound},
        Case{"{", absl::StatusCode::kInvalidArgument}}) {
    Config(test.config);
    EXPECT_EQ(PlanSandbox(dir_, "").status().code(), test.code) << test.config;
  }
}

TEST_F(SandboxServiceTest, LifeOfASandbox) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Config(R"({"hostname":"the-pod","linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}})");
  EXPECT_EQ(Send("PingSandbox", Pod<sandbox_api::PingRequest>())->status.code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(Create()->status.ok());
  EXPECT_EQ(Create()->status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(service_.present());
  auto early = Send("WaitSandbox", Pod<sandbox_api::WaitSandboxRequest>());
  auto start = Send("StartSandbox", Pod<sandbox_api::StartSandboxRequest>());
  ASSERT_TRUE(start->status.ok()) << start->status;
  sandbox_api::StartSandboxResponse started;
  ASSERT_TRUE(started.ParseFromString(start->answer));
  pid_t pid = static_cast<pid_t>(started.pid());
  EXPECT_EQ(Send("StartSandbox", Pod<sandbox_api::StartSandboxRequest>())->status.code(),
            absl::StatusCode::kFailedPrecondition);
  // Nobody, with no capabilities, no files and no view of the host's.
  auto status = base::ReadFile(absl::StrCat("/proc/", pid, "/status"));
  ASSERT_TRUE(status.ok());
  EXPECT_NE(status->find("Uid:\t65534\t65534\t65534\t65534"), std::string::npos);
  EXPECT_NE(status->find("CapPrm:\t0000000000000000"), std::string::npos);
  EXPECT_NE(status->find("NoNewPrivs:\t1"), std::string::npos);
  for (int i = 0; i < 100 && !base::ListDir(absl::StrCat("/proc/", pid, "/fd"))->empty(); ++i)
    usleep(1000);
  EXPECT_TRUE(base::ListDir(absl::StrCat("/proc/", pid, "/fd"))->empty());
  EXPECT_TRUE(std::filesystem::is_empty(absl::StrCat("/proc/", pid, "/root")));
  EXPECT_FALSE(early->answered);

  containers_ = 2;
  EXPECT_EQ(Send("ShutdownSandbox", Pod<sandbox_api::ShutdownSandboxRequest>())->status.code(),
            absl::StatusCode::kFailedPrecondition);
  containers_ = 0;
  auto stop = Send("StopSandbox", Pod<sandbox_api::StopSandboxRequest>());
  EXPECT_FALSE(stop->answered);
  Reap(pid);
  EXPECT_TRUE(stop->answered);
  ASSERT_TRUE(early->answered);
  sandbox_api::WaitSandboxResponse waited;
  ASSERT_TRUE(waited.ParseFromString(early->answer));
  EXPECT_EQ(waited.exit_status(), 0u);
  sandbox_api::SandboxStatusResponse state;
  state.ParseFromString(Send("SandboxStatus", Pod<sandbox_api::SandboxStatusRequest>())->answer);
  EXPECT_EQ(state.state(), "SANDBOX_NOTREADY");
  EXPECT_TRUE(state.has_exited_at());
  EXPECT_TRUE(Send("ShutdownSandbox", Pod<sandbox_api::ShutdownSandboxRequest>())->status.ok());
  EXPECT_FALSE(service_.present());
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_TRUE(shutdown_);
}

// A sandbox must not outlive its shim: nothing else would know of it.
TEST_F(SandboxServiceTest, ThePauseProcessEndsWithItsMaker) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  base::Pipe pipe = *base::MakePipe();
  pid_t maker = fork();
  if (maker == 0) {
    auto pause = StartPause({.new_namespaces = CLONE_NEWPID});
    int pid = pause.ok() ? pause->pid : -1;
    if (write(pipe.write.get(), &pid, sizeof pid) != sizeof pid) _exit(1);
    ::pause();
  }
  int pid = -1;
  ASSERT_EQ(read(pipe.read.get(), &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  ASSERT_GT(pid, 0);
  EXPECT_EQ(kill(pid, 0), 0);
  kill(maker, SIGKILL);
  waitpid(maker, nullptr, 0);
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    usleep(10'000);
    auto stat = base::ReadFile(absl::StrCat("/proc/", pid, "/stat"));
    gone = !stat.ok() || stat->find(") Z ") != std::string::npos;
  }
  EXPECT_TRUE(gone);
}

TEST_F(SandboxServiceTest, AFailedStartNamesTheStep) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Config(R"({"linux":{"sysctl":{"net.no_such_knob":"1"}}})");
  ASSERT_TRUE(Create()->status.ok());
  auto start = Send("StartSandbox", Pod<sandbox_api::StartSandboxRequest>());
  EXPECT_EQ(start->status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(start->status.message().find("set a sysctl"), std::string::npos);
}

}  // namespace
}  // namespace gantry::shim
