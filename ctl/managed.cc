#include "ctl/managed.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/containers/v1/containers.methods.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::ctl {
namespace {

using Methods = life::LifecycleMethods;

constexpr char kExtension[] = "gantry.lifecycle";

template <typename Request>
absl::Status Do(const client::Connection& connection,
                const proto::UnaryMethod<Request, google::protobuf::Empty>& method,
                const std::string& id) {
  Request request;
  request.set_id(id);
  google::protobuf::Empty nothing;
  return connection.Call(method, request, &nothing);
}

}  // namespace

bool IsManaged(const client::ContainerRecord& record) {
  return record.extensions().contains(kExtension);
}

absl::StatusOr<life::Container> GetManaged(const client::Connection& connection,
                                           const std::string& id) {
  life::GetRequest request;
  request.set_id(id);
  life::GetResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(Methods::kGet, request, &response));
  return std::move(*response.mutable_container());
}

std::map<std::string, life::Container> ListManaged(const client::Connection& connection) {
  std::map<std::string, life::Container> by_id;
  life::ListRequest request;
  request.set_all(true);
  life::ListResponse response;
  if (!connection.Call(Methods::kList, request, &response).ok()) return by_id;
  for (auto& item : *response.mutable_containers()) {
    const std::string id = item.container().id();
    by_id[id] = std::move(*item.mutable_container());
  }
  return by_id;
}

absl::StatusOr<client::ContainerRecord> FindManaged(const client::Connection& connection,
                                                    const std::string& typed) {
  life::FindRequest find;
  find.set_name(typed);
  life::GetResponse found;
  GANTRY_RETURN_IF_ERROR(connection.Call(Methods::kFind, find, &found));
  namespace api = containerd::services::containers::v1;
  api::GetContainerRequest request;
  request.set_id(found.container().id());
  api::GetContainerResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(api::ContainersMethods::kGet, request, &response));
  return std::move(*response.mutable_container());
}

absl::Status StopManaged(const client::Connection& connection, const std::string& id,
                         std::optional<int64_t> seconds, const std::string& signal) {
  life::StopRequest request;
  request.set_id(id);
  if (seconds.has_value()) request.set_timeout(*seconds);
  request.set_signal(signal);
  life::StopResponse response;
  return connection.Call(Methods::kStop, request, &response);
}

absl::Status KillManaged(const client::Connection& connection, const std::string& id,
                         uint32_t signal) {
  life::KillRequest request;
  request.set_id(id);
  request.set_signal(signal);
  google::protobuf::Empty nothing;
  return connection.Call(Methods::kKill, request, &nothing);
}

absl::Status RemoveManaged(const client::Connection& connection, const std::string& id,
                           bool force) {
  life::RemoveRequest request;
  request.set_id(id);
  request.set_force(force);
  google::protobuf::Empty nothing;
  return connection.Call(Methods::kRemove, request, &nothing);
}

absl::Status PauseManaged(const client::Connection& connection, const std::string& id) {
  return Do(connection, Methods::kPause, id);
}

absl::Status ResumeManaged(const client::Connection& connection, const std::string& id) {
  return Do(connection, Methods::kResume, id);
}

absl::Status StartManaged(const client::Connection& connection, const std::string& id) {
  life::StartRequest request;
  request.set_id(id);
  life::StartResponse response;
  return connection.Call(Methods::kStart, request, &response);
}

base::OrderedJson ManagedJson(const life::Container& container) {
  const life::Policy& policy = container.policy();
  const life::State& state = container.state();
  auto time = [](bool set, const google::protobuf::Timestamp& at) {
    return set ? base::FormatRfc3339(base::GetTimestamp(at)) : std::string();
  };
  base::OrderedJson json = {
      {"status", state.status()},
      {"exitCode", state.exit_code()},
      {"error", state.error()},
      {"oomKilled", state.oom_killed()},
      {"startedAt", time(state.has_started_at(), state.started_at())},
      {"finishedAt", time(state.has_finished_at(), state.finished_at())},
      {"restartPolicy", policy.restart().name()},
      {"maximumRetries", policy.restart().maximum_retries()},
      {"restartCount", state.restart_count()},
      {"autoRemove", policy.auto_remove()},
      {"health", state.health()},
      {"networkMode", policy.network_mode()},
      {"volumes", std::vector<std::string>(policy.volumes().begin(), policy.volumes().end())},
      {"directory", state.directory()},
      {"logPath", state.log_path()}};
  json["endpoints"] = base::OrderedJson::array();
  for (const auto& endpoint : state.sandbox().endpoints()) {
    json["endpoints"].push_back({{"network", endpoint.network_name()},
                                 {"interface", endpoint.interface()},
                                 {"ipv4Address", endpoint.ipv4_address()},
                                 {"ipv6Address", endpoint.ipv6_address()},
                                 {"macAddress", endpoint.mac_address()}});
  }
  json["ports"] = base::OrderedJson::array();
  for (const auto& port : state.sandbox().ports()) {
    json["ports"].push_back({{"hostIp", port.host_ip()},
                             {"hostPort", port.host_port()},
                             {"containerPort", port.container_port()},
                             {"protocol", port.protocol()}});
  }
  return json;
}

std::string ManagedStatus(const life::State& state) {
  if (state.status() == "running" && state.health() != "none" && !state.health().empty()) {
    return absl::StrCat("running (", state.health(), ")");
  }
  if (state.status() == "exited" || state.status() == "restarting") {
    return absl::StrCat(state.status(), " (", state.exit_code(), ")");
  }
  return state.status();
}

}  // namespace gantry::ctl
