#include "docker/containers/views.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "docker/containers/network_plan.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
namespace networks = gantry::services::networks::v1;
using base::OrderedJson;

constexpr char kZeroTime[] = "0001-01-01T00:00:00Z";

template <typename Timestamp>
std::string TimeText(bool has, const Timestamp& time) {
  return has ? base::FormatRfc3339(base::GetTimestamp(time)) : kZeroTime;
}

// "172.17.0.2/16" → address and length.
std::pair<std::string, int> SplitCidr(const std::string& text) {
  std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  int length = 0;
  if (!absl::SimpleAtoi(parts.second, &length)) length = 0;
  return {parts.first, length};
}

template <typename List>
OrderedJson ListOrNull(const List& list) {
  if (list.empty()) return OrderedJson();
  OrderedJson json = OrderedJson::array();
  for (const auto& item : list) json.push_back(item);
  return json;
}

// The aliases that its maker gave, without those that we add.
OrderedJson Aliases(const networks::EndpointSettings& settings, const std::string& id,
                    const std::string& hostname) {
  std::vector<std::string> own;
  for (const std::string& alias : settings.aliases()) {
    if (alias != hostname && !absl::StartsWith(id, alias)) own.push_back(alias);
  }
  return ListOrNull(own);
}

OrderedJson EndpointJson(const networks::EndpointSettings& settings,
                         const networks::Endpoint& endpoint,
                         const lifecycle::Container& container) {
  OrderedJson ipam;
  if (!settings.ipv4_address().empty()) ipam["IPv4Address"] = settings.ipv4_address();
  if (!settings.ipv6_address().empty()) ipam["IPv6Address"] = settings.ipv6_address();
  if (settings.link_local_ips_size() > 0)
    ipam["LinkLocalIPs"] = ListOrNull(settings.link_local_ips());
  OrderedJson options;
  for (const auto& [key, value] : settings.driver_options()) options[key] = value;
  auto [v4, v4_length] = SplitCidr(endpoint.ipv4_address());
  auto [v6, v6_length] = SplitCidr(endpoint.ipv6_address());
  return {{"IPAMConfig", ipam},
          {"Links", ListOrNull(settings.links())},
          {"Aliases", Aliases(settings, container.id(), container.policy().hostname())},
          {"MacAddress", endpoint.mac_address()},
          {"DriverOpts", options},
          {"GwPriority", settings.gateway_priority()},
          {"NetworkID", endpoint.network_id()},
          {"EndpointID", endpoint.id()},
          {"Gateway", endpoint.ipv4_gateway()},
          {"IPAddress", v4},
          {"IPPrefixLen", v4_length},
          {"IPv6Gateway", endpoint.ipv6_gateway()},
          {"GlobalIPv6Address", v6},
          {"GlobalIPv6PrefixLen", v6_length},
          {"DNSNames", ListOrNull(endpoint.dns_names())}};
}

std::string PortKey(uint32_t port, const std::string& protocol) {
  return absl::StrCat(port, "/", protocol);
}

std::string Plural(int64_t count, absl::string_view unit) {
  return absl::StrCat(count, " ", unit, count == 1 ? "" : "s");
}

}  // namespace

std::string HumanDuration(absl::Duration duration) {
  int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 1) return "Less than a second";
  if (seconds < 60) return Plural(seconds, "second");
  int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return Plural(minutes, "minute");
  int64_t hours = (seconds + 1800) / 3600;
  if (hours == 1) return "About an hour";
  if (hours < 48) return Plural(hours, "hour");
  if (hours < 24 * 7 * 2) return Plural(hours / 24, "day");
  if (hours < 24 * 30 * 2) return Plural(hours / 24 / 7, "week");
  if (hours < 24 * 365 * 2) return Plural(hours / 24 / 30, "month");
  return Plural(seconds / 3600 / 24 / 365, "year");
}

std::string StatusText(const lifecycle::State& state, absl::Time now) {
  const std::string& status = state.status();
  auto since = [now](const auto& time) { return HumanDuration(now - base::GetTimestamp(time)); };
  if (status == "running" || status == "paused") {
    std::string text = absl::StrCat("Up ", since(state.started_at()));
    if (status == "paused") return absl::StrCat(text, " (Paused)");
    if (state.health() == "starting") return absl::StrCat(text, " (health: starting)");
    if (!state.health().empty() && state.health() != "none") {
      absl::StrAppend(&text, " (", state.health(), ")");
    }
    return text;
  }
  if (status == "restarting") {
    return absl::StrCat("Restarting (", state.exit_code(), ") ", since(state.finished_at()),
                        " ago");
  }
  if (status == "removing") return "Removal In Progress";
  if (status == "dead") return "Dead";
  if (status == "created" || !state.has_finished_at()) return "Created";
  return absl::StrCat("Exited (", state.exit_code(), ") ", since(state.finished_at()), " ago");
}

