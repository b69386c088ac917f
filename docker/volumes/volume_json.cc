#include "docker/volumes/volume_json.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

namespace api = gantry::services::volumes::v1;
using base::Json;
using base::OrderedJson;

absl::Status ReadMap(const Json& body, const char* key,
                     google::protobuf::Map<std::string, std::string>* to) {
  const Json& map = base::JsonAt(body, key);
  if (map.is_null()) return absl::OkStatus();
  if (!map.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid JSON: ", key, " must be an object"));
  }
  for (const auto& [name, value] : map.items()) {
    if (!value.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid JSON: ", key, ".", name, " must be a string"));
    }
    (*to)[name] = value.get<std::string>();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadString(const Json& body, const char* key) {
  const Json& value = base::JsonAt(body, key);
  if (value.is_null()) return std::string();
  if (!value.is_string()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid JSON: ", key, " must be a string"));
  }
  return value.get<std::string>();
}

}  // namespace

OrderedJson VolumeJson(const api::VolumeInfo& info, bool with_usage) {
  const api::Volume& volume = info.volume();
  OrderedJson out;
  // In seconds, as Docker reads it from the file system.
  out["CreatedAt"] = base::FormatRfc3339Fixed(base::GetTimestamp(volume.created_at()), 0);
  out["Driver"] = volume.driver().empty() ? "local" : volume.driver();
  out["Labels"] = volume.labels().empty() ? OrderedJson() : OrderedJson(ToMap(volume.labels()));
  out["Mountpoint"] = volume.mountpoint();
  out["Name"] = volume.name();
  out["Options"] = volume.options().empty() ? OrderedJson() : OrderedJson(ToMap(volume.options()));
  out["Scope"] = "local";
  if (with_usage) {
    out["UsageData"] = {{"RefCount", static_cast<int64_t>(info.containers_size())},
                        {"Size", info.has_usage() ? info.usage().size() : -1}};
  }
  return out;
}

absl::StatusOr<bool> VolumeMatches(const api::VolumeInfo& info, const Filters& filters) {
  const api::Volume& volume = info.volume();
  GANTRY_ASSIGN_OR_RETURN(const bool dangling, filters.Bool("dangling", false));
  if (filters.Has("dangling") && dangling != info.containers().empty()) return false;
  bool named = !filters.Has("name");
  for (const std::string& part : filters.Get("name"))
    named |= absl::StrContains(volume.name(), part);
  return named && filters.Matches("driver", volume.driver().empty() ? "local" : volume.driver()) &&
         filters.MatchLabels(ToMap(volume.labels()));
}

absl::StatusOr<api::Volume> VolumeFromJson(const Json& body) {
  if (!body.is_null() && !body.is_object()) {
    return absl::InvalidArgumentError("invalid JSON: an object is expected");
  }
  api::Volume volume;
  GANTRY_ASSIGN_OR_RETURN(*volume.mutable_name(), ReadString(body, "Name"));
  GANTRY_ASSIGN_OR_RETURN(*volume.mutable_driver(), ReadString(body, "Driver"));
  if (volume.driver().empty()) volume.set_driver("local");
  if (volume.driver() != "local") {
    return absl::NotFoundError(absl::StrCat("create ", volume.name(),
                                            ": error looking up volume "
                                            "plugin ",
                                            volume.driver(), ": plugin \"", volume.driver(),
                                            "\" not found"));
  }
  GANTRY_RETURN_IF_ERROR(ReadMap(body, "DriverOpts", volume.mutable_options()));
  GANTRY_RETURN_IF_ERROR(ReadMap(body, "Labels", volume.mutable_labels()));
  if (base::JsonAt(body, "ClusterVolumeSpec").is_object()) {
    return absl::UnavailableError(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
        "connect this node to swarm and try again.");
  }
  return volume;
}

}  // namespace gantry::docker
