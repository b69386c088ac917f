#include "services/events/event_hub.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/ttrpc/client.h"
#include "containerd/events/container.pb.h"
#include "containerd/events/task.pb.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/events/event_fields.h"
#include "services/events/ttrpc_events.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

google::protobuf::Any Pack(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.set_type_url(message.GetDescriptor()->full_name());
  any.set_value(message.SerializeAsString());
  return any;
}

google::protobuf::Any Start(const std::string& id, uint32_t pid = 1) {
  containerd::events::TaskStart event;
  event.set_container_id(id);
  event.set_pid(pid);
  return Pack(event);
}

class EventHubTest : public ::testing::Test {
 protected:
  EventHubTest() : dir_(absl::StrCat(::testing::TempDir(), "gantry-hub-", base::RandomHex(6))) {
    std::filesystem::create_directories(dir_);
  }
  ~EventHubTest() override {
    hub_.reset();
    db_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Open(EventHub::Options options = {}) {
    hub_.reset();
    db_.reset();
    auto db = Db::Open(dir_ + "/db");
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    auto hub = EventHub::Open(db_.get(), options);
    ASSERT_TRUE(hub.ok()) << hub.status();
    hub_ = *std::move(hub);
  }

  std::unique_ptr<EventSubscription> Subscribe(EventSubscribeOptions options) {
    auto subscription = hub_->Subscribe(std::move(options));
    EXPECT_TRUE(subscription.ok()) << subscription.status();
    return *std::move(subscription);
  }

  // The container ids of all events that wait.
  static std::vector<std::string> Drain(EventSubscription& subscription) {
    std::vector<std::string> ids;
    while (auto event = subscription.Next()) {
      containerd::events::TaskStart start;
      EXPECT_TRUE(start.ParseFromString(event->envelope.event().value()));
      ids.push_back(start.container_id());
    }
    return ids;
  }

  const std::string dir_;
  std::unique_ptr<Db> db_;
  std::unique_ptr<EventHub> hub_;
};

TEST_F(EventHubTest, DeliversInOrderWithNumbers) {
  Open();
  std::atomic<int> woken = 0;
  EventSubscribeOptions options;
  options.wake = [&woken] { ++woken; };
  auto subscription = Subscribe(std::move(options));
  ASSERT_TRUE(hub_->Publish("ns1", "/tasks/start", Start("a")).ok());
  ASSERT_TRUE(hub_->Publish("ns2", "/tasks/start", Start("b")).ok());
  EXPECT_EQ(woken, 2);
  auto first = subscription->Next();
  auto second = subscription->Next();
  ASSERT_TRUE(first && second);
  EXPECT_LT(first->sequence, second->sequence);
  EXPECT_EQ(first->envelope.namespace_(), "ns1");
  EXPECT_EQ(first->envelope.topic(), "/tasks/start");
  EXPECT_TRUE(first->envelope.has_timestamp());
  EXPECT_EQ(subscription->Next(), nullptr);
  EXPECT_EQ(hub_->last(), second->sequence);
}

TEST_F(EventHubTest, RefusesWhatContainerdRefuses) {
  Open();
  struct Case {
    std::string ns, topic;
    absl::StatusCode code;
    std::string text;
  } cases[] = {
      {"", "/a", absl::StatusCode::kFailedPrecondition, "namespace is required"},
      {"ns", "", absl::StatusCode::kInvalidArgument, "must not be empty"},
      {"ns", "a/b", absl::StatusCode::kInvalidArgument, "must start with '/'"},
      {"ns", "/", absl::StatusCode::kInvalidArgument, "must have at least one component"},
      {"ns", "/a//b", absl::StatusCode::kInvalidArgument, "failed validation on component"},
      {"b@d", "/a", absl::StatusCode::kInvalidArgument, "invalid namespace"},
  };
  for (const Case& c : cases) {
    absl::Status status = hub_->Publish(c.ns, c.topic, Start("a"));
    EXPECT_EQ(status.code(), c.code) << c.topic;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.text));
  }
  containerd::types::Envelope envelope;
  envelope.set_namespace_("ns");
  envelope.set_topic("/a");
  EXPECT_THAT(std::string(hub_->Forward(envelope).message()), HasSubstr("timestamp must be set"));
  EXPECT_EQ(hub_->last(), 0u);
}

