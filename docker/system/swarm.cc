#include "docker/system/swarm.h"

#include "absl/strings/str_cat.h"
#include "base/json.h"

namespace gantry::docker {
namespace {

using ExchangePtr = std::shared_ptr<http::Exchange>;

constexpr char kSwarmNote[] = "as an engine that is no swarm member answers";
constexpr char kPluginNote[] = "as an engine without plugins answers";

absl::Status NotAManager(const ExchangePtr&) {
  return absl::UnavailableError(
      "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
      "connect this node to swarm and try again.");
}

absl::Status NotAMember(const ExchangePtr&) {
  return absl::UnavailableError("This node is not part of a swarm");
}

absl::Status NoSwarms(const ExchangePtr&) {
  return absl::UnimplementedError(
      "swarm mode is not supported by gantry: this engine runs the containers of one machine");
}

absl::Status NoPlugin(const ExchangePtr& exchange) {
  return absl::NotFoundError(absl::StrCat("plugin \"", exchange->Var("name"), "\" not found"));
}

absl::Status NoPlugins(const ExchangePtr&) {
  return absl::UnimplementedError("plugins are not supported by gantry");
}

absl::Status NoBuild(const ExchangePtr&) {
  return absl::UnimplementedError(
      "building images is not supported by this version of gantry: it comes with a later one; "
      "build "
      "elsewhere and use docker load, docker import or docker pull");
}

}  // namespace

void AddAbsentRoutes(http::Router& router) {
  auto swarm = [&](const char* method, const char* pattern) {
    router.Add(method, pattern, NotAManager, kSwarmNote);
  };
  swarm("GET", "/swarm");
  swarm("GET", "/swarm/unlockkey");
  swarm("POST", "/swarm/update");
  swarm("POST", "/swarm/unlock");
  router.Add("POST", "/swarm/init", NoSwarms, "501: one machine only");
  router.Add("POST", "/swarm/join", NoSwarms, "501: one machine only");
  router.Add("POST", "/swarm/leave", NotAMember, kSwarmNote);
  for (const char* kind : {"services", "secrets", "configs"}) {
    swarm("GET", absl::StrCat("/", kind).c_str());
    swarm("POST", absl::StrCat("/", kind, "/create").c_str());
    swarm("GET", absl::StrCat("/", kind, "/{name}").c_str());
    swarm("DELETE", absl::StrCat("/", kind, "/{name}").c_str());
    swarm("POST", absl::StrCat("/", kind, "/{name}/update").c_str());
  }
  swarm("GET", "/services/{name}/logs");
  swarm("GET", "/nodes");
  swarm("GET", "/nodes/{name}");
  swarm("DELETE", "/nodes/{name}");
  swarm("POST", "/nodes/{name}/update");
  swarm("GET", "/tasks");
  swarm("GET", "/tasks/{name}");
  swarm("GET", "/tasks/{name}/logs");

  router.Add(
      "GET", "/plugins",
      [](const ExchangePtr& exchange) {
        exchange->ReplyJson(200, base::OrderedJson::array());
        return absl::OkStatus();
      },
      kPluginNote);
  router.Add("GET", "/plugins/privileges", NoPlugins, "501");
  router.Add("POST", "/plugins/pull", NoPlugins, "501");
  router.Add("POST", "/plugins/create", NoPlugins, "501");
  router.Add("GET", "/plugins/{name:.*}/json", NoPlugin, kPluginNote);
  router.Add("DELETE", "/plugins/{name:.*}", NoPlugin, kPluginNote);
  for (const char* action : {"enable", "disable", "upgrade", "push", "set"}) {
    router.Add("POST", absl::StrCat("/plugins/{name:.*}/", action), NoPlugin, kPluginNote);
  }

  for (const char* path : {"/build", "/session", "/build/cancel", "/grpc"}) {
    router.Add("POST", path, NoBuild, "501: comes with a later version");
  }
  // `docker system prune` asks for it: there is no cache, so nothing is removed.
  router.Add("POST", "/build/prune", [](const ExchangePtr& exchange) {
    exchange->ReplyJson(200, base::OrderedJson{{"CachesDeleted", nullptr}, {"SpaceReclaimed", 0}});
    return absl::OkStatus();
  });
}

}  // namespace gantry::docker
