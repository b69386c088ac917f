#ifndef GANTRY_SERVICES_CONTENT_CONTENT_RECORDS_H_
#define GANTRY_SERVICES_CONTENT_CONTENT_RECORDS_H_

// The records of the content store in the database.

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "containerd/services/content/v1/content.pb.h"
#include "gantry/metadata/v1/records.pb.h"
#include "services/content/content_store.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"

namespace gantry::services {

using InfoRecord = containerd::services::content::v1::Info;
using IngestRecord = gantry::metadata::v1::Ingest;

std::string BlobKey(absl::string_view ns, absl::string_view digest);
std::string IngestKey(absl::string_view ns, absl::string_view ref);

absl::StatusOr<ContentInfo> FromRecord(const InfoRecord& record);
InfoRecord ToRecord(const ContentInfo& info);

// "content sha256:…: not found" / ": already exists", as containerd says it.
absl::Status ContentNotFound(const base::Digest& digest);
absl::Status ContentExists(const base::Digest& digest);

// Writes the record of a blob, and its removal, together with the reference and the event. Put
// links it to the lease of the context.
absl::Status PutBlobRecord(Tx& tx, const Context& ctx, const ContentInfo& info);
absl::Status DeleteBlobRecord(Tx& tx, const std::string& ns, const std::string& digest);
// Whether any namespace has a record of the blob.
absl::StatusOr<bool> IsReferenced(const Db& db, const base::Digest& digest);

// Removes the record of an upload and its lease's claim.
absl::Status DeleteIngestRecord(Tx& tx, const Context& ctx, const std::string& ref);

// InvalidArgument "info.Labels: label key and value length …".
absl::Status CheckLabels(const Labels& labels);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_CONTENT_RECORDS_H_