TEST_F(EventHubTest, FiltersByTopicNamespaceAndEvent) {
  Open();
  auto by_topic = Subscribe({.filters = {"topic==\"/tasks/start\""}, .after = {}, .wake = {}});
  auto by_id = Subscribe({.filters = {"event.container_id==b"}, .after = {}, .wake = {}});
  auto either =
      Subscribe({.filters = {"namespace==other", "topic~=\"^/tasks/\""}, .after = {}, .wake = {}});
  ASSERT_TRUE(hub_->Publish("ns", "/tasks/start", Start("a")).ok());
  ASSERT_TRUE(hub_->Publish("ns", "/containers/start", Start("b")).ok());
  ASSERT_TRUE(hub_->Publish("other", "/x", Start("c")).ok());
  EXPECT_THAT(Drain(*by_topic), ElementsAre("a"));
  EXPECT_THAT(Drain(*by_id), ElementsAre("b"));
  EXPECT_THAT(Drain(*either), ElementsAre("a", "c"));
  EXPECT_EQ(hub_->Subscribe({.filters = {"topic=="}, .after = {}, .wake = {}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(EventHubTest, ReplaysWithoutGapAcrossRestart) {
  Open();
  for (int i = 0; i < 600; ++i) {
    ASSERT_TRUE(hub_->Publish("ns", "/tasks/start", Start(absl::StrCat(i))).ok());
  }
  auto all = hub_->List(0, 10000, {});
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 600u);
  uint64_t tenth = (*all)[9].sequence;
  Open();
  auto subscription = Subscribe({.filters = {}, .after = tenth, .wake = {}});
  // Live ones come while the history is still being read.
  std::thread publisher([this] {
    for (int i = 600; i < 700; ++i) {
      ASSERT_TRUE(hub_->Publish("ns", "/tasks/start", Start(absl::StrCat(i))).ok());
    }
  });
  std::vector<std::string> ids;
  absl::Time end = absl::Now() + absl::Seconds(20);
  while (ids.size() < 690 && absl::Now() < end) {
    for (std::string& id : Drain(*subscription)) ids.push_back(std::move(id));
  }
  publisher.join();
  ASSERT_EQ(ids.size(), 690u);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], absl::StrCat(i + 10));
}

TEST_F(EventHubTest, CutsASlowSubscriberAndNobodyElse) {
  EventHub::Options small;
  small.queue_limit = 3;
  Open(small);
  auto slow = Subscribe({});
  auto quick = Subscribe({});
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(hub_->Publish("ns", "/tasks/start", Start(absl::StrCat(i))).ok());
    EXPECT_THAT(Drain(*quick), ElementsAre(absl::StrCat(i)));
  }
  EXPECT_TRUE(quick->status().ok());
  EXPECT_EQ(slow->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Drain(*slow), ElementsAre("0", "1", "2"));
}

