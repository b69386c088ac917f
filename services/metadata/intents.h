#ifndef GANTRY_SERVICES_METADATA_INTENTS_H_
#define GANTRY_SERVICES_METADATA_INTENTS_H_

// A multi-step operation writes what it is about to do (Begin) in the transaction before its first
// step outside of the database, and removes that (End) in the transaction that records its result.
// What is Pending at start was cut off by a crash: its owner undoes or finishes it, then ends it.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gantry/metadata/v1/records.pb.h"
#include "google/protobuf/message.h"
#include "services/metadata/db.h"

namespace gantry::services {

using Intent = gantry::metadata::v1::Intent;

// Returns the id for End(). `kind` is the table of the owner: [a-z.]+.
absl::StatusOr<uint64_t> BeginIntent(Tx& tx, absl::string_view kind,
                                     const google::protobuf::Message& payload);
// OK when it is ended already.
absl::Status EndIntent(Tx& tx, absl::string_view kind, uint64_t id);

// All that have begun and not ended, oldest first; of one kind, or of all when `kind` is empty.
absl::StatusOr<std::vector<Intent>> PendingIntents(const ReadView& view, absl::string_view kind);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_INTENTS_H_
