#include "docker/system/events.h"

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/any.h"
#include "gantry/services/events/v1/history.methods.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::events::v1;
using api::EventHistoryMethods;
using base::OrderedJson;
using gantry::types::ObjectEvent;
using ExchangePtr = std::shared_ptr<http::Exchange>;

constexpr uint32_t kPage = 500;

// What the events of Docker's clients are: those of objects in our namespace.
std::vector<std::string> HistoryFilters(const std::string& ns) {
  std::vector<std::string> filters;
  for (const char* kind : {"container", "image", "volume", "network", "daemon"}) {
    filters.push_back(absl::StrCat("namespace==", ns, ",topic~=/", kind, "/"));
  }
  return filters;
}

std::string Attribute(const ObjectEvent& event, const std::string& key) {
  auto found = event.attributes().find(key);
  return found == event.attributes().end() ? "" : found->second;
}

// By id, beginning of an id, or name.
bool IsMeant(const Filters& filters, const ObjectEvent& event, const std::string& id,
             const std::string& name) {
  for (const std::string& wanted : filters.Get(event.kind())) {
    if (wanted == name || wanted == id || (!wanted.empty() && absl::StartsWith(id, wanted))) {
      return true;
    }
  }
  return false;
}

// An image is meant with or without its tag.
bool ImageIsMeant(const Filters& filters, const std::string& id, const std::string& name) {
  for (const std::string& wanted : filters.Get("image")) {
    if (wanted == id || wanted == name || wanted == name.substr(0, name.rfind(':')) ||
        wanted == id.substr(0, id.rfind(':'))) {
      return true;
    }
  }
  return false;
}

// One request: what was until now, then what comes.
class EventStream {
 public:
  EventStream(const Context& context, ExchangePtr exchange, Filters filters)
      : context_(context), exchange_(std::move(exchange)), filters_(std::move(filters)) {}

  absl::Status Run(absl::Time since, absl::Time until) {
    const bool replay = since != absl::InfiniteFuture();
    uint64_t after = 0;
    if (replay) {
      GANTRY_ASSIGN_OR_RETURN(after, NumberBefore(since));
    }
    stream_ = exchange_->StartStream(200, "application/json");
    if (stream_ == nullptr) return absl::OkStatus();
    until_ = until;
    if (until <= absl::Now()) {
      Replay(after);
    } else {
      Follow(replay, after);
    }
    stream_->Finish();
    return absl::OkStatus();
  }

 private:
  // The number after which events are not older than `since`. Events have ascending times but for
  // what clocks do, so the history can be halved.
  absl::StatusOr<uint64_t> NumberBefore(absl::Time since) {
    GANTRY_ASSIGN_OR_RETURN(api::ListEventsResponse first, Page(0, 1, {}));
    uint64_t low = first.oldest() == 0 ? 0 : first.oldest() - 1;
    uint64_t high = first.last();
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      GANTRY_ASSIGN_OR_RETURN(api::ListEventsResponse page, Page(middle, 1, {}));
      if (page.events().empty()) {
        high = middle;
        continue;
      }
      if (TimeOf(page.events(0)) < since) {
        low = std::max(page.events(0).number(), middle + 1);
      } else {
        high = middle;
      }
    }
    return low;
  }

  absl::StatusOr<api::ListEventsResponse> Page(uint64_t after, uint32_t limit,
                                               const std::vector<std::string>& filters) {
    api::ListEventsRequest request;
    request.set_after(after);
    request.set_limit(limit);
    for (const std::string& filter : filters) request.add_filters(filter);
    api::ListEventsResponse response;
    GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(EventHistoryMethods::kList, request, &response));
    return response;
  }

  static absl::Time TimeOf(const api::HistoryEvent& event) {
    return base::GetTimestamp(event.envelope().timestamp());
  }

  // False when the end is reached.
  bool Send(const api::HistoryEvent& event) {
    const absl::Time time = TimeOf(event);
    if (time > until_) return false;
    ObjectEvent object;
    if (!client::UnpackAny(event.envelope().event(), &object)) return true;
    if (event.envelope().namespace_() != context_.gantryd.ns()) return true;
    if (!EventMatches(object, filters_)) return true;
    std::string line =
        EventJson(object, time).dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    return stream_->Write(line + "\n");
  }

  void Replay(uint64_t after) {
    while (true) {
      auto page = Page(after, kPage, HistoryFilters(context_.gantryd.ns()));
      if (!page.ok() || page->events().empty()) return;
      for (const api::HistoryEvent& event : page->events()) {
        if (!Send(event)) return;
        after = event.number();
      }
    }
  }

  void Follow(bool replay, uint64_t after) {
    api::SubscribeEventsRequest request;
    if (replay) request.set_after(after);
    for (const std::string& filter : HistoryFilters(context_.gantryd.ns())) {
      request.add_filters(filter);
    }
    const absl::Duration patience =
        until_ == absl::InfiniteFuture() ? absl::InfiniteDuration() : until_ - absl::Now();
    // Who leaves ends the call, from another thread.
    struct Shared {
      absl::Mutex mutex;
      client::rpc::Call* call = nullptr;
      bool gone = false;
    };
    auto shared = std::make_shared<Shared>();
    client::rpc::Call call =
        context_.gantryd.Start(EventHistoryMethods::kSubscribe.path, &request, patience);
    {
      absl::MutexLock lock(&shared->mutex);
      shared->call = &call;
    }
    exchange_->OnClosed([shared] {
      absl::MutexLock lock(&shared->mutex);
      shared->gone = true;
      if (shared->call != nullptr) shared->call->Cancel();
    });
    api::HistoryEvent event;
    while (call.Read(&event) && Send(event)) {
    }
    absl::MutexLock lock(&shared->mutex);
    shared->call = nullptr;
  }

  const Context& context_;
  const ExchangePtr exchange_;
  const Filters filters_;
  std::shared_ptr<http::ResponseStream> stream_;
  absl::Time until_ = absl::InfiniteFuture();
};

