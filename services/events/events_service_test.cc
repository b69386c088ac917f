#include "services/events/events_service.h"

#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "containerd/events/task.pb.h"
#include "containerd/services/events/v1/events.grpc.pb.h"
#include "gantry/services/events/v1/history.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/events/event_hub.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::events::v1;
namespace history = gantry::services::events::v1;

class EventsServiceTest : public ::testing::Test {
 protected:
  EventsServiceTest() {
    hub_ = *EventHub::Open(db_.get(), {});
    events_ = MakeEventsService(hub_.get());
    history_ = MakeEventHistoryService(hub_.get());
    grpc::ServerBuilder builder;
    builder.RegisterService(events_.get());
    builder.RegisterService(history_.get());
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  ~EventsServiceTest() override {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  }

  // With a deadline, so that a test that waits in vain ends.
  static void Prepare(grpc::ClientContext* context, const std::string& ns = "ns") {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    if (!ns.empty()) context->AddMetadata("containerd-namespace", ns);
  }
  grpc::Status Publish(const std::string& id, const std::string& ns = "ns") {
    grpc::ClientContext context;
    Prepare(&context, ns);
    containerd::events::TaskStart start;
    start.set_container_id(id);
    api::PublishRequest request;
    request.set_topic("/tasks/start");
    request.mutable_event()->set_type_url("containerd.events.TaskStart");
    request.mutable_event()->set_value(start.SerializeAsString());
    google::protobuf::Empty empty;
    return api::Events::NewStub(channel_)->Publish(&context, request, &empty);
  }

  TestDb db_;
  std::unique_ptr<EventHub> hub_;
  std::unique_ptr<grpc::Service> events_, history_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(EventsServiceTest, StreamsWhatIsPublished) {
  auto stub = api::Events::NewStub(channel_);
  grpc::ClientContext context;
  Prepare(&context);
  api::SubscribeRequest request;
  request.add_filters("event.container_id!=b");
  auto stream = stub->Subscribe(&context, request);
  stream->WaitForInitialMetadata();
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(Publish(id).ok());
  containerd::types::Envelope envelope;
  containerd::events::TaskStart start;
  for (const char* id : {"a", "c"}) {
    ASSERT_TRUE(stream->Read(&envelope));
    EXPECT_EQ(envelope.namespace_(), "ns");
    ASSERT_TRUE(start.ParseFromString(envelope.event().value()));
    EXPECT_EQ(start.container_id(), id);
  }
  context.TryCancel();
  EXPECT_FALSE(stream->Read(&envelope));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(EventsServiceTest, RefusesBadRequests) {
  EXPECT_EQ(Publish("a", "").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  grpc::ClientContext context;
  Prepare(&context);
  api::SubscribeRequest request;
  request.add_filters("topic==");
  containerd::types::Envelope envelope;
  auto stream = api::Events::NewStub(channel_)->Subscribe(&context, request);
  EXPECT_FALSE(stream->Read(&envelope));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(EventsServiceTest, HistoryGoesOnWhereAClientStopped) {
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Publish(absl::StrCat(i)).ok());
  auto stub = history::EventHistory::NewStub(channel_);
  grpc::ClientContext page_context;
  Prepare(&page_context);
  history::ListEventsRequest list;
  list.set_limit(5);
  history::ListEventsResponse page;
  ASSERT_TRUE(stub->List(&page_context, list, &page).ok());
  ASSERT_EQ(page.events_size(), 5);
  EXPECT_EQ(page.oldest(), page.events(0).number());

  grpc::ClientContext context;
  Prepare(&context);
  history::SubscribeEventsRequest request;
  request.set_after(page.events(4).number());
  auto stream = stub->Subscribe(&context, request);
  history::HistoryEvent event;
  uint64_t last = page.events(4).number();
  for (int i = 5; i < 20; ++i) {
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_GT(event.number(), last);
    last = event.number();
  }
  EXPECT_EQ(last, page.last());
  ASSERT_TRUE(Publish("live").ok());
  ASSERT_TRUE(stream->Read(&event));
  EXPECT_GT(event.number(), last);
  context.TryCancel();
  stream->Finish();
}

TEST_F(EventsServiceTest, SubscribersComeAndGoWhileEventsFlow) {
  std::thread publisher([this] {
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(Publish(absl::StrCat(i)).ok());
  });
  auto stub = api::Events::NewStub(channel_);
  for (int i = 0; i < 60; ++i) {
    grpc::ClientContext context;
    Prepare(&context);
    auto stream = stub->Subscribe(&context, api::SubscribeRequest());
    containerd::types::Envelope envelope;
    if (i % 2 == 0) stream->WaitForInitialMetadata();
    context.TryCancel();
    while (stream->Read(&envelope)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  publisher.join();
}

}  // namespace
}  // namespace gantry::services
