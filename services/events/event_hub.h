#ifndef GANTRY_SERVICES_EVENTS_EVENT_HUB_H_
#define GANTRY_SERVICES_EVENTS_EVENT_HUB_H_

// The event history of the supervisor: every event of every namespace has a number, is stored with
// it, and reaches each subscriber in the order of the numbers.
//
//   records ("/containers/create", …)  are written by the transaction that makes the change
//                                      (Tx::AddEvent), so an event exists exactly when the change
//                                      does;
//   shims and clients                  come through Forward() and Publish(), stored without fsync:
//                                      they survive a crash of the process, not a loss of power.
//
// Any thread may call anything here. Nothing blocks on a subscriber: who does not take events
// away as fast as they come is cut with an error (and may come back with `after`, missing nothing).

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "containerd/types/event.pb.h"
#include "google/protobuf/any.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

// One subscriber's place in the stream. Next() belongs to one thread at a time.
class EventSubscription {
 public:
  virtual ~EventSubscription() = default;  // unsubscribes

  // The next event that matches, in order; null when none is waiting: `wake` runs when that
  // changes. While a subscriber catches up with the history this reads the data base.
  virtual std::shared_ptr<const NumberedEvent> Next() = 0;

  // OK while events can come. ResourceExhausted: cut because its queue was full; events that were
  // queued before are still returned by Next(). Unavailable: the hub is going away.
  virtual absl::Status status() const = 0;
};

struct EventSubscribeOptions {
  // containerd's filter language over topic, namespace and event.FIELD (event.container_id, …).
  // An event passes if any filter matches; none: all pass.
  std::vector<std::string> filters;
  // First all stored events with a greater number, then the live ones. Unset: only live ones.
  std::optional<uint64_t> after;
  // Runs on the thread of whoever published when Next() may return something again or status()
  // changed; must be quick, must not call into the hub. Never runs once the subscription is gone.
  std::function<void()> wake;
};

class EventHub {
 public:
  struct Options {
    size_t queue_limit = 8192;                      // events waiting for one subscriber
    uint64_t keep_events = 100'000;                 // history by count …
    absl::Duration keep_age = absl::Hours(24 * 7);  // … and by age; both bounds hold roughly
  };

  // `db` must outlive the hub. Reads the number of the last event.
  static absl::StatusOr<std::unique_ptr<EventHub>> Open(Db* db, const Options& options);
  virtual ~EventHub() = default;

  // Stamps the time and stores the event. FailedPrecondition without namespace, InvalidArgument for
  // topics that are not "/a/b" with valid identifiers (texts as containerd has them).
  virtual absl::Status Publish(absl::string_view ns, absl::string_view topic,
                               const google::protobuf::Any& event) = 0;
  // As it is, on behalf of another publisher. InvalidArgument for an invalid namespace or topic or
  // a missing timestamp.
  virtual absl::Status Forward(const containerd::types::Envelope& envelope) = 0;

  // InvalidArgument for a filter that does not parse.
  virtual absl::StatusOr<std::unique_ptr<EventSubscription>> Subscribe(
      EventSubscribeOptions options) = 0;

  // At most `limit` stored events with a number greater than `after` that match, oldest first.
  virtual absl::StatusOr<std::vector<NumberedEvent>> List(
      uint64_t after, size_t limit, const std::vector<std::string>& filters) = 0;
  // The number of the newest event, 0 when there never was one.
  virtual uint64_t last() const = 0;
  // The oldest number still stored, 0 if none: a client that asks for earlier ones missed some.
  virtual absl::StatusOr<uint64_t> oldest() = 0;

  // Removes what is beyond Options::keep_*. Publishing calls it now and then.
  virtual absl::Status Prune() = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EVENTS_EVENT_HUB_H_
