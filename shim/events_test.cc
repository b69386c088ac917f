#include "shim/events.h"

#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/server.h"
#include "containerd/events/task.pb.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

constexpr char kService[] = "containerd.services.events.ttrpc.v1.Events";

// A supervisor that takes events, on the same loop.
class EventsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-events-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    path_ = dir_ + "/s.ttrpc";
    loop_.After(absl::Seconds(20), [this] {
      ADD_FAILURE() << "timed out";
      loop_.Stop();
    });
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void StartSupervisor() {
    server_ = std::make_unique<base::ttrpc::Server>(&loop_);
    server_->Register(kService, [this](std::shared_ptr<base::ttrpc::Call> call) { Take(call); });
    base::UniqueFd listener;
    ASSERT_TRUE(base::ttrpc::ListenUnix(path_, &listener).ok());
    ASSERT_TRUE(server_->Listen(std::move(listener)).ok());
  }
  void Take(const std::shared_ptr<base::ttrpc::Call>& call) {
    EXPECT_EQ(call->method(), "Forward");
    EXPECT_EQ(call->metadata("containerd-namespace-ttrpc"), "ns1");
    containerd::services::events::ttrpc::v1::ForwardRequest request;
    ASSERT_TRUE(request.ParseFromString(std::string(call->payload())));
    EXPECT_EQ(request.envelope().namespace_(), "ns1");
    EXPECT_EQ(request.envelope().event().type_url(), "containerd.events.TaskExit");
    EXPECT_GT(request.envelope().timestamp().seconds(), 1'500'000'000);
    containerd::events::TaskExit event;
    ASSERT_TRUE(event.ParseFromString(request.envelope().event().value()));
    if (refuse_ > 0) {
      --refuse_;
      return call->Fail(absl::InternalError("not now"));
    }
    got_.push_back(event.container_id());
    call->Reply("");
    if (got_.size() == want_) loop_.Stop();
  }
  static containerd::events::TaskExit Event(int number) {
    containerd::events::TaskExit event;
    event.set_container_id(absl::StrCat(number));
    return event;
  }
  void ExpectInOrder() {
    for (size_t i = 0; i < got_.size(); ++i) EXPECT_EQ(got_[i], absl::StrCat(i));
  }

  std::string dir_, path_;
  base::EventLoop loop_;
  std::unique_ptr<base::ttrpc::Server> server_;
  std::vector<std::string> got_;
  size_t want_ = 0;
  int refuse_ = 0;
};

TEST_F(EventsTest, ArriveInOrder) {
  StartSupervisor();
  EventPublisher publisher(&loop_, path_, "ns1");
  want_ = 200;
  for (int i = 0; i < 200; ++i) publisher.Publish("/tasks/exit", Event(i));
  ASSERT_TRUE(loop_.Run().ok());
  ExpectInOrder();
}

TEST_F(EventsTest, WaitForASupervisorThatIsAway) {
  EventPublisher publisher(&loop_, "unix://" + path_, "ns1");
  for (int i = 0; i < 5; ++i) publisher.Publish("/tasks/exit", Event(i));
  EXPECT_TRUE(publisher.stuck());
  EXPECT_EQ(publisher.queued(), 5u);
  loop_.After(absl::Milliseconds(100), [this] { StartSupervisor(); });
  want_ = 5;
  ASSERT_TRUE(loop_.Run().ok());
  ExpectInOrder();
}

TEST_F(EventsTest, SurviveARestartOfTheSupervisor) {
  StartSupervisor();
  EventPublisher publisher(&loop_, path_, "ns1");
  want_ = 1;
  publisher.Publish("/tasks/exit", Event(0));
  ASSERT_TRUE(loop_.Run().ok());
  server_.reset();
  ASSERT_EQ(unlink(path_.c_str()), 0);
  StartSupervisor();
  want_ = 3;
  publisher.Publish("/tasks/exit", Event(1));
  publisher.Publish("/tasks/exit", Event(2));
  ASSERT_TRUE(loop_.Run().ok());
  ExpectInOrder();
}

TEST_F(EventsTest, ARefusedEventIsTriedAgain) {
  StartSupervisor();
  EventPublisher publisher(&loop_, path_, "ns1");
  refuse_ = 1;
  want_ = 2;
  publisher.Publish("/tasks/exit", Event(0));
  publisher.Publish("/tasks/exit", Event(1));
  ASSERT_TRUE(loop_.Run().ok());
  ExpectInOrder();
}

TEST_F(EventsTest, TheQueueIsBoundedAndLosesTheOldest) {
  EventPublisher publisher(&loop_, path_, "ns1");
  size_t total = EventPublisher::kMaxQueued + 10;
  for (size_t i = 0; i < total; ++i) publisher.Publish("/tasks/exit", Event(static_cast<int>(i)));
  EXPECT_EQ(publisher.queued(), EventPublisher::kMaxQueued);
  StartSupervisor();
  want_ = EventPublisher::kMaxQueued;
  ASSERT_TRUE(loop_.Run().ok());
  EXPECT_EQ(got_.front(), "10");
  EXPECT_EQ(got_.back(), absl::StrCat(total - 1));
}

TEST_F(EventsTest, WithoutAnAddressNothingIsKept) {
  EventPublisher publisher(&loop_, "", "ns1");
  publisher.Publish("/tasks/exit", Event(0));
  EXPECT_EQ(publisher.queued(), 0u);
}

}  // namespace
}  // namespace gantry::shim
