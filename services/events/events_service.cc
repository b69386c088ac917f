#include "services/events/events_service.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

#include "containerd/services/events/v1/events.grpc.pb.h"
#include "gantry/services/events/v1/history.grpc.pb.h"
#include "grpcpp/support/server_callback.h"
#include "services/events/event_hub.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::events::v1;
namespace history = gantry::services::events::v1;
using google::protobuf::Empty;

constexpr size_t kMaxPage = 1000;

void Convert(const NumberedEvent& event, containerd::types::Envelope* to) { *to = event.envelope; }

void Convert(const NumberedEvent& event, history::HistoryEvent* to) {
  to->set_number(event.sequence);
  *to->mutable_envelope() = event.envelope;
}

// One subscriber's stream: at most one write is under way; the hub's wake-up and the end of a write
// both go on with the next event. Deletes itself when gRPC is done with it.
template <typename Message>
class EventStream final : public grpc::ServerWriteReactor<Message> {
 public:
  EventStream(EventHub* hub, EventSubscribeOptions options) {
    options.wake = [this] { Pump(); };
    // Nothing may be woken before the subscription is in its place.
    std::unique_lock<std::mutex> lock(mutex_);
    auto subscription = hub->Subscribe(std::move(options));
    if (!subscription.ok()) {
      finished_ = true;
      lock.unlock();
      this->Finish(ToGrpc(subscription.status()));
      return;
    }
    subscription_ = *std::move(subscription);
    // So that the client knows that it is subscribed before the first event.
    this->StartSendInitialMetadata();
    lock.unlock();
    Pump();
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
    }
    if (ok) {
      Pump();
    } else {
      End(grpc::Status(grpc::StatusCode::CANCELLED, "the subscriber went away"));
    }
  }
  void OnCancel() override { End(grpc::Status(grpc::StatusCode::CANCELLED, "context canceled")); }
  void OnDone() override { delete this; }

 private:
  // Whoever comes while another thread pumps leaves it the work instead of waiting: the hub calls
  // from the thread of a publisher.
  void Pump() {
    if (requests_.fetch_add(1) > 0) return;
    int seen;
    do {
      seen = requests_.load();
      PumpOnce();
    } while (!requests_.compare_exchange_strong(seen, 0));
  }

  void PumpOnce() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (writing_ || finished_ || subscription_ == nullptr) return;
    if (std::shared_ptr<const NumberedEvent> event = subscription_->Next()) {
      Convert(*event, &message_);
      writing_ = true;
      this->StartWrite(&message_);
      return;
    }
    absl::Status status = subscription_->status();
    if (status.ok()) return;
    finished_ = true;
    lock.unlock();
    this->Finish(ToGrpc(status));
  }

  // gRPC finishes after a write that is still under way.
  void End(const grpc::Status& status) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    this->Finish(status);
  }

  std::atomic<int> requests_{0};
  std::mutex mutex_;
  Message message_;
  bool writing_ = false;
  bool finished_ = false;
  // Last, so that it goes first: its end waits for a wake-up that still runs.
  std::unique_ptr<EventSubscription> subscription_;
};

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context,
                                     const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

class EventsService final : public api::Events::CallbackService {
 public:
  explicit EventsService(EventHub* hub) : hub_(hub) {}

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const api::PublishRequest* request, Empty*) override {
    Context ctx = FromServerContext(*context);
    return FinishWith(context, hub_->Publish(ctx.ns, request->topic(), request->event()));
  }

  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    const api::ForwardRequest* request, Empty*) override {
    return FinishWith(context, hub_->Forward(request->envelope()));
  }

  grpc::ServerWriteReactor<containerd::types::Envelope>* Subscribe(
      grpc::CallbackServerContext*, const api::SubscribeRequest* request) override {
    EventSubscribeOptions options;
    options.filters.assign(request->filters().begin(), request->filters().end());
    return new EventStream<containerd::types::Envelope>(hub_, std::move(options));
  }

 private:
  EventHub* const hub_;
};

class HistoryService final : public history::EventHistory::CallbackService {
 public:
  explicit HistoryService(EventHub* hub) : hub_(hub) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const history::ListEventsRequest* request,
                                 history::ListEventsResponse* response) override {
    return FinishWith(context, FillPage(*request, response));
  }

  grpc::ServerWriteReactor<history::HistoryEvent>* Subscribe(
      grpc::CallbackServerContext*, const history::SubscribeEventsRequest* request) override {
    EventSubscribeOptions options;
    options.filters.assign(request->filters().begin(), request->filters().end());
    if (request->has_after()) options.after = request->after();
    return new EventStream<history::HistoryEvent>(hub_, std::move(options));
  }

 private:
  absl::Status FillPage(const history::ListEventsRequest& request,
                        history::ListEventsResponse* response) {
    size_t limit = request.limit() == 0 ? kMaxPage : std::min<size_t>(request.limit(), kMaxPage);
    auto events =
        hub_->List(request.after(), limit, {request.filters().begin(), request.filters().end()});
    if (!events.ok()) return events.status();
    for (const NumberedEvent& event : *events) Convert(event, response->add_events());
    absl::StatusOr<uint64_t> oldest = hub_->oldest();
    if (!oldest.ok()) return oldest.status();
    response->set_oldest(*oldest);
    response->set_last(hub_->last());
    return absl::OkStatus();
  }

  EventHub* const hub_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeEventsService(EventHub* hub) {
  return std::make_unique<EventsService>(hub);
}

std::unique_ptr<grpc::Service> MakeEventHistoryService(EventHub* hub) {
  return std::make_unique<HistoryService>(hub);
}

}  // namespace gantry::services
