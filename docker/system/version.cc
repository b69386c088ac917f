#include "docker/system/version.h"

#include <sys/utsname.h>

#include <string>

#include "absl/time/time.h"
#include "base/json.h"
#include "base/status.h"
#include "client/image.h"
#include "containerd/services/version/v1/version.methods.h"
#include "containerd/services/version/v1/version.pb.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;

// What `docker build` of the client chooses by: 1 is the classic builder.
constexpr char kBuilderVersion[] = "1";
// Nobody waits longer to learn a version.
constexpr absl::Duration kPatience = absl::Seconds(5);

absl::Status Ping(const std::shared_ptr<Exchange>& exchange) {
  exchange->SetHeader("Builder-Version", kBuilderVersion);
  exchange->SetHeader("Cache-Control", "no-cache, no-store, must-revalidate");
  exchange->SetHeader("Pragma", "no-cache");
  exchange->SetHeader("Swarm", "inactive");
  bool head = exchange->request().method == "HEAD";
  exchange->Reply(200, head ? "" : "OK", "text/plain; charset=utf-8");
  return absl::OkStatus();
}

OrderedJson EngineDetails(const utsname& kernel) {
  return {{"ApiVersion", http::kApiVersion.str()},
          {"Arch", client::MachineArchitecture()},
          {"BuildTime", ""},
          {"Experimental", "false"},
          {"GitCommit", ""},
          {"GoVersion", ""},
          {"KernelVersion", kernel.release},
          {"MinAPIVersion", http::kMinApiVersion.str()},
          {"Os", "linux"}};
}

absl::Status Version(const Context& context, const std::shared_ptr<Exchange>& exchange) {
  utsname kernel{};
  uname(&kernel);
  OrderedJson components = OrderedJson::array();
  components.push_back(
      {{"Name", "Engine"}, {"Version", GANTRY_VERSION}, {"Details", EngineDetails(kernel)}});
  containerd::services::version::v1::VersionResponse supervisor;
  // A version is told also while gantryd is away.
  if (context.gantryd
          .Call(containerd::services::version::v1::VersionMethods::kVersion,
                google::protobuf::Empty(), &supervisor, kPatience)
          .ok()) {
    components.push_back({{"Name", "gantryd"},
                          {"Version", supervisor.version()},
                          {"Details", {{"GitCommit", supervisor.revision()}}}});
  }
  exchange->ReplyJson(200, OrderedJson{{"Platform", {{"Name", "gantry"}}},
                                       {"Components", components},
                                       {"Version", GANTRY_VERSION},
                                       {"ApiVersion", http::kApiVersion.str()},
                                       {"MinAPIVersion", http::kMinApiVersion.str()},
                                       {"GitCommit", ""},
                                       {"GoVersion", ""},
                                       {"Os", "linux"},
                                       {"Arch", client::MachineArchitecture()},
                                       {"KernelVersion", kernel.release},
                                       {"BuildTime", ""}});
  return absl::OkStatus();
}

}  // namespace

void AddVersionRoutes(http::Router& router, const Context& context) {
  router.Add("HEAD", "/_ping", Ping);
  router.Add("GET", "/_ping", Ping);
  router.Add("GET", "/version", [&context](const std::shared_ptr<Exchange>& exchange) {
    return Version(context, exchange);
  });
}

}  // namespace gantry::docker
