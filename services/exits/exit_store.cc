#include "services/exits/exit_store.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using KeptExit = ExitStore::KeptExit;

constexpr char kFile[] = "/exit-record";
constexpr size_t kMaxRecord = 64u << 10;
constexpr size_t kDefaultLimit = 100;
constexpr uint32_t kPruneEvery = 64;

absl::Time ExitedAt(const KeptExit& exit) { return base::GetTimestamp(exit.record().exited_at()); }

// By time within the namespace.
std::string ExitKey(const KeptExit& exit) {
  uint64_t nanos = static_cast<uint64_t>(std::max<int64_t>(absl::ToUnixNanos(ExitedAt(exit)), 0));
  return Key({kTableExits, exit.record().namespace_(), EventKeyNumber(nanos),
              exit.record().container_id()});
}

// How well `typed` names it: 3 the id, 2 the name, 1 the beginning of the id, 0 not at all.
int Match(const KeptExit& exit, const std::string& typed) {
  if (exit.record().container_id() == typed) return 3;
  if (!exit.name().empty() && exit.name() == typed) return 2;
  return absl::StartsWith(exit.record().container_id(), typed) ? 1 : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExitStore>> ExitStore::Open(Deps deps, Options options) {
  std::unique_ptr<ExitStore> store(new ExitStore(std::move(deps), options));
  GANTRY_RETURN_IF_ERROR(store->Prune());
  return store;
}

absl::StatusOr<std::optional<KeptExit>> ExitStore::ReadBundle(const std::string& ns,
                                                              const std::string& id,
                                                              const std::string& bundle) const {
  absl::StatusOr<std::string> bytes = base::ReadFile(bundle + kFile, kMaxRecord);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  GANTRY_RETURN_IF_ERROR(base::Annotate(bytes.status(), "read an exit record"));
  std::optional<KeptExit> exit(std::in_place);
  if (!exit->mutable_record()->ParseFromString(*bytes))
    return absl::DataLossError(absl::StrCat("the exit record in ", bundle, " is damaged"));
  // Whose bundle it is, we know better.
  exit->mutable_record()->set_namespace_(ns);
  exit->mutable_record()->set_container_id(id);
  Names names = deps_.names(ns, id);
  exit->set_name(std::move(names.name));
  exit->set_image(std::move(names.image));
  return exit;
}

absl::Status ExitStore::Keep(const std::string& ns, const std::string& id,
                             const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(std::optional<KeptExit> exit, ReadBundle(ns, id, bundle));
  if (!exit.has_value()) return absl::OkStatus();
  base::SetTimestamp(exit->mutable_kept_at(), absl::Now());
  GANTRY_RETURN_IF_ERROR(deps_.db->Update(Durability::kNone, [&](Tx& tx) {
    tx.PutProto(ExitKey(*exit), *exit);
    return absl::OkStatus();
  }));
  return ++kept_ % kPruneEvery == 0 ? Prune() : absl::OkStatus();
}

absl::StatusOr<std::vector<KeptExit>> ExitStore::List(const Context& ctx,
                                                      const std::string& container,
                                                      size_t limit) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  // A record that is taken over meanwhile is found in both places.
  std::map<std::string, KeptExit> by_key;
  for (const std::string& bundle : deps_.bundles(ctx.ns)) {
    auto exit = ReadBundle(ctx.ns, bundle.substr(bundle.rfind('/') + 1), bundle);
    if (exit.ok() && exit->has_value()) by_key[ExitKey(**exit)] = **std::move(exit);
  }
  GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) {
    return view.ScanProto<KeptExit>(KeyPrefix({kTableExits, ctx.ns}),
                                    [&](absl::string_view, KeptExit& exit) {
                                      std::string key = ExitKey(exit);
                                      by_key[key] = std::move(exit);
                                      return true;
                                    });
  }));
  int best = 0;
  for (const auto& [key, exit] : by_key) best = std::max(best, Match(exit, container));
  if (!container.empty() && best == 0) {
    return absl::NotFoundError(
        absl::StrCat("no end of a container \"", container, "\" is known in namespace ", ctx.ns));
  }
  std::vector<KeptExit> found;
  if (limit == 0) limit = kDefaultLimit;
  for (auto it = by_key.rbegin(); it != by_key.rend() && found.size() < limit; ++it) {
    if (container.empty() || Match(it->second, container) == best) found.push_back(it->second);
  }
  return found;
}

absl::Status ExitStore::Prune() {
  return deps_.db->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    std::vector<std::pair<absl::Time, std::string>> all;  // with the keys
    GANTRY_RETURN_IF_ERROR(tx.ScanProto<KeptExit>(KeyPrefix({kTableExits}),
                                                  [&](absl::string_view, const KeptExit& exit) {
                                                    all.emplace_back(ExitedAt(exit), ExitKey(exit));
                                                    return true;
                                                  }));
    std::sort(all.begin(), all.end());
    absl::Time oldest = absl::Now() - options_.keep_age;
    size_t beyond = all.size() - std::min(all.size(), options_.keep_count);
    for (size_t i = 0; i < all.size(); ++i) {
      if (i < beyond || all[i].first < oldest) tx.Delete(all[i].second);
    }
    return absl::OkStatus();
  });
}

}  // namespace gantry::services
