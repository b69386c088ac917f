// The content store's part in garbage collection.

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "services/content/local_content_store.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

absl::Status BadRecord(const GcRecord& record) {
  return absl::DataLossError(absl::StrCat("unreadable record in table ", record.table));
}

template <typename M>
absl::Status ParseRecord(const GcRecord& record, M* message) {
  bool ok = record.key.size() == 2 &&
            message->ParseFromArray(record.value.data(), static_cast<int>(record.value.size()));
  return ok ? absl::OkStatus() : BadRecord(record);
}

}  // namespace

std::vector<std::string> LocalContentStore::GcTables() const {
  return {std::string(kTableBlobs), std::string(kTableIngests)};
}

absl::Status LocalContentStore::GcVisit(const GcRecord& record, GcVisitor* visitor) const {
  if (record.table == kTableBlobs) {
    InfoRecord info;
    GANTRY_RETURN_IF_ERROR(ParseRecord(record, &info));
    GcNode node{GcNode::Type::kContent, std::string(record.key[0]), std::string(record.key[1])};
    visitor->Exists(node);
    if (GcIsRoot(info.labels(), visitor->now())) visitor->Root(node);
    GcVisitLabels(node, info.labels(), visitor);
    return absl::OkStatus();
  }
  IngestRecord ingest;
  GANTRY_RETURN_IF_ERROR(ParseRecord(record, &ingest));
  GcNode node{GcNode::Type::kIngest, std::string(record.key[0]), std::string(record.key[1])};
  visitor->Exists(node);
  // Those of a lease have no time and go with it.
  if (ingest.has_expires_at() && base::GetTimestamp(ingest.expires_at()) > visitor->now()) {
    visitor->Root(node);
  }
  return absl::OkStatus();
}

absl::Status LocalContentStore::GcRemove(Tx& tx, const std::vector<GcNode>& nodes) {
  for (const GcNode& node : nodes) {
    if (node.type == GcNode::Type::kContent) {
      GANTRY_RETURN_IF_ERROR(DeleteBlobRecord(tx, node.ns, node.key));
    } else {
      tx.Delete(IngestKey(node.ns, node.key));
    }
  }
  return absl::OkStatus();
}

void LocalContentStore::GcReclaim(const std::vector<GcNode>& nodes) {
  for (const GcNode& node : nodes) {
    if (node.type == GcNode::Type::kContent) {
      if (auto digest = base::Digest::Parse(node.key); digest.ok()) ReclaimBlob(*digest);
      continue;
    }
    // A writer that has just begun again owns the directory.
    auto lock = LockRef(node.ns, node.key);
    if (!lock.ok()) continue;
    auto status = GetStatus({node.ns, ""}, node.key);
    if (!absl::IsNotFound(status.status())) continue;
    absl::Status removed = files_->RemoveIngest(lock->id());
    if (!removed.ok()) base::LogWarn("remove upload", {{"error", removed.message()}});
  }
}

}  // namespace gantry::services