TEST_F(EventHubTest, PrunesByCountAndAge) {
  EventHub::Options few;
  few.keep_events = 10;
  Open(few);
  containerd::types::Envelope old;
  old.set_namespace_("ns");
  old.set_topic("/a");
  base::SetTimestamp(old.mutable_timestamp(), absl::Now() - absl::Hours(24 * 30));
  ASSERT_TRUE(hub_->Forward(old).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(hub_->Publish("ns", "/a", Start("x")).ok());
  ASSERT_TRUE(hub_->Prune().ok());
  EXPECT_EQ(hub_->List(0, 100, {})->size(), 4u);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(hub_->Publish("ns", "/a", Start("x")).ok());
  ASSERT_TRUE(hub_->Prune().ok());
  EXPECT_EQ(hub_->List(0, 100, {})->size(), 10u);
  EXPECT_EQ(*hub_->oldest(), hub_->last() - 9);
  // A subscriber from before the oldest gets what there is and goes live.
  auto subscription = Subscribe({.filters = {}, .after = 0, .wake = {}});
  EXPECT_EQ(Drain(*subscription).size(), 10u);
  ASSERT_TRUE(hub_->Publish("ns", "/a", Start("y")).ok());
  EXPECT_THAT(Drain(*subscription), ElementsAre("y"));
}

TEST_F(EventHubTest, EventsOfTransactionsArriveToo) {
  Open();
  auto subscription = Subscribe({});
  containerd::events::TaskStart event;
  event.set_container_id("tx");
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&event](Tx& tx) {
                            tx.Put("k", "v");
                            tx.AddEvent("ns", "/tasks/start", event);
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_THAT(Drain(*subscription), ElementsAre("tx"));
}

TEST_F(EventHubTest, ShimsDeliverOverTtrpc) {
  Open();
  // Short: the temporary directory of a test may exceed what a socket's name can hold.
  std::string path = absl::StrCat("/tmp/gantry-ev-", base::RandomHex(6));
  auto server = TtrpcEventServer::Start(path, hub_.get());
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(TtrpcEventServer::Start(path, hub_.get()).status().code(),
            absl::StatusCode::kAlreadyExists);
  auto subscription = Subscribe({});
  auto client = base::ttrpc::Client::Connect(path);
  ASSERT_TRUE(client.ok()) << client.status();
  containerd::services::events::ttrpc::v1::ForwardRequest request;
  auto forward = [&] {
    return (*client)->Call("containerd.services.events.ttrpc.v1.Events", "Forward", request,
                           nullptr, {}, absl::Seconds(5));
  };
  EXPECT_EQ(forward().code(), absl::StatusCode::kInvalidArgument);
  request.mutable_envelope()->set_namespace_("ns");
  request.mutable_envelope()->set_topic("/tasks/start");
  base::SetTimestamp(request.mutable_envelope()->mutable_timestamp(), absl::UnixEpoch());
  *request.mutable_envelope()->mutable_event() = Start("shim");
  EXPECT_TRUE(forward().ok());
  EXPECT_THAT(Drain(*subscription), ElementsAre("shim"));
  EXPECT_EQ((*client)
                ->Call("containerd.services.events.ttrpc.v1.Events", "Nothing", request, nullptr,
                       {}, absl::Seconds(5))
                .code(),
            absl::StatusCode::kUnimplemented);
  server->reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(EventFields, ReadsStringsNestedMessagesAndLabels) {
  containerd::events::TaskCreate create;
  create.set_container_id("c1");
  create.set_pid(7);
  create.mutable_io()->set_stdout("/fifo");
  create.mutable_io()->set_terminal(true);
  containerd::types::Envelope envelope;
  *envelope.mutable_event() = Pack(create);
  EventFields fields(envelope);
  EXPECT_EQ(fields.Lookup({"event", "container_id"}), "c1");
  EXPECT_EQ(fields.Lookup({"event", "io", "stdout"}), "/fifo");
  EXPECT_EQ(fields.Lookup({"event", "io", "terminal"}), "true");
  EXPECT_EQ(fields.Lookup({"event", "pid"}), std::nullopt);
  EXPECT_EQ(fields.Lookup({"event", "bundle"}), std::nullopt);
  EXPECT_EQ(fields.Lookup({"event", "nothing"}), std::nullopt);
  EXPECT_EQ(fields.Lookup({"topic"}), std::nullopt);
  EXPECT_EQ(fields.Lookup({}), std::nullopt);

  containerd::types::Envelope unknown;
  unknown.mutable_event()->set_type_url("no.such.Type");
  EXPECT_EQ(EventFields(unknown).Lookup({"event", "id"}), std::nullopt);
}

}  // namespace
}  // namespace gantry::services
