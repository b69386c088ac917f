#include "services/events/event_hub.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "services/events/event_fields.h"
#include "services/metadata/filters.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using containerd::types::Envelope;
using EventPtr = std::shared_ptr<const NumberedEvent>;

constexpr size_t kReplayBatch = 256;
// Pruning looks at the data base once per this many events.
constexpr uint64_t kPruneEvery = 1024;

absl::Status CheckTopic(absl::string_view topic) {
  std::string what = absl::StrCat("envelope topic \"", topic, "\": ");
  if (topic.empty()) return absl::InvalidArgumentError(what + "must not be empty");
  if (topic[0] != '/') return absl::InvalidArgumentError(what + "must start with '/'");
  if (topic.size() == 1) {
    return absl::InvalidArgumentError(what + "must have at least one component");
  }
  for (absl::string_view component : absl::StrSplit(topic.substr(1), '/')) {
    absl::Status status = base::ValidateIdentifier(component);
    if (!status.ok()) {
      return base::Annotate(
          status, absl::StrCat(what, "failed validation on component \"", component, "\""));
    }
  }
  return absl::OkStatus();
}

bool Matches(const Filter& filter, const Envelope& envelope) {
  EventFields fields(envelope);
  return filter.Match(
      [&fields](absl::Span<const std::string> path) { return fields.Lookup(path); });
}

// Stored events numbered above `after`, at most `limit` that match. `*reached` becomes the number
// of the last one that was looked at.
absl::StatusOr<std::vector<EventPtr>> ReadStored(const Db& db, uint64_t after, size_t limit,
                                                 const Filter& filter, uint64_t* reached) {
  std::vector<EventPtr> found;
  absl::Status bad;
  absl::Status status = db.View([&](const ReadView& view) {
    return view.Scan(
        KeyPrefix({kTableEvents}), [&](absl::string_view rest, absl::string_view value) {
          absl::StatusOr<uint64_t> number = ParseEventKeyNumber(rest);
          if (!number.ok()) {
            bad = number.status();
            return false;
          }
          if (*number <= after) return true;
          *reached = *number;
          auto event = std::make_shared<NumberedEvent>();
          event->sequence = *number;
          if (!event->envelope.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
            bad = absl::DataLossError(absl::StrCat("event ", *number, " is not readable"));
            return false;
          }
          if (Matches(filter, event->envelope)) found.push_back(std::move(event));
          return found.size() < limit;
        });
  });
  if (!status.ok()) return status;
  if (!bad.ok()) return bad;
  return found;
}

// What the hub and the subscription share. `mutex` guards the queue; `wake_mutex` is held while
// `wake` runs, so that the subscription's end can wait for it (and may be taken first only).
struct Subscriber {
  Filter filter;
  size_t limit = 0;
  std::mutex wake_mutex;
  std::function<void()> wake;

  std::mutex mutex;
  std::deque<EventPtr> queue;
  absl::Status status;
  bool live = true;     // false: still reading the history, the queue stays empty
  uint64_t cursor = 0;  // events up to here were handed out or looked at

  void Wake() {
    std::lock_guard<std::mutex> lock(wake_mutex);
    if (wake) wake();
  }

  // False when the subscriber is to be dropped.
  bool Offer(const EventPtr& event) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!live || event->sequence <= cursor) return true;
    cursor = event->sequence;
    if (!Matches(filter, event->envelope)) return true;
    if (queue.size() >= limit) {
      status = absl::ResourceExhaustedError(absl::StrCat(
          "event subscriber is too slow: ", limit,
          " events wait for it; subscribe again (after event ", queue.back()->sequence, ")"));
      return false;
    }
    queue.push_back(event);
    return true;
  }
};

// The list of subscribers, shared so that a subscription may end after the hub.
struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<Subscriber>> subscribers;

  void Remove(const std::shared_ptr<Subscriber>& subscriber) {
    std::lock_guard<std::mutex> lock(mutex);
    subscribers.erase(std::remove(subscribers.begin(), subscribers.end(), subscriber),
                      subscribers.end());
  }
};

