#include "services/content/content_records.h"

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/events/content.pb.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/lease_store.h"

namespace gantry::services {

std::string BlobKey(absl::string_view ns, absl::string_view digest) {
  return Key({kTableBlobs, ns, digest});
}
std::string IngestKey(absl::string_view ns, absl::string_view ref) {
  return Key({kTableIngests, ns, ref});
}

absl::StatusOr<ContentInfo> FromRecord(const InfoRecord& record) {
  ContentInfo info;
  auto digest = base::Digest::Parse(record.digest());
  if (!digest.ok()) return absl::DataLossError("content record with a bad digest");
  info.digest = *std::move(digest);
  info.size = record.size();
  info.created_at = base::GetTimestamp(record.created_at());
  info.updated_at = base::GetTimestamp(record.updated_at());
  info.labels.insert(record.labels().begin(), record.labels().end());
  return info;
}

InfoRecord ToRecord(const ContentInfo& info) {
  InfoRecord record;
  record.set_digest(info.digest.str());
  record.set_size(info.size);
  base::SetTimestamp(record.mutable_created_at(), info.created_at);
  base::SetTimestamp(record.mutable_updated_at(), info.updated_at);
  record.mutable_labels()->insert(info.labels.begin(), info.labels.end());
  return record;
}

absl::Status ContentNotFound(const base::Digest& digest) {
  return absl::NotFoundError(absl::StrCat("content digest ", digest.str(), ": not found"));
}
absl::Status ContentExists(const base::Digest& digest) {
  return absl::AlreadyExistsError(absl::StrCat("content ", digest.str(), ": already exists"));
}

absl::Status PutBlobRecord(Tx& tx, const Context& ctx, const ContentInfo& info) {
  const std::string& digest = info.digest.str();
  tx.PutProto(BlobKey(ctx.ns, digest), ToRecord(info));
  tx.Put(Key({kTableBlobReferences, digest, ctx.ns}), "");
  containerd::events::ContentCreate event;
  event.set_digest(digest);
  event.set_size(info.size);
  tx.AddEvent(ctx.ns, "/content/create", event);
  return LinkToLease(tx, ctx, kLeaseContent, digest);
}

absl::Status DeleteBlobRecord(Tx& tx, const std::string& ns, const std::string& digest) {
  tx.Delete(BlobKey(ns, digest));
  tx.Delete(Key({kTableBlobReferences, digest, ns}));
  containerd::events::ContentDelete event;
  event.set_digest(digest);
  tx.AddEvent(ns, "/content/delete", event);
  return absl::OkStatus();
}

absl::StatusOr<bool> IsReferenced(const Db& db, const base::Digest& digest) {
  bool referenced = false;
  GANTRY_RETURN_IF_ERROR(db.View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(referenced,
                            view.AnyWith(KeyPrefix({kTableBlobReferences, digest.str()})));
    return absl::OkStatus();
  }));
  return referenced;
}

absl::Status DeleteIngestRecord(Tx& tx, const Context& ctx, const std::string& ref) {
  tx.Delete(IngestKey(ctx.ns, ref));
  return UnlinkFromLease(tx, ctx, kLeaseIngests, ref);
}

absl::Status CheckLabels(const Labels& labels) {
  for (const auto& [key, value] : labels)
    GANTRY_RETURN_IF_ERROR(base::Annotate(ValidateLabel(key, value), "info.Labels"));
  return absl::OkStatus();
}

}  // namespace gantry::services
