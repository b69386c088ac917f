#include "services/metadata/lease_store.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/store_util.h"

namespace gantry::services {
namespace {

using Lease = LeaseStore::Lease;
using Resource = LeaseStore::Resource;

constexpr absl::string_view kSnapshotsPrefix = "snapshots/";

std::string LeaseKey(const Context& ctx, absl::string_view id) {
  return Key({kTableLeases, ctx.ns, id});
}

std::string ResourceKey(const Context& ctx, absl::string_view lease, absl::string_view type,
                        absl::string_view id) {
  return Key({kTableLeaseResources, ctx.ns, lease, type, id});
}

bool HasZeroByte(absl::string_view text) {
  return absl::StrContains(text, absl::string_view("\0", 1));
}

absl::Status RequireLease(const ReadView& view, const Context& ctx, absl::string_view id) {
  if (HasZeroByte(id)) return NotFound("lease", id);
  GANTRY_ASSIGN_OR_RETURN(bool exists, view.Exists(LeaseKey(ctx, id)));
  return exists ? absl::OkStatus() : NotFound("lease", id);
}

absl::Status ValidateResource(const Resource& resource) {
  const std::string& type = resource.type();
  const std::vector<absl::string_view> parts = absl::StrSplit(type, '/');
  if (HasZeroByte(resource.id()) || HasZeroByte(type)) {
    return InvalidArgument("lease resource must not contain a zero byte");
  }
  if (parts[0] == kLeaseContent || parts[0] == kLeaseIngests || parts[0] == kLeaseImages) {
    if (parts.size() != 1) return InvalidArgument(absl::StrCat("invalid resource type ", type));
    if (parts[0] != kLeaseContent) return absl::OkStatus();
    const absl::Status digest = CheckDigest(resource.id());
    if (digest.ok()) return absl::OkStatus();
    return InvalidArgument(
        absl::StrCat("invalid content resource id ", resource.id(), ": ", digest.message()));
  }
  if (parts[0] == "snapshots") {
    if (parts.size() == 2) return absl::OkStatus();
    return InvalidArgument(absl::StrCat("invalid snapshot resource type ", type));
  }
  return absl::UnimplementedError(
      absl::StrCat("resource type ", type, " not supported yet: not implemented"));
}

std::optional<std::string> Field(const Lease& lease, absl::Span<const std::string> path) {
  if (path[0] == "id") return IfNotEmpty(lease.id());
  if (path[0] == "labels") return LookupLabel(lease.labels(), path.subspan(1));
  return std::nullopt;
}

absl::Status DeleteLease(Tx& tx, absl::string_view ns, absl::string_view id) {
  tx.Delete(Key({kTableLeases, ns, id}));
  const std::string prefix = KeyPrefix({kTableLeaseResources, ns, id});
  std::vector<std::string> keys;
  GANTRY_RETURN_IF_ERROR(tx.Scan(prefix, [&](absl::string_view rest, absl::string_view) {
    keys.push_back(absl::StrCat(prefix, rest));
    return true;
  }));
  for (const std::string& key : keys) tx.Delete(key);
  return absl::OkStatus();
}

// As containerd makes them up: nanoseconds and a few random characters.
std::string RandomLeaseId() {
  return absl::StrCat(absl::ToUnixNanos(absl::Now()) % 1000000000, "-", base::RandomHex(4));
}

}  // namespace

std::string LeaseSnapshots(absl::string_view snapshotter) {
  return absl::StrCat(kSnapshotsPrefix, snapshotter);
}

absl::StatusOr<Lease> LeaseStore::Get(const Context& ctx, absl::string_view id) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (HasZeroByte(id)) return NotFound("lease", id);
  Lease result;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Lease> lease, view.GetProto<Lease>(LeaseKey(ctx, id)));
    if (!lease.has_value()) return NotFound("lease", id);
    result = *std::move(lease);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<Lease> LeaseStore::Create(const Context& ctx, std::string id,
                                         const LabelMap& labels) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (id.empty()) id = RandomLeaseId();
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("lease id", id));
  Lease lease;
  lease.set_id(std::move(id));
  *lease.mutable_labels() = labels;
  DropEmpty(lease.mutable_labels());
  base::SetTimestamp(lease.mutable_created_at(), absl::Now());
  // A lease guards what its owner is about to make; it needs the disk only together with that.
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(LeaseKey(ctx, lease.id())));
    if (exists) return AlreadyExists("lease", lease.id());
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ctx.ns));
    tx.PutProto(LeaseKey(ctx, lease.id()), lease);
    return absl::OkStatus();
  }));
  return lease;
}

absl::Status LeaseStore::Delete(const Context& ctx, absl::string_view id) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(RequireLease(tx, ctx, id));
    tx.MarkDirty();
    return DeleteLease(tx, ctx.ns, id);
  });
}

