#include "docker/volumes/routes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "docker/system/filters.h"
#include "docker/system/publish.h"
#include "docker/volumes/volume_json.h"
#include "gantry/services/volumes/v1/volumes.methods.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::volumes::v1;
using api::VolumesMethods;
using base::OrderedJson;
using ExchangePtr = std::shared_ptr<http::Exchange>;

constexpr char kAnonymous[] = "com.docker.volume.anonymous";

absl::Status NoSuchVolume(const absl::Status& status, const std::string& name) {
  if (!absl::IsNotFound(status)) return status;
  return absl::NotFoundError(absl::StrCat("get ", name, ": no such volume"));
}

absl::StatusOr<std::vector<api::VolumeInfo>> ListMatching(const Context& context,
                                                          const Filters& filters, bool with_usage) {
  api::ListVolumesRequest request;
  request.set_with_usage(with_usage);
  api::ListVolumesResponse response;
  GANTRY_RETURN_IF_ERROR(context.gantryd.Call(VolumesMethods::kList, request, &response));
  std::vector<api::VolumeInfo> out;
  for (const api::VolumeInfo& info : response.volumes()) {
    GANTRY_ASSIGN_OR_RETURN(const bool matches, VolumeMatches(info, filters));
    if (matches) out.push_back(info);
  }
  std::sort(out.begin(), out.end(),
            [](const auto& a, const auto& b) { return a.volume().name() < b.volume().name(); });
  return out;
}

absl::Status List(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters,
                          Filters::Parse(exchange->query().Get("filters"),
                                         {"dangling", "driver", "label", "label!", "name"}));
  GANTRY_ASSIGN_OR_RETURN(std::vector<api::VolumeInfo> volumes,
                          ListMatching(context, filters, false));
  OrderedJson list = OrderedJson::array();
  for (const api::VolumeInfo& info : volumes) list.push_back(VolumeJson(info, false));
  exchange->ReplyJson(200, OrderedJson{{"Volumes", list}, {"Warnings", nullptr}});
  return absl::OkStatus();
}

absl::Status Create(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(base::Json body, exchange->ReadJson());
  api::CreateVolumeRequest request;
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_volume(), VolumeFromJson(body));
  api::CreateVolumeResponse response;
  GANTRY_RETURN_IF_ERROR(context.gantryd.Call(VolumesMethods::kCreate, request, &response));
  api::VolumeInfo info;
  *info.mutable_volume() = response.volume();
  exchange->ReplyJson(201, VolumeJson(info, false));
  return absl::OkStatus();
}

absl::Status Inspect(const Context& context, const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  api::GetVolumeRequest request;
  request.set_name(name);
  api::GetVolumeResponse response;
  GANTRY_RETURN_IF_ERROR(
      NoSuchVolume(context.gantryd.Call(VolumesMethods::kGet, request, &response), name));
  exchange->ReplyJson(200, VolumeJson(response.volume(), false));
  return absl::OkStatus();
}

absl::Status Remove(const Context& context, const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  api::DeleteVolumeRequest request;
  request.set_name(name);
  request.set_force(exchange->query().Bool("force"));
  google::protobuf::Empty nothing;
  absl::Status status = context.gantryd.Call(VolumesMethods::kDelete, request, &nothing);
  if (absl::IsFailedPrecondition(status)) {
    return absl::FailedPreconditionError(absl::StrCat("remove ", name, ": ", status.message()));
  }
  GANTRY_RETURN_IF_ERROR(NoSuchVolume(status, name));
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

// Since API 1.42 only anonymous ones, unless "all" is asked for.
absl::Status Prune(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters, Filters::Parse(exchange->query().Get("filters"),
                                                          {"all", "label", "label!"}));
  GANTRY_ASSIGN_OR_RETURN(bool all, filters.Bool("all", exchange->request().version.minor < 42));
  GANTRY_ASSIGN_OR_RETURN(std::vector<api::VolumeInfo> volumes,
                          ListMatching(context, filters, true));
  OrderedJson deleted = OrderedJson::array();
  int64_t reclaimed = 0;
  for (const api::VolumeInfo& info : volumes) {
    const api::Volume& volume = info.volume();
    const bool anonymous = volume.anonymous() || volume.labels().contains(kAnonymous);
    if (!info.containers().empty() || !(all || anonymous)) continue;
    api::DeleteVolumeRequest request;
    request.set_name(volume.name());
    google::protobuf::Empty nothing;
    // One that was taken meanwhile stays.
    if (!context.gantryd.Call(VolumesMethods::kDelete, request, &nothing).ok()) continue;
    deleted.push_back(volume.name());
    reclaimed += std::max<int64_t>(info.usage().size(), 0);
  }
  PublishEvent(context.gantryd, "volume", "prune", "", {{"reclaimed", absl::StrCat(reclaimed)}});
  exchange->ReplyJson(200,
                      OrderedJson{{"VolumesDeleted", deleted.empty() ? OrderedJson() : deleted},
                                  {"SpaceReclaimed", reclaimed}});
  return absl::OkStatus();
}

}  // namespace

void AddVolumeRoutes(http::Router& router, const Context& context) {
  using Function = absl::Status (*)(const Context&, const ExchangePtr&);
  auto add = [&](const char* method, const char* pattern, Function function) {
    router.Add(method, pattern, [&context, function](const ExchangePtr& exchange) {
      return function(context, exchange);
    });
  };
  add("GET", "/volumes", List);
  add("POST", "/volumes/create", Create);
  add("POST", "/volumes/prune", Prune);
  add("GET", "/volumes/{name:.*}", Inspect);
  add("DELETE", "/volumes/{name:.*}", Remove);
  router.Add(
      "PUT", "/volumes/{name:.*}",
      [](const ExchangePtr&) -> absl::Status {
        return absl::UnavailableError(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" "
            "to connect this node to swarm and try again.");
      },
      "as an engine that is no swarm member answers");
}

}  // namespace gantry::docker