absl::Status Events(const Context& context, const ExchangePtr& exchange) {
  const http::Query& query = exchange->query();
  GANTRY_ASSIGN_OR_RETURN(
      Filters filters,
      Filters::Parse(query.Get("filters"),
                     {"config", "container", "daemon", "event", "image", "label", "network", "node",
                      "plugin", "scope", "secret", "service", "type", "volume"}));
  absl::Time since = absl::InfiniteFuture();
  absl::Time until = absl::InfiniteFuture();
  if (!query.Get("since").empty()) {
    GANTRY_ASSIGN_OR_RETURN(since, ParseMoment(query.Get("since"), absl::Now()));
  }
  if (!query.Get("until").empty()) {
    GANTRY_ASSIGN_OR_RETURN(until, ParseMoment(query.Get("until"), absl::Now()));
    if (since != absl::InfiniteFuture() && until < since) {
      return absl::InvalidArgumentError("`since` time (" + query.Get("since") +
                                        ") cannot be after `until` time (" + query.Get("until") +
                                        ")");
    }
  }
  return EventStream(context, exchange, std::move(filters)).Run(since, until);
}

}  // namespace

OrderedJson EventJson(const ObjectEvent& event, absl::Time time) {
  OrderedJson out;
  if (event.kind() == "container" || event.kind() == "image") {
    out["status"] = event.action();
    out["id"] = event.id();
    const std::string from = Attribute(event, "image");
    if (event.kind() == "container" && !from.empty()) out["from"] = from;
  }
  OrderedJson attributes = OrderedJson::object();
  for (const auto& [key, value] : ToMap(event.attributes())) attributes[key] = value;
  out["Type"] = event.kind();
  out["Action"] = event.action();
  out["Actor"] = {{"ID", event.id()}, {"Attributes", attributes}};
  out["scope"] = "local";
  out["time"] = absl::ToUnixSeconds(time);
  out["timeNano"] = absl::ToUnixNanos(time);
  return out;
}

bool EventMatches(const ObjectEvent& event, const Filters& filters) {
  if (!filters.Matches("type", event.kind()) || !filters.Matches("scope", "local")) return false;
  const std::string& action = event.action();
  if (!filters.Matches("event", action) &&
      !filters.Matches("event", action.substr(0, action.find(':')))) {
    return false;
  }
  if (!filters.MatchLabels(ToMap(event.attributes()))) return false;
  const std::string name = Attribute(event, "name");
  for (const char* kind : {"container", "volume", "network", "daemon"}) {
    if (!filters.Has(kind)) continue;
    if (event.kind() != kind || !IsMeant(filters, event, event.id(), name)) return false;
  }
  if (!filters.Has("image")) return true;
  if (event.kind() == "container") {
    const std::string image = Attribute(event, "image");
    return ImageIsMeant(filters, image, image);
  }
  return event.kind() == "image" && ImageIsMeant(filters, event.id(), name);
}

void AddEventRoutes(http::Router& router, const Context& context) {
  router.Add("GET", "/events",
             [&context](const ExchangePtr& exchange) { return Events(context, exchange); });
}

}  // namespace gantry::docker
