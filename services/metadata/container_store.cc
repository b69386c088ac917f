#include "services/metadata/container_store.h"

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "containerd/events/container.pb.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/store_util.h"

namespace gantry::services {
namespace {

using Container = ContainerStore::Container;

std::string ContainerKey(const Context& ctx, absl::string_view id) {
  return Key({kTableContainers, ctx.ns, id});
}

absl::Status NotFoundInNamespace(const Context& ctx, absl::string_view id) {
  return absl::NotFoundError(
      absl::StrCat("container ", Quoted(id), " in namespace ", Quoted(ctx.ns), ": not found"));
}

absl::Status Validate(const Container& container) {
  GANTRY_RETURN_IF_ERROR(base::Annotate(base::ValidateIdentifier(container.id()), "container.ID"));
  for (const auto& [key, value] : container.extensions()) {
    if (key.empty()) {
      return InvalidArgument("container.Extension keys must not be zero-length");
    }
  }
  GANTRY_RETURN_IF_ERROR(ValidateLabels("containers.Labels", container.labels()));
  if (container.runtime().name().empty()) {
    return InvalidArgument("container.Runtime.Name must be set");
  }
  if (!container.has_spec()) return InvalidArgument("container.Spec must be set");
  if (!container.snapshot_key().empty() && container.snapshotter().empty()) {
    return InvalidArgument("container.Snapshotter must be set if container.SnapshotKey is set");
  }
  return absl::OkStatus();
}

std::optional<std::string> Field(const Container& container, absl::Span<const std::string> path) {
  const std::string& first = path[0];
  if (first == "id") return IfNotEmpty(container.id());
  if (first == "image") return IfNotEmpty(container.image());
  if (first == "labels") return LookupLabel(container.labels(), path.subspan(1));
  if (first == "runtime" && path.size() > 1 && path[1] == "name") {
    return IfNotEmpty(container.runtime().name());
  }
  return std::nullopt;
}

void CopyExtension(const Container& from, const std::string& key, Container* to) {
  auto it = from.extensions().find(key);
  if (it == from.extensions().end()) {
    to->mutable_extensions()->erase(key);
  } else {
    (*to->mutable_extensions())[key] = it->second;
  }
}

absl::Status ApplyPath(const Container& from, const std::string& path, Container* to) {
  std::string key;
  if (PathKey(path, "labels.", &key)) {
    CopyEntry(from.labels(), key, to->mutable_labels());
  } else if (PathKey(path, "extensions.", &key)) {
    CopyExtension(from, key, to);
  } else if (path == "labels") {
    *to->mutable_labels() = from.labels();
  } else if (path == "extensions") {
    *to->mutable_extensions() = from.extensions();
  } else if (path == "spec") {
    if (from.has_spec()) {
      *to->mutable_spec() = from.spec();
    } else {
      to->clear_spec();
    }
  } else if (path == "image") {
    to->set_image(from.image());
  } else if (path == "snapshotkey") {
    to->set_snapshot_key(from.snapshot_key());
  } else {
    return InvalidArgument(
        absl::StrCat("cannot update ", Quoted(path), " field on ", Quoted(from.id())));
  }
  return absl::OkStatus();
}

// What an update without field mask must not try to change.
absl::Status CheckImmutable(const Container& old, const Container& wanted) {
  if (old.snapshotter() != wanted.snapshotter()) {
    return InvalidArgument("container.Snapshotter field is immutable");
  }
  if (old.runtime().name() != wanted.runtime().name()) {
    return InvalidArgument("container.Runtime.Name field is immutable");
  }
  return absl::OkStatus();
}

absl::StatusOr<Container> Updated(const Container& old, const Container& wanted,
                                  std::vector<std::string> paths) {
  if (paths.empty()) {
    GANTRY_RETURN_IF_ERROR(CheckImmutable(old, wanted));
    paths = {"labels", "spec", "extensions", "image", "snapshotkey"};
  }
  Container updated = old;
  for (const std::string& path : paths) {
    GANTRY_RETURN_IF_ERROR(ApplyPath(wanted, path, &updated));
  }
  GANTRY_RETURN_IF_ERROR(base::Annotate(Validate(updated), "update failed validation"));
  DropEmpty(updated.mutable_labels());
  base::SetTimestamp(updated.mutable_updated_at(), absl::Now());
  return updated;
}

void AddCreateEvent(Tx& tx, const Context& ctx, const Container& container) {
  containerd::events::ContainerCreate event;
  event.set_id(container.id());
  event.set_image(container.image());
  event.mutable_runtime()->set_name(container.runtime().name());
  if (container.runtime().has_options()) {
    *event.mutable_runtime()->mutable_options() = container.runtime().options();
  }
  tx.AddEvent(ctx.ns, "/containers/create", event);
}

void AddUpdateEvent(Tx& tx, const Context& ctx, const Container& container) {
  containerd::events::ContainerUpdate event;
  event.set_id(container.id());
  event.set_image(container.image());
  *event.mutable_labels() = container.labels();
  event.set_snapshot_key(container.snapshot_key());
  tx.AddEvent(ctx.ns, "/containers/update", event);
}

}  // namespace

absl::StatusOr<Container> ContainerStore::Get(const Context& ctx, absl::string_view id) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (!base::ValidateIdentifier(id).ok()) return NotFoundInNamespace(ctx, id);
  Container result;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Container> container,
                            view.GetProto<Container>(ContainerKey(ctx, id)));
    if (!container.has_value()) return NotFoundInNamespace(ctx, id);
    result = *std::move(container);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<std::vector<Container>> ContainerStore::List(
    const Context& ctx, const std::vector<std::string>& filters) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, ParseListFilters(filters));
  std::vector<Container> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<Container>(KeyPrefix({kTableContainers, ctx.ns}),
                                     [&](absl::string_view, Container& container) {
                                       const auto lookup = [&](absl::Span<const std::string> path) {
                                         return Field(container, path);
                                       };
                                       if (filter.Match(lookup))
                                         list.push_back(std::move(container));
                                       return true;
                                     });
  }));
  return list;
}

