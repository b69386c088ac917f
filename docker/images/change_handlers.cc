// POST /images/{name}/tag, DELETE /images/{name}, POST /images/prune.

#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "docker/images/image_api.h"
#include "docker/images/image_json.h"
#include "docker/system/filters.h"
#include "docker/system/publish.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;

std::map<std::string, std::string> RecordLabels(const LocalImage& image) {
  if (image.parent.empty()) return {};
  return {{kParentLabel, image.parent.str()}};
}

absl::Status TagImage(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  std::string typed = exchange->query().Get("repo");
  const std::string& tag = exchange->query().Get("tag");
  GANTRY_ASSIGN_OR_RETURN(ImageReference reference, ParseImageReference(typed));
  if (!reference.digest.empty()) {
    return absl::InvalidArgumentError("refusing to create a tag with a digest reference");
  }
  if (reference.FamiliarRepository() == "sha256") {
    return absl::InvalidArgumentError(
        "refusing to create an ambiguous tag using digest algorithm as name");
  }
  if (!tag.empty()) {
    GANTRY_RETURN_IF_ERROR(CheckTag(tag));
    reference.tag = tag;
  }
  reference = reference.WithDefaultTag();
  GANTRY_ASSIGN_OR_RETURN(LocalImage image, api->store.Find(exchange->Var("name")));
  GANTRY_RETURN_IF_ERROR(api->store.Tag(reference.str(), image.target, RecordLabels(image)));
  api->Publish("tag", image.id().str(), reference.Familiar(), image.content.get());
  exchange->ReplyEmpty(201);
  return absl::OkStatus();
}

// Images that stay without a name get one that shows nowhere, before they lose the last.
absl::Status Apply(const ImageApiPtr& api, const std::vector<LocalImage>& all,
                   const RemovePlan& plan) {
  for (const base::Digest& id : plan.keep) {
    for (const LocalImage& image : all) {
      if (image.id() != id) continue;
      GANTRY_RETURN_IF_ERROR(
          api->store.Tag(DanglingName(image.target.digest), image.target, RecordLabels(image)));
    }
  }
  for (size_t i = 0; i < plan.names.size(); ++i) {
    // The space is given back with the last of them.
    GANTRY_RETURN_IF_ERROR(api->store.DeleteName(plan.names[i], i + 1 == plan.names.size()));
  }
  for (const auto& [action, id] : plan.events) {
    const ImageContent* content = nullptr;
    for (const LocalImage& image : all) {
      if (image.id().str() == id) content = image.content.get();
    }
    api->Publish(action, id, id, content);
  }
  return absl::OkStatus();
}

OrderedJson Lines(const RemovePlan& plan) {
  OrderedJson out = OrderedJson::array();
  for (const RemovePlan::Line& line : plan.lines) {
    out.push_back({{line.deleted ? "Deleted" : "Untagged", line.what}});
  }
  return out;
}

absl::Status Remove(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string& typed = exchange->Var("name");
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  GANTRY_ASSIGN_OR_RETURN(LocalImage target, FindAmong(all, typed));
  GANTRY_ASSIGN_OR_RETURN(std::vector<ImageUser> users, api->Users());
  RemovePlan plan = PlanRemoval(
      all, users, target, typed,
      {.force = exchange->query().Bool("force"), .prune = !exchange->query().Bool("noprune")});
  GANTRY_RETURN_IF_ERROR(Apply(api, all, plan));
  GANTRY_RETURN_IF_ERROR(plan.conflict);
  exchange->ReplyJson(200, Lines(plan));
  return absl::OkStatus();
}

// The bytes of layers that nobody has after the plan.
int64_t Reclaimed(ImageStore* store, const std::vector<LocalImage>& all, const RemovePlan& plan) {
  std::set<std::string> gone;
  for (const RemovePlan::Line& line : plan.lines) {
    if (line.deleted) gone.insert(line.what);
  }
  int64_t sum = 0;
  for (const LocalImage& image : all) {
    if (!gone.contains(image.id().str())) continue;
    const std::vector<int64_t> sizes = store->LayerSizes(*image.content);
    for (size_t i = 0; i < sizes.size() && i < image.content->chain_ids.size(); ++i) {
      if (gone.erase(image.content->chain_ids[i]) > 0) sum += sizes[i];
    }
  }
  return sum;
}

absl::Status Prune(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(
      Filters filters,
      Filters::Parse(exchange->query().Get("filters"), {"dangling", "label", "label!", "until"}));
  GANTRY_ASSIGN_OR_RETURN(const bool only_dangling, filters.Bool("dangling", true));
  absl::Time until = absl::InfiniteFuture();
  for (const std::string& moment : filters.Get("until")) {
    GANTRY_ASSIGN_OR_RETURN(until, ParseMoment(moment, absl::Now()));
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  GANTRY_ASSIGN_OR_RETURN(std::vector<ImageUser> users, api->Users());
  OrderedJson deleted = OrderedJson::array();
  int64_t reclaimed = 0;
  for (const LocalImage& image : std::vector<LocalImage>(all)) {
    if (only_dangling && !image.tags.empty()) continue;
    if (image.content->created >= until) continue;
    if (!filters.MatchLabels(ImageLabels(*image.content))) continue;
    RemovePlan plan;
    bool conflict = false;
    // By name while it has any, so that several repositories are no conflict.
    std::vector<LocalImage> left = all;
    for (const LocalImage& user_image : all) conflict |= user_image.parent == image.id();
    for (const ImageUser& user : users) conflict |= user.image == image.id();
    if (conflict) continue;
    plan = PlanRemoval(left, users, image, image.id().str(), {.force = true});
    if (!plan.conflict.ok()) continue;
    reclaimed += Reclaimed(&api->store, all, plan);
    GANTRY_RETURN_IF_ERROR(Apply(api, all, plan));
    for (OrderedJson& line : Lines(plan)) deleted.push_back(std::move(line));
    GANTRY_ASSIGN_OR_RETURN(all, api->store.List());
  }
  PublishEvent(api->context.gantryd, "image", "prune", "",
               {{"reclaimed", absl::StrCat(reclaimed)}});
  exchange->ReplyJson(200, OrderedJson{{"ImagesDeleted", deleted.empty() ? OrderedJson() : deleted},
                                       {"SpaceReclaimed", reclaimed}});
  return absl::OkStatus();
}

}  // namespace

void AddImageChangeRoutes(http::Router& router, const ImageApiPtr& api) {
  router.Add("POST", "/images/{name:.*}/tag",
             [api](const auto& exchange) { return TagImage(api, exchange); });
  router.Add("POST", "/images/prune", [api](const auto& exchange) { return Prune(api, exchange); });
  router.Add("DELETE", "/images/{name:.*}",
             [api](const auto& exchange) { return Remove(api, exchange); });
}

}  // namespace gantry::docker
