#include "docker/images/remove_plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::docker {
namespace {

class Planner {
 public:
  Planner(const std::vector<LocalImage>& all, const std::vector<ImageUser>& users,
          const RemoveOptions& options)
      : users_(users), options_(options) {
    for (const LocalImage& image : all) images_[image.id()] = image;
  }

  RemovePlan Run(const base::Digest& id, absl::string_view typed) {
    if (IsIdPrefix(id, typed)) {
      ByIdentity(id);
    } else {
      ByName(id, typed);
    }
    // Whoever lost all of its records and was not deleted stays under a name of its own.
    for (const auto& [other, image] : images_) {
      if (image.names.empty()) plan_.keep.push_back(other);
    }
    return std::move(plan_);
  }

 private:
  struct Conflict {
    bool hard = false;
    bool used = false;
    std::string message;
  };
  enum Check : unsigned { kChild = 1, kRunning = 2, kReference = 4, kStopped = 8 };
  static constexpr unsigned kHard = kChild | kRunning;
  static constexpr unsigned kSoft = kReference | kStopped;

  static bool IsIdPrefix(const base::Digest& id, absl::string_view typed) {
    absl::ConsumePrefix(&typed, "sha256:");
    return !typed.empty() && absl::StartsWith(id.hex(), typed);
  }

  static std::vector<ImageReference> References(const LocalImage& image) {
    std::vector<ImageReference> all = image.tags;
    all.insert(all.end(), image.digests.begin(), image.digests.end());
    return all;
  }

  // At most one tag, and everything within one repository.
  static bool IsSingle(const LocalImage& image) {
    if (image.tags.size() + image.digests.size() <= 1) {
      return image.tags.size() + image.digests.size() == 1;
    }
    if (image.tags.size() > 1) return false;
    std::set<std::string> repositories;
    for (const ImageReference& r : References(image)) repositories.insert(r.Repository());
    return repositories.size() == 1;
  }

  const ImageUser* UserOf(const base::Digest& id, bool running_only, bool stopped_only) const {
    for (const ImageUser& user : users_) {
      if (user.image != id) continue;
      if ((running_only && !user.running) || (stopped_only && user.running)) continue;
      return &user;
    }
    return nullptr;
  }

  std::optional<Conflict> Find(const base::Digest& id, unsigned mask) const {
    if (mask & kChild) {
      for (const auto& [other, image] : images_) {
        if (image.parent == id) return Conflict{true, false, "image has dependent child images"};
      }
    }
    if (mask & kRunning) {
      if (const ImageUser* user = UserOf(id, true, false)) {
        return Conflict{
            true, true,
            absl::StrCat("image is being used by running container ", ShortId(user->container_id))};
      }
    }
    const LocalImage& image = images_.at(id);
    if ((mask & kReference) && !(image.tags.empty() && image.digests.empty())) {
      return Conflict{false, false, "image is referenced in multiple repositories"};
    }
    if (mask & kStopped) {
      if (const ImageUser* user = UserOf(id, false, true)) {
        return Conflict{
            false, true,
            absl::StrCat("image is being used by stopped container ", ShortId(user->container_id))};
      }
    }
    return std::nullopt;
  }

  void Refuse(const base::Digest& id, const Conflict& conflict) {
    plan_.conflict = absl::FailedPreconditionError(absl::StrCat(
        "conflict: unable to delete ", ShortId(id.str()), " (",
        conflict.hard ? "cannot be forced" : "must be forced", ") - ", conflict.message));
  }

  void RemoveReference(const base::Digest& id, const ImageReference& reference) {
    LocalImage& image = images_.at(id);
    auto same = [&](const ImageReference& other) { return other.str() == reference.str(); };
    std::erase_if(image.tags, same);
    std::erase_if(image.digests, same);
    auto recorded = std::find_if(image.names.begin(), image.names.end(), [&](const auto& name) {
      auto parsed = ParseImageReference(name);
      return parsed.ok() && !IsDanglingName(name) &&
             parsed->WithoutTagIfDigested().str() == reference.str();
    });
    if (recorded != image.names.end()) {
      plan_.names.push_back(*recorded);
      image.names.erase(recorded);
    }
    plan_.lines.push_back({false, reference.Familiar()});
    plan_.events.emplace_back("untag", id.str());
  }

  void ByName(const base::Digest& id, absl::string_view typed) {
    const LocalImage& image = images_.at(id);
    if (!options_.force && IsSingle(image)) {
      if (const ImageUser* user = UserOf(id, false, false)) {
        plan_.conflict = absl::FailedPreconditionError(
            absl::StrCat("conflict: unable to remove repository reference \"", typed,
                         "\" (must force) - container ", ShortId(user->container_id),
                         " is using its referenced image ", ShortId(id.str())));
        return;
      }
    }
    auto parsed = ParseImageReference(typed);
    if (!parsed.ok()) {
      plan_.conflict = parsed.status();
      return;
    }
    const ImageReference reference = parsed->WithoutTagIfDigested().WithDefaultTag();
    RemoveReference(id, reference);
    // With the last tag of a repository its digests go, too.
    const std::string repository = reference.Repository();
    auto of_repository = [&](const ImageReference& r) { return r.Repository() == repository; };
    if (reference.digest.empty() &&
        std::none_of(image.tags.begin(), image.tags.end(), of_repository)) {
      for (const ImageReference& digested : std::vector<ImageReference>(image.digests)) {
        if (of_repository(digested)) RemoveReference(id, digested);
      }
    }
    if (!image.tags.empty() || !image.digests.empty()) return;
    Delete(id, options_.force, false);
  }

  void ByIdentity(const base::Digest& id) {
    const LocalImage& image = images_.at(id);
    if (IsSingle(image)) {
      if (auto conflict = Find(id, options_.force ? unsigned{kHard} : kHard | kStopped)) {
        Refuse(id, *conflict);
        return;
      }
      for (const ImageReference& reference : References(image)) RemoveReference(id, reference);
    }
    Delete(id, options_.force, false);
  }

  void Delete(const base::Digest& id, bool force, bool quiet) {
    if (auto conflict = Find(id, force ? unsigned{kHard} : kHard | kSoft)) {
      if (!quiet) Refuse(id, *conflict);
      return;
    }
    LocalImage image = images_.at(id);
    for (const ImageReference& reference : References(image)) RemoveReference(id, reference);
    image = images_.at(id);
    for (const std::string& name : image.names) plan_.names.push_back(name);
    images_.erase(id);
    plan_.lines.push_back({true, id.str()});
    plan_.events.emplace_back("delete", id.str());
    DeleteLayers(*image.content);
    if (options_.prune && images_.contains(image.parent)) Delete(image.parent, false, true);
  }

  void DeleteLayers(const ImageContent& content) {
    std::set<std::string> used;
    for (const auto& [id, image] : images_) {
      used.insert(image.content->chain_ids.begin(), image.content->chain_ids.end());
    }
    for (size_t i = content.chain_ids.size(); i-- > 0;) {
      if (used.contains(content.chain_ids[i])) return;
      plan_.lines.push_back({true, content.chain_ids[i]});
    }
  }

  const std::vector<ImageUser>& users_;
  const RemoveOptions& options_;
  std::map<base::Digest, LocalImage> images_;
  RemovePlan plan_;
};

}  // namespace

RemovePlan PlanRemoval(const std::vector<LocalImage>& all, const std::vector<ImageUser>& users,
                       const LocalImage& target, absl::string_view typed,
                       const RemoveOptions& options) {
  return Planner(all, users, options).Run(target.id(), typed);
}

}  // namespace gantry::docker