absl::Status LeaseStore::SetLabel(const Context& ctx, absl::string_view id, const std::string& key,
                                  const std::string& value) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(ValidateLabel(key, value));
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Lease> lease, tx.GetProto<Lease>(LeaseKey(ctx, id)));
    if (!lease.has_value()) return NotFound("lease", id);
    (*lease->mutable_labels())[key] = value;
    tx.PutProto(LeaseKey(ctx, id), *lease);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<Lease>> LeaseStore::List(const Context& ctx,
                                                    const std::vector<std::string>& filters) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, ParseListFilters(filters));
  std::vector<Lease> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<Lease>(KeyPrefix({kTableLeases, ctx.ns}), [&](absl::string_view,
                                                                        Lease& lease) {
      const auto lookup = [&](absl::Span<const std::string> path) { return Field(lease, path); };
      if (filter.Match(lookup)) list.push_back(std::move(lease));
      return true;
    });
  }));
  return list;
}

absl::Status LeaseStore::AddResource(const Context& ctx, absl::string_view id,
                                     const Resource& resource) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(RequireLease(tx, ctx, id));
    GANTRY_RETURN_IF_ERROR(ValidateResource(resource));
    tx.Put(ResourceKey(ctx, id, resource.type(), resource.id()), "");
    return absl::OkStatus();
  });
}

absl::Status LeaseStore::DeleteResource(const Context& ctx, absl::string_view id,
                                        const Resource& resource) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(RequireLease(tx, ctx, id));
    GANTRY_RETURN_IF_ERROR(ValidateResource(resource));
    tx.Delete(ResourceKey(ctx, id, resource.type(), resource.id()));
    tx.MarkDirty();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<Resource>> LeaseStore::ListResources(const Context& ctx,
                                                                absl::string_view id) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  std::vector<Resource> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(RequireLease(view, ctx, id));
    return view.Scan(KeyPrefix({kTableLeaseResources, ctx.ns, id}),
                     [&](absl::string_view rest, absl::string_view) {
                       const std::vector<absl::string_view> parts = SplitKey(rest);
                       Resource resource;
                       resource.set_type(std::string(parts[0]));
                       resource.set_id(std::string(parts[1]));
                       list.push_back(std::move(resource));
                       return true;
                     });
  }));
  return list;
}

std::vector<std::string> LeaseStore::GcTables() const {
  return {std::string(kTableLeases), std::string(kTableLeaseResources)};
}

absl::Status LeaseStore::GcVisit(const GcRecord& record, GcVisitor* visitor) const {
  if (record.key.size() < 2) return absl::DataLossError("a lease record has a bad key");
  const std::string ns(record.key[0]);
  const GcNode lease{GcNode::Type::kLease, ns, std::string(record.key[1])};
  if (record.table == kTableLeases) {
    Lease message;
    if (!message.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
      return absl::DataLossError("a lease record cannot be parsed");
    }
    visitor->Exists(lease);
    const bool flat = message.labels().contains("containerd.io/gc.flat");
    if (!GcIsExpired(message.labels(), visitor->now())) {
      visitor->Root(lease, flat ? GcReach::kFlat : GcReach::kFull);
    }
    return absl::OkStatus();
  }
  if (record.key.size() != 4) return absl::DataLossError("a lease resource has a bad key");
  absl::string_view type = record.key[2];
  GcNode to{GcNode::Type::kContent, ns, std::string(record.key[3])};
  if (absl::ConsumePrefix(&type, kSnapshotsPrefix)) {
    to = GcSnapshotNode(ns, type, record.key[3]);
  } else if (type == kLeaseIngests) {
    to.type = GcNode::Type::kIngest;
  } else if (type == kLeaseImages) {
    to.type = GcNode::Type::kImage;
  }
  // Followed for flat leases too; what lies behind the resource is then reached flatly.
  visitor->ParentEdge(lease, to);
  return absl::OkStatus();
}

absl::Status LeaseStore::GcRemove(Tx& tx, const std::vector<GcNode>& nodes) {
  for (const GcNode& node : nodes) GANTRY_RETURN_IF_ERROR(DeleteLease(tx, node.ns, node.key));
  return absl::OkStatus();
}

void LeaseStore::GcReclaim(const std::vector<GcNode>&) {}

absl::Status LinkToLease(Tx& tx, const Context& ctx, absl::string_view type, absl::string_view id) {
  if (ctx.lease.empty()) return absl::OkStatus();
  const absl::Status missing = absl::NotFoundError("lease does not exist: not found");
  if (HasZeroByte(ctx.lease)) return missing;
  GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(LeaseKey(ctx, ctx.lease)));
  if (!exists) return missing;
  tx.Put(ResourceKey(ctx, ctx.lease, type, id), "");
  return absl::OkStatus();
}

absl::Status UnlinkFromLease(Tx& tx, const Context& ctx, absl::string_view type,
                             absl::string_view id) {
  if (ctx.lease.empty() || HasZeroByte(ctx.lease)) return absl::OkStatus();
  tx.Delete(ResourceKey(ctx, ctx.lease, type, id));
  return absl::OkStatus();
}

}  // namespace gantry::services
