// GET /containers/json

#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "docker/containers/inspect.h"
#include "docker/containers/lookup.h"
#include "docker/containers/network_plan.h"
#include "docker/containers/views.h"
#include "docker/system/filters.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
namespace snapshots = containerd::services::snapshots::v1;
using base::OrderedJson;

struct Item {
  lifecycle::Container container;
  ContainerDocument document;
};

// The place of a container that the filters before and since name.
absl::StatusOr<absl::Time> CreatedAt(const Context& context, const Filters& filters,
                                     const char* key, absl::Time otherwise) {
  for (const std::string& name : filters.Get(key)) {
    GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context, name));
    return base::GetTimestamp(found.state().created_at());
  }
  return otherwise;
}

bool MatchesName(const Filters& filters, const std::string& name) {
  if (!filters.Has("name")) return true;
  for (const std::string& wanted : filters.Get("name")) {
    // Parts of the name with its '/', as Docker matches; anchors are the one expression in use.
    absl::string_view pattern = wanted;
    bool begins = absl::ConsumePrefix(&pattern, "^");
    bool ends = absl::ConsumeSuffix(&pattern, "$");
    std::string subject = absl::StartsWith(pattern, "/") ? "/" + name : name;
    bool matches = begins && ends ? subject == pattern
                   : begins       ? absl::StartsWith(subject, pattern)
                   : ends         ? absl::EndsWith(subject, pattern)
                                  : absl::StrContains(subject, pattern);
    if (matches) return true;
  }
  return false;
}

bool MatchesAncestor(const Filters& filters, const ContainerDocument& document) {
  if (!filters.Has("ancestor")) return true;
  for (const std::string& wanted : filters.Get("ancestor")) {
    absl::string_view digits = absl::StripPrefix(document.image_id, "sha256:");
    if (wanted == document.config.image ||
        absl::StrCat(wanted, ":latest") == document.config.image ||
        wanted == absl::StrCat(document.config.image, ":latest") || wanted == document.image_id ||
        (wanted.size() >= 4 && absl::StartsWith(digits, wanted))) {
      return true;
    }
  }
  return false;
}

bool MatchesVolume(const Filters& filters, const ContainerDocument& document) {
  if (!filters.Has("volume")) return true;
  for (const MountPoint& mount : document.mounts) {
    for (const std::string& wanted : filters.Get("volume")) {
      if (wanted == mount.name || wanted == mount.destination || wanted == mount.source)
        return true;
    }
  }
  return false;
}

bool MatchesNetwork(const Filters& filters, const lifecycle::Container& container) {
  if (!filters.Has("network")) return true;
  for (const std::string& wanted : filters.Get("network")) {
    if (container.policy().network_mode() == wanted) return true;
    for (const auto& endpoint : container.policy().endpoints()) {
      if (endpoint.network() == wanted) return true;
    }
    for (const auto& endpoint : container.state().sandbox().endpoints()) {
      if (endpoint.network_id() == wanted || endpoint.network_name() == wanted) return true;
    }
  }
  return false;
}

// "80", "80/tcp", "80-90" against the ports of a filter.
bool MatchesPort(const std::set<std::string>& wanted, uint32_t port, const std::string& protocol) {
  for (const std::string& text : wanted) {
    auto range = ParsePort(text);
    if (range.ok() && range->protocol == protocol && port >= range->first && port <= range->last) {
      return true;
    }
  }
  return false;
}

bool MatchesPorts(const Filters& filters, const Item& item) {
  for (const char* key : {"publish", "expose"}) {
    if (!filters.Has(key)) continue;
    bool found = false;
    for (const auto& port : item.container.state().sandbox().ports()) {
      found = found || MatchesPort(filters.Get(key), port.container_port(), port.protocol());
    }
    if (key[0] == 'e') {
      for (const std::string& port : item.document.config.exposed_ports) {
        auto range = ParsePort(port);
        found =
            found || (range.ok() && MatchesPort(filters.Get(key), range->first, range->protocol));
      }
    }
    if (!found) return false;
  }
  return true;
}

bool Matches(const Filters& filters, const Item& item) {
  const lifecycle::Container& container = item.container;
  const lifecycle::State& state = container.state();
  if (filters.Has("id")) {
    bool found = false;
    for (const std::string& id : filters.Get("id")) {
      found = found || absl::StartsWith(container.id(), id);
    }
    if (!found) return false;
  }
  if (filters.Has("exited")) {
    bool ended =
        state.status() == "exited" && filters.Matches("exited", absl::StrCat(state.exit_code()));
    if (!ended) return false;
  }
  return MatchesName(filters, container.policy().name()) &&
         filters.Matches("status", state.status()) &&
         filters.Matches("health", state.health().empty() ? "none" : state.health()) &&
         filters.MatchLabels(ToMap(container.labels())) &&
         MatchesAncestor(filters, item.document) && MatchesVolume(filters, item.document) &&
         MatchesNetwork(filters, container) && MatchesPorts(filters, item);
}