absl::StatusOr<Container> ContainerStore::Create(const Context& ctx, Container container) {
  GANTRY_RETURN_IF_ERROR(
      db_->Update(Durability::kSync, [&](Tx& tx) { return CreateInTx(tx, ctx, &container); }));
  return container;
}

absl::Status ContainerStore::CreateInTx(Tx& tx, const Context& ctx, Container* container) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(Validate(*container), "create container failed validation"));
  DropEmpty(container->mutable_labels());
  base::SetTimestamp(container->mutable_created_at(), absl::Now());
  *container->mutable_updated_at() = container->created_at();
  const std::string key = ContainerKey(ctx, container->id());
  GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(key));
  if (exists) return AlreadyExists("container", container->id());
  GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ctx.ns));
  tx.PutProto(key, *container);
  AddCreateEvent(tx, ctx, *container);
  return absl::OkStatus();
}

absl::StatusOr<Container> ContainerStore::GetInTx(const ReadView& view, const Context& ctx,
                                                  absl::string_view id) const {
  GANTRY_ASSIGN_OR_RETURN(std::optional<Container> container,
                          view.GetProto<Container>(ContainerKey(ctx, id)));
  if (!container.has_value()) return NotFoundInNamespace(ctx, id);
  return *std::move(container);
}

absl::Status ContainerStore::ReplaceInTx(Tx& tx, const Context& ctx, Container container) const {
  GANTRY_RETURN_IF_ERROR(base::Annotate(Validate(container), "update failed validation"));
  const std::string key = ContainerKey(ctx, container.id());
  GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(key));
  if (!exists) return NotFound("container", container.id());
  DropEmpty(container.mutable_labels());
  base::SetTimestamp(container.mutable_updated_at(), absl::Now());
  tx.PutProto(key, container);
  tx.MarkDirty();
  AddUpdateEvent(tx, ctx, container);
  return absl::OkStatus();
}

absl::StatusOr<Container> ContainerStore::Update(const Context& ctx, const Container& container,
                                                 const std::vector<std::string>& paths) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (container.id().empty()) return InvalidArgument("must specify a container id");
  if (!base::ValidateIdentifier(container.id()).ok()) return NotFound("container", container.id());
  Container updated;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    const std::string key = ContainerKey(ctx, container.id());
    GANTRY_ASSIGN_OR_RETURN(std::optional<Container> old, tx.GetProto<Container>(key));
    if (!old.has_value()) return NotFound("container", container.id());
    GANTRY_ASSIGN_OR_RETURN(updated, Updated(*old, container, paths));
    tx.PutProto(key, updated);
    tx.MarkDirty();
    AddUpdateEvent(tx, ctx, updated);
    return absl::OkStatus();
  }));
  return updated;
}

absl::Status ContainerStore::Delete(const Context& ctx, absl::string_view id) {
  return db_->Update(Durability::kSync, [&](Tx& tx) { return DeleteInTx(tx, ctx, id); });
}

absl::Status ContainerStore::DeleteInTx(Tx& tx, const Context& ctx, absl::string_view id) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  const absl::Status missing = absl::NotFoundError(absl::StrCat("container ", id, ": not found"));
  if (!base::ValidateIdentifier(id).ok()) return missing;
  GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(ContainerKey(ctx, id)));
  if (!exists) return missing;
  tx.Delete(ContainerKey(ctx, id));
  tx.MarkDirty();
  containerd::events::ContainerDelete event;
  event.set_id(std::string(id));
  tx.AddEvent(ctx.ns, "/containers/delete", event);
  return absl::OkStatus();
}

std::vector<std::string> ContainerStore::GcTables() const {
  return {std::string(kTableContainers)};
}

absl::Status ContainerStore::GcVisit(const GcRecord& record, GcVisitor* visitor) const {
  Container container;
  if (record.key.size() != 2 ||
      !container.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
    return absl::DataLossError("a container record cannot be parsed");
  }
  const std::string ns(record.key[0]);
  const GcNode node{GcNode::Type::kContainer, ns, std::string(record.key[1])};
  visitor->Root(node);
  if (!container.snapshotter().empty()) {
    visitor->Edge(node, GcSnapshotNode(ns, container.snapshotter(), container.snapshot_key()));
  }
  GcVisitLabels(node, container.labels(), visitor);
  return absl::OkStatus();
}

absl::Status ContainerStore::GcRemove(Tx&, const std::vector<GcNode>& nodes) {
  if (nodes.empty()) return absl::OkStatus();
  return absl::InternalError("containers are never garbage");
}

void ContainerStore::GcReclaim(const std::vector<GcNode>&) {}

}  // namespace gantry::services