class Subscription final : public EventSubscription {
 public:
  Subscription(Db* db, std::shared_ptr<Registry> registry, std::shared_ptr<Subscriber> subscriber)
      : db_(db), registry_(std::move(registry)), subscriber_(std::move(subscriber)) {}

  ~Subscription() override {
    registry_->Remove(subscriber_);
    std::lock_guard<std::mutex> lock(subscriber_->wake_mutex);
    subscriber_->wake = nullptr;
  }

  EventPtr Next() override {
    while (true) {
      {
        std::lock_guard<std::mutex> lock(subscriber_->mutex);
        std::deque<EventPtr>& queue = subscriber_->queue;
        if (!queue.empty()) {
          EventPtr event = std::move(queue.front());
          queue.pop_front();
          return event;
        }
        if (subscriber_->live || !subscriber_->status.ok()) return nullptr;
      }
      if (!CatchUp()) return nullptr;
    }
  }

  absl::Status status() const override {
    std::lock_guard<std::mutex> lock(subscriber_->mutex);
    return subscriber_->status;
  }

 private:
  // Fills the queue with the next part of the history, or goes live when there is no more. False
  // if it failed. Only this thread moves the cursor while the subscriber is not live.
  bool CatchUp() {
    uint64_t last = db_->last_event();
    uint64_t reached = subscriber_->cursor;
    auto events = ReadStored(*db_, reached, kReplayBatch, subscriber_->filter, &reached);
    std::lock_guard<std::mutex> lock(subscriber_->mutex);
    if (!events.ok()) {
      subscriber_->status = base::Annotate(events.status(), "read the event history");
      return false;
    }
    // All up to `last` were there to be read; what is missing was pruned.
    if (events->size() < kReplayBatch) reached = std::max(reached, last);
    subscriber_->cursor = reached;
    subscriber_->queue.assign(events->begin(), events->end());
    // Nothing newer was committed, so nothing newer was offered and ignored: Offer() needs the
    // lock.
    subscriber_->live = reached >= db_->last_event();
    return true;
  }

  Db* const db_;
  const std::shared_ptr<Registry> registry_;
  const std::shared_ptr<Subscriber> subscriber_;
};

class Hub final : public EventHub {
 public:
  Hub(Db* db, const Options& options)
      : db_(db), options_(options), registry_(std::make_shared<Registry>()) {
    db_->AddCommitListener([registry = registry_](const CommitInfo& commit) {
      if (!commit.events.empty()) Dispatch(*registry, commit.events);
    });
  }

  ~Hub() override {
    std::vector<std::shared_ptr<Subscriber>> left;
    {
      std::lock_guard<std::mutex> lock(registry_->mutex);
      left.swap(registry_->subscribers);
    }
    for (const auto& subscriber : left) {
      {
        std::lock_guard<std::mutex> lock(subscriber->mutex);
        subscriber->status = absl::UnavailableError("the event service is shutting down");
      }
      subscriber->Wake();
    }
  }

  absl::Status Publish(absl::string_view ns, absl::string_view topic,
                       const google::protobuf::Any& event) override {
    if (ns.empty()) {
      return absl::FailedPreconditionError("failed publishing event: namespace is required");
    }
    Envelope envelope;
    base::SetTimestamp(envelope.mutable_timestamp(), absl::Now());
    envelope.set_namespace_(std::string(ns));
    envelope.set_topic(std::string(topic));
    *envelope.mutable_event() = event;
    return Forward(envelope);
  }

