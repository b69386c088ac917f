#include "docker/containers/inspect.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "docker/containers/lookup.h"
#include "docker/containers/views.h"

namespace gantry::docker {
namespace {

namespace snapshots = containerd::services::snapshots::v1;
using base::OrderedJson;

// Docker's name for the way in which layers become a file system.
std::string DriverName(const std::string& snapshotter) {
  return snapshotter == "overlayfs" ? "overlay2" : snapshotter;
}

// The directories of an overlay mount, as Docker shows them.
OrderedJson GraphDriver(const Context& context, const FoundContainer& found) {
  OrderedJson data;
  snapshots::MountsRequest request;
  request.set_snapshotter(found.container.snapshotter());
  request.set_key(found.container.snapshot_key());
  snapshots::MountsResponse response;
  if (context.gantryd.Call(snapshots::SnapshotsMethods::kMounts, request, &response).ok()) {
    for (const auto& mount : response.mounts()) {
      for (const std::string& option : mount.options()) {
        std::pair<std::string, std::string> parts = absl::StrSplit(option, absl::MaxSplits('=', 1));
        if (parts.first == "lowerdir") data["LowerDir"] = parts.second;
        if (parts.first == "upperdir") data["UpperDir"] = parts.second;
        if (parts.first == "workdir") data["WorkDir"] = parts.second;
      }
    }
    if (data.is_object()) data["ID"] = found.id();
  }
  return {{"Data", data}, {"Name", DriverName(found.container.snapshotter())}};
}

absl::Status AddSizes(const Context& context, const FoundContainer& found, OrderedJson* json) {
  snapshots::UsageRequest request;
  request.set_snapshotter(found.container.snapshotter());
  request.set_key(found.container.snapshot_key());
  snapshots::UsageResponse usage;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(snapshots::SnapshotsMethods::kUsage, request, &usage));
  (*json)["SizeRw"] = usage.size();
  int64_t image = 0;
  auto local = context.images.Find(found.document.image_id);
  if (local.ok()) image = context.images.Size(*local->content);
  (*json)["SizeRootFs"] = usage.size() + image;
  return absl::OkStatus();
}

OrderedJson MountsJson(const ContainerDocument& document) {
  OrderedJson mounts = OrderedJson::array();
  for (const MountPoint& mount : document.mounts) mounts.push_back(mount.ToJson());
  return mounts;
}

// One of the files in the container's directory, where the container has it.
std::string FileOf(const FoundContainer& found, bool managed, const char* name) {
  if (!managed || found.state().directory().empty()) return "";
  return absl::StrCat(found.state().directory(), "/", name);
}

}  // namespace

absl::Status InspectContainer(const Context& context, ExecRecords& execs,
                              const std::shared_ptr<http::Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context, exchange->Var("name")));
  const auto& policy = found.container.policy();
  const ContainerDocument& document = found.document;
  StringList running = execs.OfContainer(found.id());
  OrderedJson config = document.config.ToJson();
  OrderedJson json = {
      {"Id", found.id()},
      {"Created", base::FormatRfc3339(base::GetTimestamp(found.state().created_at()))},
      {"Path", document.path},
      {"Args", document.args},
      {"State", StateJson(found.state())},
      {"Image", document.image_id},
      {"ResolvConfPath", FileOf(found, policy.manage_resolv_conf(), "resolv.conf")},
      {"HostnamePath", FileOf(found, policy.manage_hostname(), "hostname")},
      {"HostsPath", FileOf(found, policy.manage_hosts(), "hosts")},
      {"LogPath", found.state().log_path()},
      {"Name", absl::StrCat("/", found.name())},
      {"RestartCount", found.state().restart_count()},
      {"Driver", DriverName(found.container.snapshotter())},
      {"Platform", "linux"},
      {"MountLabel", ""},
      {"ProcessLabel", ""},
      {"AppArmorProfile", ""},
      {"ExecIDs", running.empty() ? OrderedJson() : OrderedJson(running)},
      {"HostConfig", document.host},
      {"GraphDriver", GraphDriver(context, found)}};
  if (exchange->query().Bool("size")) {
    GANTRY_RETURN_IF_ERROR(AddSizes(context, found, &json));
  }
  json["Mounts"] = MountsJson(document);
  json["Config"] = std::move(config);
  json["NetworkSettings"] = NetworkSettingsJson(found);
  exchange->ReplyJson(200, json);
  return absl::OkStatus();
}

}  // namespace gantry::docker
