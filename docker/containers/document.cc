#include "docker/containers/document.h"

#include <utility>

#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;

constexpr size_t kLimit = 8u << 20;

absl::Status ReadMount(const Json& json, std::vector<MountPoint>* to) {
  MountPoint mount;
  JsonObject o(json, "MountPoint");
  o.Get("Type", &mount.type);
  o.Get("Name", &mount.name);
  o.Get("Source", &mount.source);
  o.Get("Destination", &mount.destination);
  o.Get("Driver", &mount.driver);
  o.Get("Mode", &mount.mode);
  o.Get("RW", &mount.rw);
  o.Get("Propagation", &mount.propagation);
  o.Get("Anonymous", &mount.anonymous);
  to->push_back(std::move(mount));
  return o.status();
}

}  // namespace

OrderedJson MountPoint::ToJson() const {
  OrderedJson json = {{"Type", type}};
  if (!name.empty()) json["Name"] = name;
  json["Source"] = source;
  json["Destination"] = destination;
  if (!driver.empty()) json["Driver"] = driver;
  json["Mode"] = mode;
  json["RW"] = rw;
  json["Propagation"] = propagation;
  return json;
}

std::string ContainerDocument::Serialize() const {
  OrderedJson list = OrderedJson::array();
  for (const MountPoint& mount : mounts) {
    OrderedJson entry = mount.ToJson();
    if (mount.anonymous) entry["Anonymous"] = true;
    list.push_back(std::move(entry));
  }
  OrderedJson json = {{"Config", config.ToJson()},
                      {"HostConfig", host},
                      {"ImageId", image_id},
                      {"Path", path},
                      {"Args", args},
                      {"Mounts", list},
                      {"Driver", driver},
                      {"ChainId", chain_id}};
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

absl::StatusOr<ContainerDocument> ContainerDocument::Parse(absl::string_view text) {
  auto parsed = base::ParseJson(text, {.bytes = kLimit});
  if (!parsed.ok()) {
    return absl::DataLossError("the record has no readable document of Docker's");
  }
  ContainerDocument document;
  GANTRY_ASSIGN_OR_RETURN(document.config,
                          ContainerConfig::FromJson(base::JsonAt(*parsed, "Config")));
  document.host = CompleteHostConfig(base::JsonAt(*parsed, "HostConfig"));
  JsonObject o(*parsed, "Document");
  o.Get("ImageId", &document.image_id);
  o.Get("Path", &document.path);
  o.Get("Args", &document.args);
  o.Get("Driver", &document.driver);
  o.Get("ChainId", &document.chain_id);
  o.ForEach("Mounts", [&](const Json& item) { return ReadMount(item, &document.mounts); });
  GANTRY_RETURN_IF_ERROR(o.status());
  return document;
}

absl::StatusOr<HostConfig> ContainerDocument::Host() const {
  return HostConfig::FromJson(Json(host));
}

}  // namespace gantry::docker