  absl::Status Forward(const Envelope& envelope) override {
    absl::Status status = base::ValidateIdentifier(envelope.namespace_());
    if (!status.ok()) return base::Annotate(status, "event envelope has invalid namespace");
    GANTRY_RETURN_IF_ERROR(CheckTopic(envelope.topic()));
    if (!envelope.has_timestamp()) {
      return absl::InvalidArgumentError("timestamp must be set on forwarded event");
    }
    GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&envelope](Tx& tx) {
      tx.AddEnvelope(envelope);
      return absl::OkStatus();
    }));
    if (++forwarded_ % kPruneEvery == 0) {
      absl::Status pruned = Prune();
      if (!pruned.ok()) base::LogWarn("prune the event history", {{"error", pruned.message()}});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<EventSubscription>> Subscribe(
      EventSubscribeOptions options) override {
    auto subscriber = std::make_shared<Subscriber>();
    GANTRY_ASSIGN_OR_RETURN(subscriber->filter, Filter::Parse(options.filters));
    subscriber->limit = options_.queue_limit;
    subscriber->wake = std::move(options.wake);
    subscriber->live = !options.after.has_value();
    if (options.after.has_value()) subscriber->cursor = *options.after;
    std::lock_guard<std::mutex> lock(registry_->mutex);
    registry_->subscribers.push_back(subscriber);
    return std::make_unique<Subscription>(db_, registry_, subscriber);
  }

  absl::StatusOr<std::vector<NumberedEvent>> List(
      uint64_t after, size_t limit, const std::vector<std::string>& filters) override {
    GANTRY_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
    uint64_t reached = after;
    GANTRY_ASSIGN_OR_RETURN(std::vector<EventPtr> found,
                            ReadStored(*db_, after, limit, filter, &reached));
    std::vector<NumberedEvent> events;
    for (const EventPtr& event : found) events.push_back(*event);
    return events;
  }

  uint64_t last() const override { return db_->last_event(); }

  absl::StatusOr<uint64_t> oldest() override {
    uint64_t reached = 0;
    GANTRY_ASSIGN_OR_RETURN(std::vector<EventPtr> first,
                            ReadStored(*db_, 0, 1, Filter(), &reached));
    return first.empty() ? 0 : first.front()->sequence;
  }

  absl::Status Prune() override {
    uint64_t last = db_->last_event();
    uint64_t keep_from = last > options_.keep_events ? last - options_.keep_events + 1 : 0;
    absl::Time oldest_time = absl::Now() - options_.keep_age;
    std::vector<std::string> doomed;
    std::string prefix = KeyPrefix({kTableEvents});
    GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
      return view.ScanProto<Envelope>(
          prefix, [&](absl::string_view rest, const Envelope& envelope) {
            absl::StatusOr<uint64_t> number = ParseEventKeyNumber(rest);
            bool keep = number.ok() && *number >= keep_from &&
                        base::GetTimestamp(envelope.timestamp()) >= oldest_time;
            if (!keep) doomed.push_back(absl::StrCat(prefix, rest));
            return !keep;
          });
    }));
    if (doomed.empty()) return absl::OkStatus();
    return db_->Update(Durability::kNone, [&doomed](Tx& tx) {
      for (const std::string& key : doomed) tx.Delete(key);
      return absl::OkStatus();
    });
  }

 private:
  static void Dispatch(Registry& registry, const std::vector<NumberedEvent>& events) {
    std::vector<EventPtr> shared;
    for (const NumberedEvent& event : events) {
      shared.push_back(std::make_shared<const NumberedEvent>(event));
    }
    std::vector<std::shared_ptr<Subscriber>> all;
    {
      std::lock_guard<std::mutex> lock(registry.mutex);
      all = registry.subscribers;
    }
    for (const auto& subscriber : all) {
      bool alive = true;
      for (const EventPtr& event : shared) alive = alive && subscriber->Offer(event);
      if (!alive) registry.Remove(subscriber);
      subscriber->Wake();
    }
  }

  Db* const db_;
  const Options options_;
  const std::shared_ptr<Registry> registry_;
  std::atomic<uint64_t> forwarded_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<EventHub>> EventHub::Open(Db* db, const Options& options) {
  auto hub = std::make_unique<Hub>(db, options);
  GANTRY_RETURN_IF_ERROR(base::Annotate(hub->Prune(), "prune the event history"));
  return hub;
}

}  // namespace gantry::services
