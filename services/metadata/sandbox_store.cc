#include "services/metadata/sandbox_store.h"

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/store_util.h"

namespace gantry::services {
namespace {

using Sandbox = SandboxStore::Sandbox;

std::string SandboxKey(const Context& ctx, absl::string_view id) {
  return Key({kTableSandboxes, ctx.ns, id});
}

absl::Status Validate(const Sandbox& sandbox) {
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(base::ValidateIdentifier(sandbox.sandbox_id()), "invalid sandbox ID"));
  return ValidateLabels("sandbox.Labels", sandbox.labels());
}

std::optional<std::string> Field(const Sandbox& sandbox, absl::Span<const std::string> path) {
  const std::string& first = path[0];
  if (first == "id") return sandbox.sandbox_id();
  if (first == "sandboxer") return IfNotEmpty(sandbox.sandboxer());
  if (first == "labels") return LookupLabel(sandbox.labels(), path.subspan(1));
  if (first == "runtime" && path.size() > 1 && path[1] == "name") {
    return IfNotEmpty(sandbox.runtime().name());
  }
  return std::nullopt;
}

absl::Status ApplyPath(const Sandbox& from, const std::string& path, Sandbox* to) {
  std::string key;
  if (PathKey(path, "labels.", &key)) {
    CopyEntry(from.labels(), key, to->mutable_labels());
  } else if (PathKey(path, "extensions.", &key)) {
    auto it = from.extensions().find(key);
    if (it == from.extensions().end()) {
      to->mutable_extensions()->erase(key);
    } else {
      (*to->mutable_extensions())[key] = it->second;
    }
  } else if (path == "labels") {
    *to->mutable_labels() = from.labels();
  } else if (path == "extensions") {
    *to->mutable_extensions() = from.extensions();
  } else if (path == "runtime") {
    *to->mutable_runtime() = from.runtime();
  } else if (path == "spec") {
    if (from.has_spec()) {
      *to->mutable_spec() = from.spec();
    } else {
      to->clear_spec();
    }
  } else {
    return InvalidArgument(absl::StrCat("cannot update ", Quoted(path), " field on sandbox ",
                                        Quoted(from.sandbox_id())));
  }
  return absl::OkStatus();
}

absl::StatusOr<Sandbox> Updated(const Sandbox& old, const Sandbox& wanted,
                                std::vector<std::string> paths) {
  if (paths.empty()) {
    if (old.runtime().name() != wanted.runtime().name()) {
      return InvalidArgument("sandbox.Runtime.Name field is immutable");
    }
    paths = {"labels", "extensions", "spec", "runtime"};
  }
  Sandbox updated = old;
  for (const std::string& path : paths) {
    GANTRY_RETURN_IF_ERROR(ApplyPath(wanted, path, &updated));
  }
  GANTRY_RETURN_IF_ERROR(Validate(updated));
  DropEmpty(updated.mutable_labels());
  base::SetTimestamp(updated.mutable_updated_at(), absl::Now());
  return updated;
}

}  // namespace

absl::StatusOr<Sandbox> SandboxStore::Get(const Context& ctx, absl::string_view id) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (!base::ValidateIdentifier(id).ok()) return NotFound("sandbox", id);
  Sandbox result;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Sandbox> sandbox,
                            view.GetProto<Sandbox>(SandboxKey(ctx, id)));
    if (!sandbox.has_value()) return NotFound("sandbox", id);
    result = *std::move(sandbox);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<std::vector<Sandbox>> SandboxStore::List(
    const Context& ctx, const std::vector<std::string>& filters) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, ParseListFilters(filters));
  std::vector<Sandbox> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<Sandbox>(KeyPrefix({kTableSandboxes, ctx.ns}), [&](absl::string_view,
                                                                             Sandbox& sandbox) {
      const auto lookup = [&](absl::Span<const std::string> path) { return Field(sandbox, path); };
      if (filter.Match(lookup)) list.push_back(std::move(sandbox));
      return true;
    });
  }));
  return list;
}

absl::StatusOr<Sandbox> SandboxStore::Create(const Context& ctx, Sandbox sandbox) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(base::Annotate(Validate(sandbox), "failed to validate sandbox"));
  DropEmpty(sandbox.mutable_labels());
  base::SetTimestamp(sandbox.mutable_created_at(), absl::Now());
  *sandbox.mutable_updated_at() = sandbox.created_at();
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    const std::string key = SandboxKey(ctx, sandbox.sandbox_id());
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(key));
    if (exists) return AlreadyExists("sandbox", sandbox.sandbox_id());
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ctx.ns));
    tx.PutProto(key, sandbox);
    return absl::OkStatus();
  }));
  return sandbox;
}

absl::StatusOr<Sandbox> SandboxStore::Update(const Context& ctx, const Sandbox& sandbox,
                                             const std::vector<std::string>& paths) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (!base::ValidateIdentifier(sandbox.sandbox_id()).ok()) {
    return NotFound("sandbox", sandbox.sandbox_id());
  }
  Sandbox updated;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    const std::string key = SandboxKey(ctx, sandbox.sandbox_id());
    GANTRY_ASSIGN_OR_RETURN(std::optional<Sandbox> old, tx.GetProto<Sandbox>(key));
    if (!old.has_value()) return NotFound("sandbox", sandbox.sandbox_id());
    GANTRY_ASSIGN_OR_RETURN(updated, Updated(*old, sandbox, paths));
    tx.PutProto(key, updated);
    tx.MarkDirty();
    return absl::OkStatus();
  }));
  return updated;
}

absl::Status SandboxStore::Delete(const Context& ctx, absl::string_view id) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (!base::ValidateIdentifier(id).ok()) return NotFound("sandbox", id);
  return db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(SandboxKey(ctx, id)));
    if (!exists) return NotFound("sandbox", id);
    tx.Delete(SandboxKey(ctx, id));
    tx.MarkDirty();
    return absl::OkStatus();
  });
}

std::vector<std::string> SandboxStore::GcTables() const { return {std::string(kTableSandboxes)}; }

absl::Status SandboxStore::GcVisit(const GcRecord& record, GcVisitor* visitor) const {
  Sandbox sandbox;
  if (record.key.size() != 2 ||
      !sandbox.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
    return absl::DataLossError("a sandbox record cannot be parsed");
  }
  const GcNode node{GcNode::Type::kSandbox, std::string(record.key[0]), std::string(record.key[1])};
  visitor->Root(node);
  GcVisitLabels(node, sandbox.labels(), visitor);
  return absl::OkStatus();
}

absl::Status SandboxStore::GcRemove(Tx&, const std::vector<GcNode>& nodes) {
  if (nodes.empty()) return absl::OkStatus();
  return absl::InternalError("sandboxes are never garbage");
}

void SandboxStore::GcReclaim(const std::vector<GcNode>&) {}

}  // namespace gantry::services
