#include "services/sandbox/sandbox_controller.h"

#include <unistd.h>

#include <climits>
#include <filesystem>
#include <future>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/events/event_hub.h"
#include "services/metadata/sandbox_store.h"
#include "services/metadata/test_db.h"
#include "services/tasks/shim_manager.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::sandbox::v1;

std::string FakeShimBinary() {
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  std::string self(path, static_cast<size_t>(n));
  return self.substr(0, self.rfind('/')) + "/fake_shim";
}

class SandboxControllerTest : public ::testing::Test {
 protected:
  SandboxControllerTest() : dir_(absl::StrCat("/tmp/gantry-sb-", base::RandomHex(6))) {
    std::filesystem::create_directories(dir_ + "/s");
    events_ = *EventHub::Open(db_.get(), {});
    ShimManagerOptions options;
    options.root = dir_ + "/root";
    options.state = dir_ + "/state";
    options.grpc_address = dir_ + "/g.sock";
    options.shim_env = {absl::StrCat("FAKE_SHIM_DIR=", dir_, "/s")};
    shims_ = *ShimManager::Create(options);
    controller_ = SandboxController::Create(shims_.get(), &store_, events_.get());
  }
  ~SandboxControllerTest() override {
    controller_.reset();
    for (const auto& shim : shims_->ListAll()) shims_->Discard(shim);
    shims_.reset();
    std::filesystem::remove_all(dir_);
  }

  template <typename Request, typename Response>
  std::future<absl::StatusOr<Response>> Begin(
      void (SandboxController::*method)(SandboxController::Caller, Request,
                                        SandboxController::Done<Response>),
      Request request) {
    request.set_sandbox_id("sb");
    if (request.sandboxer().empty()) request.set_sandboxer("shim");
    auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
    (controller_.get()->*method)({"ns"}, std::move(request),
                                 [promise](absl::StatusOr<Response> r) { promise->set_value(r); });
    return promise->get_future();
  }
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(
      void (SandboxController::*method)(SandboxController::Caller, Request,
                                        SandboxController::Done<Response>),
      Request request = {}) {
    return Begin(method, std::move(request)).get();
  }
  api::ControllerCreateRequest CreateRequest(const std::string& mode) {
    api::ControllerCreateRequest request;
    request.mutable_sandbox()->set_sandbox_id("sb");
    request.mutable_sandbox()->mutable_runtime()->set_name(FakeShimBinary());
    request.mutable_sandbox()->mutable_spec()->set_value(absl::StrCat("{\"mode\":\"", mode, "\"}"));
    return request;
  }

  const std::string dir_;
  TestDb db_;
  SandboxStore store_{db_.get()};
  std::unique_ptr<EventHub> events_;
  std::unique_ptr<ShimManager> shims_;
  std::unique_ptr<SandboxController> controller_;
};

TEST_F(SandboxControllerTest, LifeOfASandbox) {
  ASSERT_TRUE(Call(&SandboxController::Create, CreateRequest("sandbox")).ok());
  EXPECT_EQ(Call(&SandboxController::Create, CreateRequest("sandbox")).status().code(),
            absl::StatusCode::kAlreadyExists);
  auto started = Call(&SandboxController::Start);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->pid(), 4242u);
  EXPECT_EQ(Call(&SandboxController::Status)->state(), "SANDBOX_READY");
  auto waiting = Begin(&SandboxController::Wait, api::ControllerWaitRequest());
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  ASSERT_TRUE(Call(&SandboxController::Stop).ok());
  EXPECT_EQ(waiting.get()->exit_status(), 137u);
  ASSERT_TRUE(Call(&SandboxController::Shutdown).ok());
  EXPECT_TRUE(Call(&SandboxController::Status)->has_exited_at());
  EXPECT_TRUE(Call(&SandboxController::Stop).ok()) << "stopping what is gone is no error";
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/state/ns/sb"));
  std::vector<std::string> topics;
  auto events = events_->List(0, 10, {});
  ASSERT_TRUE(events.ok());
  for (const NumberedEvent& event : *events) {
    topics.push_back(event.envelope.topic());
  }
  EXPECT_THAT(topics,
              ::testing::ElementsAre("/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"));
}

TEST_F(SandboxControllerTest, AShimWithoutTheApiIsSaidToHaveNone) {
  EXPECT_EQ(Call(&SandboxController::Create, CreateRequest("")).status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/state/ns/sb"));
  api::ControllerStartRequest other;
  other.set_sandboxer("podsandbox");
  EXPECT_EQ(Call(&SandboxController::Start, other).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Call(&SandboxController::Start).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gantry::services
