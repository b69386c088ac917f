#include "services/metadata/namespace_store.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/ids.h"
#include "base/status.h"
#include "containerd/events/namespace.pb.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/store_util.h"

namespace gantry::services {
namespace {

using Namespace = NamespaceStore::Namespace;

std::string NamespaceKey(absl::string_view name) { return Key({kTableNamespaces, name}); }

// What still lives in the namespace, in containerd's words.
absl::StatusOr<std::vector<std::string>> Contents(const ReadView& view, absl::string_view name) {
  std::vector<std::string> found;
  const std::pair<absl::string_view, absl::string_view> kTables[] = {
      {kTableImages, "images"},       {kTableBlobs, "blobs"}, {kTableContainers, "containers"},
      {kTableSandboxes, "sandboxes"}, {"vol", "volumes"},  // see services/volumes/volume_records.h
  };
  for (const auto& [table, word] : kTables) {
    GANTRY_ASSIGN_OR_RETURN(bool any, view.AnyWith(KeyPrefix({table, name})));
    if (any) found.emplace_back(word);
  }
  std::set<std::string> snapshotters;
  GANTRY_RETURN_IF_ERROR(
      view.Scan(KeyPrefix({kTableSnapshots, name}), [&](absl::string_view rest, absl::string_view) {
        snapshotters.emplace(SplitKey(rest)[0]);
        return true;
      }));
  for (const std::string& snapshotter : snapshotters) {
    found.push_back(absl::StrCat("snapshots on ", Quoted(snapshotter), " snapshotter"));
  }
  return found;
}

absl::Status DeletePrefix(Tx& tx, const std::string& prefix) {
  std::vector<std::string> keys;
  GANTRY_RETURN_IF_ERROR(tx.Scan(prefix, [&](absl::string_view rest, absl::string_view) {
    keys.push_back(absl::StrCat(prefix, rest));
    return true;
  }));
  for (const std::string& key : keys) tx.Delete(key);
  return absl::OkStatus();
}

absl::Status ApplyLabels(const Namespace& from, const std::vector<std::string>& paths,
                         Namespace* to) {
  GANTRY_RETURN_IF_ERROR(ValidateLabels("namespace.Labels", from.labels()));
  if (paths.empty()) {
    *to->mutable_labels() = from.labels();
    DropEmpty(to->mutable_labels());
    return absl::OkStatus();
  }
  for (const std::string& path : paths) {
    std::string key;
    if (!PathKey(path, "labels.", &key)) {
      return absl::InvalidArgumentError(absl::StrCat("cannot update ", Quoted(path), " field"));
    }
    CopyEntry(from.labels(), key, to->mutable_labels());
  }
  return absl::OkStatus();
}

const std::string& EventNamespace(const Context& ctx, const Namespace& ns) {
  return ctx.ns.empty() ? ns.name() : ctx.ns;
}

}  // namespace

absl::Status EnsureNamespace(Tx& tx, absl::string_view ns) {
  GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(NamespaceKey(ns)));
  if (exists) return absl::OkStatus();
  Namespace record;
  record.set_name(std::string(ns));
  tx.PutProto(NamespaceKey(ns), record);
  return absl::OkStatus();
}

absl::StatusOr<Namespace> NamespaceStore::Get(absl::string_view name) const {
  Namespace result;
  result.set_name(std::string(name));
  if (absl::StrContains(name, absl::string_view("\0", 1))) return result;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Namespace> found,
                            view.GetProto<Namespace>(NamespaceKey(name)));
    if (found.has_value()) result = *std::move(found);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<std::vector<Namespace>> NamespaceStore::List() const {
  std::vector<Namespace> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<Namespace>(KeyPrefix({kTableNamespaces}),
                                     [&](absl::string_view, Namespace& ns) {
                                       list.push_back(std::move(ns));
                                       return true;
                                     });
  }));
  return list;
}

absl::StatusOr<Namespace> NamespaceStore::Create(const Context& ctx, const Namespace& ns) {
  GANTRY_RETURN_IF_ERROR(base::ValidateIdentifier(ns.name()));
  Namespace created;
  created.set_name(ns.name());
  GANTRY_RETURN_IF_ERROR(ApplyLabels(ns, {}, &created));
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(NamespaceKey(ns.name())));
    if (exists) return AlreadyExists("namespace", ns.name());
    tx.PutProto(NamespaceKey(ns.name()), created);
    containerd::events::NamespaceCreate event;
    event.set_name(created.name());
    *event.mutable_labels() = created.labels();
    tx.AddEvent(EventNamespace(ctx, ns), "/namespaces/create", event);
    return absl::OkStatus();
  }));
  return created;
}

absl::StatusOr<Namespace> NamespaceStore::Update(const Context& ctx, const Namespace& ns,
                                                 const std::vector<std::string>& paths) {
  GANTRY_RETURN_IF_ERROR(base::ValidateIdentifier(ns.name()));
  Namespace updated;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Namespace> old,
                            tx.GetProto<Namespace>(NamespaceKey(ns.name())));
    if (old.has_value()) updated = *std::move(old);
    updated.set_name(ns.name());
    GANTRY_RETURN_IF_ERROR(ApplyLabels(ns, paths, &updated));
    tx.PutProto(NamespaceKey(ns.name()), updated);
    containerd::events::NamespaceUpdate event;
    event.set_name(ns.name());
    *event.mutable_labels() = ns.labels();
    tx.AddEvent(EventNamespace(ctx, ns), "/namespaces/update", event);
    return absl::OkStatus();
  }));
  return updated;
}

absl::Status NamespaceStore::Delete(absl::string_view name) {
  if (absl::StrContains(name, absl::string_view("\0", 1))) return NotFound("namespace", name);
  return db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> contents, Contents(tx, name));
    if (!contents.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("namespace ", Quoted(name), " must be empty, but it still has ",
                       absl::StrJoin(contents, ", "), ": failed precondition"));
    }
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(NamespaceKey(name)));
    if (!exists) return NotFound("namespace", name);
    tx.Delete(NamespaceKey(name));
    GANTRY_RETURN_IF_ERROR(DeletePrefix(tx, KeyPrefix({kTableLeases, name})));
    GANTRY_RETURN_IF_ERROR(DeletePrefix(tx, KeyPrefix({kTableLeaseResources, name})));
    // Its ingests have lost their lease, if they had one.
    tx.MarkDirty();
    containerd::events::NamespaceDelete event;
    event.set_name(std::string(name));
    tx.AddEvent(name, "/namespaces/delete", event);
    return absl::OkStatus();
  });
}

}  // namespace gantry::services
