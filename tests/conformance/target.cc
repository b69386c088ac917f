#include "tests/conformance/target.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/process.h"
#include "containerd/services/version/v1/version.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace gantry::tests {
namespace {

std::string Env(const char* name) {
  const char* value = getenv(name);
  return value != nullptr ? value : "";
}

// The daemon of this process: found or started when the first test asks for it, ended after the
// last.
class Target : public ::testing::Environment {
 public:
  static Target* Get() {
    static Target* target = static_cast<Target*>(::testing::AddGlobalTestEnvironment(new Target()));
    return target;
  }

  // Why there is none; empty when there is.
  const std::string& Require() {
    if (tried_) return problem_;
    tried_ = true;
    address_ = Env("GANTRY_CONFORMANCE_ADDRESS");
    if (address_.empty()) problem_ = StartDaemon();
    if (problem_.empty()) problem_ = Connect();
    return problem_;
  }

  void TearDown() override {
    channel_.reset();
    if (daemon_.has_value()) StopDaemon();
    if (dir_.empty()) return;
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::string version_;
  bool is_gantryd_ = false;

 private:
  std::string StartDaemon() {
    std::string program = Env("GANTRY_CONFORMANCE_DAEMON");
    if (program.empty()) program = Env("GANTRY_BIN_DIR") + "/gantryd";
    is_gantryd_ = absl::EndsWith(program, "/gantryd");
    if (!base::Exists(program)) {
      return absl::StrCat(program, " does not exist and GANTRY_CONFORMANCE_ADDRESS is not set");
    }
    dir_ = absl::StrCat("/tmp/gantry-conformance-", getpid(), "-", base::RandomHex(4));
    address_ = dir_ + "/sock";
    // containerd's CRI plugin would look for networks of the host.
    const absl::string_view config =
        "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    absl::Status made = base::MakeDirs(dir_);
    if (made.ok()) made = base::ReplaceFile(dir_ + "/config.toml", config);
    auto log = base::Open(dir_ + "/log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (!made.ok() || !log.ok()) return absl::StrCat("cannot write below ", dir_);
    auto process = base::Process::Spawn(
        {.argv = {program, "--config", dir_ + "/config.toml", "--root", dir_ + "/root", "--state",
                  dir_ + "/state", "--address", address_},
         .fds = {{1, log->get()}, {2, log->get()}}});
    if (!process.ok()) return process.status().ToString();
    daemon_ = *std::move(process);
    return "";
  }

  std::string Connect() {
    grpc::Status status;
    for (int i = 0; i < 300; ++i) {
      if (!daemon_.has_value() || base::Exists(address_)) status = TryConnect();
      if (channel_ != nullptr) return "";
      if (daemon_.has_value() && daemon_->Wait(absl::Milliseconds(100)).ok()) {
        daemon_.reset();
        break;
      }
    }
    auto log = base::ReadFile(dir_ + "/log");
    return absl::StrCat("no answer at ", address_, ": ", status.error_message(), "\n",
                        log.ok() ? *log : "");
  }

  grpc::Status TryConnect() {
    // A channel that failed once would wait before it tries again.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto channel = grpc::CreateCustomChannel("unix://" + address_,
                                             grpc::InsecureChannelCredentials(), arguments);
    auto stub = containerd::services::version::v1::Version::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    containerd::services::version::v1::VersionResponse response;
    grpc::Status status = stub->Version(&context, google::protobuf::Empty(), &response);
    if (!status.ok()) return status;
    version_ = response.version();
    channel_ = std::move(channel);
    return status;
  }

  void StopDaemon() {
    daemon_->Signal(SIGTERM).IgnoreError();
    if (daemon_->Wait(absl::Seconds(20)).ok()) return;
    ADD_FAILURE() << "the daemon does not stop on SIGTERM";
    daemon_->Signal(SIGKILL).IgnoreError();
    daemon_->Wait().IgnoreError();
  }

  bool tried_ = false;
  std::string problem_;
  std::string dir_;
  std::optional<base::Process> daemon_;
};

// Environments must be known before the tests begin.
[[maybe_unused]] const Target* const kRegistered = Target::Get();

}  // namespace

void ConformanceTest::SetUp() {
  const std::string& problem = Target::Get()->Require();
  // A daemon that was asked for and does not answer is a failure; none at all is not.
  if (!problem.empty() && absl::StrContains(problem, "does not exist")) GTEST_SKIP() << problem;
  ASSERT_EQ(problem, "");
  ns_ = absl::StrCat("conf-", getpid(), "-", base::RandomHex(4));
}

std::shared_ptr<grpc::Channel> ConformanceTest::channel() const { return Target::Get()->channel_; }

std::string ConformanceTest::address() const { return Target::Get()->address_; }

int ConformanceTest::containerd_major() const {
  const Target& target = *Target::Get();
  if (target.is_gantryd_) return 0;
  return absl::StartsWith(target.version_, "1.") ? 1 : 2;
}

std::unique_ptr<grpc::ClientContext> ConformanceTest::Call(absl::string_view lease) const {
  return CallIn(ns_, lease);
}

std::unique_ptr<grpc::ClientContext> ConformanceTest::CallIn(absl::string_view ns,
                                                             absl::string_view lease) const {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  if (!ns.empty()) context->AddMetadata("containerd-namespace", std::string(ns));
  if (!lease.empty()) context->AddMetadata("containerd-lease", std::string(lease));
  return context;
}

std::string ConformanceTest::Text(const grpc::Status& status) {
  if (status.ok()) return "OK";
  return absl::StrCat(absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code())),
                      ": ", status.error_message());
}

}  // namespace gantry::tests