OrderedJson StateJson(const lifecycle::State& s) {
  const std::string& status = s.status();
  OrderedJson json = {
      {"Status", status},
      {"Running", status == "running" || status == "paused" || status == "restarting"},
      {"Paused", status == "paused"},
      {"Restarting", status == "restarting"},
      {"OOMKilled", s.oom_killed()},
      {"Dead", status == "dead"},
      {"Pid", s.pid()},
      {"ExitCode", s.exit_code()},
      {"Error", s.error()},
      {"StartedAt", TimeText(s.has_started_at(), s.started_at())},
      {"FinishedAt", TimeText(s.has_finished_at(), s.finished_at())}};
  if (s.health().empty() || s.health() == "none") return json;
  OrderedJson log = OrderedJson::array();
  for (const auto& result : s.health_log()) {
    log.push_back({{"Start", TimeText(true, result.start())},
                   {"End", TimeText(true, result.end())},
                   {"ExitCode", result.exit_code()},
                   {"Output", result.output()}});
  }
  json["Health"] = {
      {"Status", s.health()}, {"FailingStreak", s.failing_streak()}, {"Log", std::move(log)}};
  return json;
}

OrderedJson NetworksJson(const lifecycle::Container& container) {
  OrderedJson json = OrderedJson::object();
  const lifecycle::Policy& policy = container.policy();
  if (policy.network_mode() == "host" || policy.network_mode() == "none") {
    networks::EndpointSettings settings;
    json[policy.network_mode()] = EndpointJson(settings, networks::Endpoint(), container);
    return json;
  }
  std::map<std::string, const networks::Endpoint*> live;
  for (const auto& endpoint : container.state().sandbox().endpoints()) {
    live[endpoint.network_name()] = live[endpoint.network_id()] = &endpoint;
  }
  static const networks::Endpoint* const none = new networks::Endpoint;
  for (const auto& settings : policy.endpoints()) {
    auto found = live.find(settings.network());
    const networks::Endpoint& endpoint = found == live.end() ? *none : *found->second;
    const std::string& name = found == live.end() ? settings.network() : endpoint.network_name();
    json[name] = EndpointJson(settings, endpoint, container);
  }
  return json;
}

OrderedJson PortMapJson(const lifecycle::Container& container, const StringList& exposed) {
  OrderedJson json = OrderedJson::object();
  for (const std::string& port : exposed) {
    auto range = ParsePort(port);
    if (!range.ok()) continue;
    for (uint32_t i = range->first; i <= range->last; ++i)
      json[PortKey(i, range->protocol)] = nullptr;
  }
  for (const auto& port : container.state().sandbox().ports()) {
    OrderedJson& list = json[PortKey(port.container_port(), port.protocol())];
    list.push_back({{"HostIp", port.host_ip()}, {"HostPort", absl::StrCat(port.host_port())}});
  }
  return json;
}

OrderedJson PortListJson(const lifecycle::Container& container, const StringList& exposed) {
  OrderedJson json = OrderedJson::array();
  std::set<std::string> published;
  for (const auto& port : container.state().sandbox().ports()) {
    published.insert(PortKey(port.container_port(), port.protocol()));
    json.push_back({{"IP", port.host_ip()},
                    {"PrivatePort", port.container_port()},
                    {"PublicPort", port.host_port()},
                    {"Type", port.protocol()}});
  }
  if (container.state().status() != "running") return json;
  for (const std::string& text : exposed) {
    auto range = ParsePort(text);
    if (!range.ok()) continue;
    for (uint32_t i = range->first; i <= range->last; ++i) {
      if (published.contains(PortKey(i, range->protocol))) continue;
      json.push_back({{"PrivatePort", i}, {"Type", range->protocol}});
    }
  }
  return json;
}

OrderedJson NetworkSettingsJson(const FoundContainer& found) {
  const auto& sandbox = found.state().sandbox();
  OrderedJson all = NetworksJson(found.container);
  // The default bridge's endpoint is shown once more at the top.
  OrderedJson bridge = all.contains("bridge") ? all["bridge"] : OrderedJson::object();
  auto text = [&bridge](const char* key) {
    return bridge.contains(key) ? bridge[key] : OrderedJson("");
  };
  auto number = [&bridge](const char* key) {
    return bridge.contains(key) ? bridge[key] : OrderedJson(0);
  };
  return {
      {"Bridge", ""},
      {"SandboxID", sandbox.netns_path().empty() ? "" : found.id()},
      {"SandboxKey", sandbox.netns_path()},
      {"Ports", PortMapJson(found.container,
                            found.running() ? found.document.config.exposed_ports : StringList())},
      {"HairpinMode", false},
      {"LinkLocalIPv6Address", ""},
      {"LinkLocalIPv6PrefixLen", 0},
      {"SecondaryIPAddresses", nullptr},
      {"SecondaryIPv6Addresses", nullptr},
      {"EndpointID", text("EndpointID")},
      {"Gateway", text("Gateway")},
      {"GlobalIPv6Address", text("GlobalIPv6Address")},
      {"GlobalIPv6PrefixLen", number("GlobalIPv6PrefixLen")},
      {"IPAddress", text("IPAddress")},
      {"IPPrefixLen", number("IPPrefixLen")},
      {"IPv6Gateway", text("IPv6Gateway")},
      {"MacAddress", text("MacAddress")},
      {"Networks", std::move(all)}};
}

}  // namespace gantry::docker
