#include "docker/system/disk_usage.h"

#include <memory>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "docker/containers/document.h"
#include "docker/containers/views.h"
#include "docker/images/image_json.h"
#include "docker/images/image_store.h"
#include "docker/volumes/volume_json.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/volumes/v1/volumes.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
namespace snapshots = containerd::services::snapshots::v1;
namespace volumes = gantry::services::volumes::v1;
using base::OrderedJson;
using ExchangePtr = std::shared_ptr<http::Exchange>;

class DiskUsage {
 public:
  DiskUsage(const Context& context, int minor_version) : context_(context), minor_(minor_version) {}

  absl::Status ListContainers() {
    lifecycle::ListRequest request;
    request.set_all(true);
    request.add_extensions(kDocumentExtension);
    return context_.gantryd.Call(lifecycle::LifecycleMethods::kList, request, &containers_);
  }

  absl::StatusOr<OrderedJson> Images(int64_t* layers_size) {
    ImageStore& store = context_.images;
    GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, store.List());
    std::map<std::string, int> uses;
    std::map<std::string, int64_t> sizes;
    for (const LocalImage& image : all) {
      const std::vector<int64_t> layers = store.LayerSizes(*image.content);
      for (size_t i = 0; i < layers.size() && i < image.content->chain_ids.size(); ++i) {
        ++uses[image.content->chain_ids[i]];
        sizes[image.content->chain_ids[i]] = layers[i];
      }
    }
    for (const auto& [chain, size] : sizes) *layers_size += size;
    std::map<std::string, int64_t> users;
    for (const auto& item : containers_.containers()) ++users[DocumentOf(item).image_id];
    OrderedJson out = OrderedJson::array();
    for (const LocalImage& image : all) {
      int64_t total = 0;
      int64_t shared = 0;
      for (const std::string& chain : image.content->chain_ids) {
        total += sizes[chain];
        if (uses[chain] > 1) shared += sizes[chain];
      }
      out.push_back(
          ImageSummary(image, total, users[image.id().str()], shared, {.minor_version = minor_}));
    }
    return out;
  }

  OrderedJson Containers() {
    OrderedJson out = OrderedJson::array();
    for (const auto& item : containers_.containers()) {
      const lifecycle::Container& container = item.container();
      const ContainerDocument document = DocumentOf(item);
      OrderedJson mounts = OrderedJson::array();
      for (const MountPoint& mount : document.mounts) mounts.push_back(mount.ToJson());
      std::string command = document.path;
      for (const std::string& argument : document.args) absl::StrAppend(&command, " ", argument);
      const int64_t own = OwnSize(container);
      out.push_back({{"Id", container.id()},
                     {"Names", {absl::StrCat("/", container.policy().name())}},
                     {"Image", document.config.image},
                     {"ImageID", document.image_id},
                     {"Command", command},
                     {"Created", container.state().created_at().seconds()},
                     {"Ports", OrderedJson::array()},
                     {"SizeRw", own},
                     {"SizeRootFs", own},
                     {"Labels", document.config.labels},
                     {"State", container.state().status()},
                     {"Status", StatusText(container.state(), absl::Now())},
                     {"HostConfig", {{"NetworkMode", container.policy().network_mode()}}},
                     {"NetworkSettings", nullptr},
                     {"Mounts", mounts}});
    }
    return out;
  }

  absl::StatusOr<OrderedJson> Volumes() {
    volumes::ListVolumesRequest request;
    request.set_with_usage(true);
    volumes::ListVolumesResponse response;
    GANTRY_RETURN_IF_ERROR(
        context_.gantryd.Call(volumes::VolumesMethods::kList, request, &response));
    OrderedJson out = OrderedJson::array();
    for (const auto& info : response.volumes()) out.push_back(VolumeJson(info, true));
    return out;
  }

 private:
  static ContainerDocument DocumentOf(const lifecycle::ListResponse::Item& item) {
    auto found = item.extensions().find(kDocumentExtension);
    if (found == item.extensions().end()) return {};
    auto document = ContainerDocument::Parse(found->second);
    return document.ok() ? *std::move(document) : ContainerDocument();
  }

  int64_t OwnSize(const lifecycle::Container& container) {
    snapshots::UsageRequest request;
    request.set_snapshotter(container.snapshotter());
    request.set_key(container.snapshot_key());
    snapshots::UsageResponse response;
    absl::Status status =
        context_.gantryd.Call(snapshots::SnapshotsMethods::kUsage, request, &response);
    return status.ok() ? response.size() : 0;
  }

  const Context& context_;
  const int minor_;
  lifecycle::ListResponse containers_;
};

absl::Status Report(const Context& context, const ExchangePtr& exchange) {
  const std::vector<std::string> given = exchange->query().All("type");
  std::set<std::string> types(given.begin(), given.end());
  for (const std::string& type : types) {
    if (type != "container" && type != "image" && type != "volume" && type != "build-cache") {
      return absl::InvalidArgumentError(absl::StrCat("unknown object type: ", type));
    }
  }
  auto wanted = [&](const char* type) { return types.empty() || types.contains(type); };
  DiskUsage usage(context, exchange->request().version.minor);
  GANTRY_RETURN_IF_ERROR(usage.ListContainers());
  OrderedJson out;
  out["LayersSize"] = 0;
  out["Images"] = out["Containers"] = out["Volumes"] = nullptr;
  if (wanted("image")) {
    int64_t layers = 0;
    GANTRY_ASSIGN_OR_RETURN(out["Images"], usage.Images(&layers));
    out["LayersSize"] = layers;
  }
  if (wanted("container")) out["Containers"] = usage.Containers();
  if (wanted("volume")) {
    GANTRY_ASSIGN_OR_RETURN(out["Volumes"], usage.Volumes());
  }
  out["BuildCache"] = wanted("build-cache") ? OrderedJson::array() : OrderedJson();
  if (exchange->request().version.minor < 42) out["BuilderSize"] = 0;
  exchange->ReplyJson(200, out);
  return absl::OkStatus();
}

}  // namespace

void AddDiskUsageRoutes(http::Router& router, const Context& context) {
  router.Add("GET", "/system/df",
             [&context](const ExchangePtr& exchange) { return Report(context, exchange); });
}

}  // namespace gantry::docker
