// GET /images/json, /images/{name}/json, /images/{name}/history.

#include <map>

#include "base/status.h"
#include "docker/images/image_api.h"
#include "docker/images/image_json.h"
#include "docker/system/filters.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;

ImageJsonOptions JsonOptions(const Exchange& exchange) {
  return {.minor_version = exchange.request().version.minor};
}

// How much of each image others have, too.
std::map<base::Digest, int64_t> SharedSizes(ImageStore* store, const std::vector<LocalImage>& all) {
  std::map<std::string, int> uses;
  for (const LocalImage& image : all) {
    for (const std::string& chain : image.content->chain_ids) ++uses[chain];
  }
  std::map<base::Digest, int64_t> shared;
  for (const LocalImage& image : all) {
    const std::vector<int64_t> sizes = store->LayerSizes(*image.content);
    int64_t sum = 0;
    for (size_t i = 0; i < sizes.size() && i < image.content->chain_ids.size(); ++i) {
      if (uses[image.content->chain_ids[i]] > 1) sum += sizes[i];
    }
    shared[image.id()] = sum;
  }
  return shared;
}

// The manifest that is here, as API 1.47 lists them.
OrderedJson Manifests(const LocalImage& image, int64_t size) {
  int64_t content_size = image.content->config_size;
  for (const client::Descriptor& layer : image.content->layers) content_size += layer.size;
  const Platform& platform = image.content->platform;
  OrderedJson entry = {
      {"ID", image.content->manifest.str()},
      {"Descriptor",
       {{"mediaType", image.target.media_type},
        {"digest", image.content->manifest.str()},
        {"size", image.target.size}}},
      {"Available", true},
      {"Kind", "image"},
      {"Size", {{"Content", content_size}, {"Total", content_size + size}}},
      {"ImageData",
       {{"Platform", {{"architecture", platform.architecture}, {"os", platform.os}}},
        {"Containers", OrderedJson::array()},
        {"Size", {{"Unpacked", size}}}}}};
  return OrderedJson::array({entry});
}

absl::Status List(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters, Filters::Parse(exchange->query().Get("filters"),
                                                          {"dangling", "label", "label!", "before",
                                                           "since", "reference", "until"}));
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  std::map<base::Digest, int64_t> shared;
  const bool with_shared = exchange->query().Bool("shared-size");
  if (with_shared) shared = SharedSizes(&api->store, all);
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> kept,
                          FilterImages(all, filters, exchange->query().Bool("all"), absl::Now()));
  OrderedJson out = OrderedJson::array();
  for (const LocalImage& image : kept) {
    const int64_t size = api->store.Size(*image.content);
    OrderedJson line = ImageSummary(image, size, -1, with_shared ? shared[image.id()] : -1,
                                    JsonOptions(*exchange));
    if (exchange->query().Bool("manifests")) line["Manifests"] = Manifests(image, size);
    out.push_back(std::move(line));
  }
  exchange->ReplyJson(200, out);
  return absl::OkStatus();
}

absl::Status Inspect(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(LocalImage image, api->store.Find(exchange->Var("name")));
  const int64_t size = api->store.Size(*image.content);
  OrderedJson json = ImageInspect(image, size, api->store.snapshotter(), JsonOptions(*exchange));
  if (exchange->query().Bool("manifests")) json["Manifests"] = Manifests(image, size);
  exchange->ReplyJson(200, json);
  return absl::OkStatus();
}

absl::Status History(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(LocalImage image, api->store.Find(exchange->Var("name")));
  exchange->ReplyJson(200, ImageHistory(image, api->store.LayerSizes(*image.content)));
  return absl::OkStatus();
}

}  // namespace

void AddImageQueryRoutes(http::Router& router, const ImageApiPtr& api) {
  router.Add("GET", "/images/json", [api](const auto& exchange) { return List(api, exchange); });
  router.Add("GET", "/images/{name:.*}/json",
             [api](const auto& exchange) { return Inspect(api, exchange); });
  router.Add("GET", "/images/{name:.*}/history",
             [api](const auto& exchange) { return History(api, exchange); });
}

}  // namespace gantry::docker