void AddSize(const Context& context, const Item& item, OrderedJson* json) {
  snapshots::UsageRequest request;
  request.set_snapshotter(item.container.snapshotter());
  request.set_key(item.container.snapshot_key());
  snapshots::UsageResponse usage;
  if (!context.gantryd.Call(snapshots::SnapshotsMethods::kUsage, request, &usage).ok()) return;
  if (usage.size() > 0) (*json)["SizeRw"] = usage.size();
  auto image = context.images.Find(item.document.image_id);
  int64_t below = image.ok() ? context.images.Size(*image->content) : 0;
  (*json)["SizeRootFs"] = usage.size() + below;
}

OrderedJson ItemJson(const Context& context, const Item& item, bool size, absl::Time now) {
  const lifecycle::Container& container = item.container;
  const ContainerDocument& document = item.document;
  StringList words = document.args;
  words.insert(words.begin(), document.path);
  OrderedJson labels = OrderedJson::object();
  for (const auto& [key, value] :
       std::map<std::string, std::string>(container.labels().begin(), container.labels().end())) {
    labels[key] = value;
  }
  OrderedJson mounts = OrderedJson::array();
  for (const MountPoint& mount : document.mounts) mounts.push_back(mount.ToJson());
  OrderedJson json = {{"Id", container.id()},
                      {"Names", {absl::StrCat("/", container.policy().name())}},
                      {"Image", document.config.image},
                      {"ImageID", document.image_id},
                      {"Command", absl::StrJoin(words, " ")},
                      {"Created", container.state().created_at().seconds()},
                      {"Ports", PortListJson(container, document.config.exposed_ports)}};
  if (size) AddSize(context, item, &json);
  json["Labels"] = std::move(labels);
  json["State"] = container.state().status();
  json["Status"] = StatusText(container.state(), now);
  json["HostConfig"] = {{"NetworkMode", document.host.contains("NetworkMode")
                                            ? document.host["NetworkMode"]
                                            : OrderedJson("")}};
  json["NetworkSettings"] = {{"Networks", NetworksJson(container)}};
  json["Mounts"] = std::move(mounts);
  return json;
}

}  // namespace

absl::Status ListContainers(const Context& context,
                            const std::shared_ptr<http::Exchange>& exchange) {
  const http::Query& query = exchange->query();
  GANTRY_ASSIGN_OR_RETURN(
      Filters filters,
      Filters::Parse(query.Get("filters"), {"ancestor", "before", "exited", "id", "isolation",
                                            "label", "label!", "name", "status", "health", "since",
                                            "volume", "network", "is-task", "publish", "expose"}));
  int64_t limit = -1;
  if (!query.Get("limit").empty() && !absl::SimpleAtoi(query.Get("limit"), &limit)) {
    return absl::InvalidArgumentError(
        absl::StrCat("strconv.Atoi: parsing \"", query.Get("limit"), "\": invalid syntax"));
  }
  for (const std::string& status : filters.Get("status")) {
    static const std::set<std::string>* const known = new std::set<std::string>{
        "created", "running", "paused", "restarting", "removing", "exited", "dead"};
    if (!known->contains(status)) {
      return absl::InvalidArgumentError(absl::StrCat("invalid filter 'status=", status, "'"));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(absl::Time before,
                          CreatedAt(context, filters, "before", absl::InfiniteFuture()));
  GANTRY_ASSIGN_OR_RETURN(absl::Time since,
                          CreatedAt(context, filters, "since", absl::InfinitePast()));
  lifecycle::ListRequest request;
  request.set_all(query.Bool("all") || limit > 0 || filters.Has("status") ||
                  filters.Has("exited") || filters.Has("before") || filters.Has("since"));
  request.add_extensions(kDocumentExtension);
  lifecycle::ListResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(lifecycle::LifecycleMethods::kList, request, &response));
  OrderedJson list = OrderedJson::array();
  absl::Time now = absl::Now();
  bool size = query.Bool("size");
  for (auto& entry : *response.mutable_containers()) {
    if (limit > 0 && static_cast<int64_t>(list.size()) >= limit) break;
    Item item;
    item.container = std::move(*entry.mutable_container());
    absl::Time created = base::GetTimestamp(item.container.state().created_at());
    if (created >= before || created <= since) continue;
    auto extension = entry.extensions().find(kDocumentExtension);
    if (extension != entry.extensions().end()) {
      auto document = ContainerDocument::Parse(extension->second);
      if (document.ok()) item.document = *std::move(document);
    }
    if (!Matches(filters, item)) continue;
    list.push_back(ItemJson(context, item, size, now));
  }
  exchange->ReplyJson(200, list);
  return absl::OkStatus();
}

}  // namespace gantry::docker
