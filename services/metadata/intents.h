#ifndef GANTRY_SERVICES_METADATA_INTENTS_H_
#define GANTRY_SERVICES_METADATA_INTENTS_H_

// A multi-step operation writes what it is about to do (Begin) before its first step outside of the
// database, and removes that (End) in the transaction that records its result, or after its undo.
// What is Pending at start was cut off by a crash: its owner undoes or finishes it, then ends it.
// docs/architecture.md has the list of kinds, and of what needs none.
//
// Durability: a record that is not synced survives a crash of gantryd and may be lost with power.
// That is enough where the machine's restart, or a look at the directories, removes what the
// operation made; an operation on something that outlives both must begin with kSync.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "gantry/metadata/v1/records.pb.h"
#include "google/protobuf/message.h"
#include "services/metadata/db.h"

namespace gantry::services {

using Intent = gantry::metadata::v1::Intent;

// Returns the id for End(): later ones are greater. `kind` is the table of the owner: [a-z.]+.
absl::StatusOr<uint64_t> BeginIntent(Tx& tx, absl::string_view kind,
                                     const google::protobuf::Message& payload);
// OK when it is ended already.
absl::Status EndIntent(Tx& tx, absl::string_view kind, uint64_t id);

// All that have begun and not ended, oldest first; of one kind, or of all when `kind` is empty.
absl::StatusOr<std::vector<Intent>> PendingIntents(const ReadView& view, absl::string_view kind);

// At start, before requests are served: calls `replay(payload)`, which returns a status, for each
// pending intent of `kind`, oldest first, and ends those for which it is OK. The others are logged
// and stay for the next start. DataLoss for a payload of another type.
template <typename Payload, typename Fn>
absl::Status ReplayIntents(Db* db, absl::string_view kind, Fn&& replay);

// An intent of one operation. Movable; a scope that was moved from does nothing.
class IntentScope {
 public:
  IntentScope() = default;
  // Writes the intent in a transaction of its own. A null `db` makes a scope that does nothing.
  static absl::StatusOr<IntentScope> Begin(Db* db, absl::string_view kind,
                                           const google::protobuf::Message& payload,
                                           Durability durability = Durability::kNone);
  // For one that BeginIntent() has written.
  IntentScope(Db* db, absl::string_view kind, uint64_t id) : db_(db), kind_(kind), id_(id) {}
  IntentScope(IntentScope&& other) noexcept { *this = std::move(other); }
  IntentScope& operator=(IntentScope&& other) noexcept;
  // Ends it in a transaction of its own: the operation has failed and left nothing, or needs no
  // record of its result. A failure to do so is logged; the next start replays it then.
  ~IntentScope() { Finish(); }

  // Ends it together with the result. After the transaction has succeeded, call Leave().
  absl::Status EndIn(Tx& tx) const {
    return db_ == nullptr ? absl::OkStatus() : EndIntent(tx, kind_, id_);
  }
  // The destructor does nothing any more: ended by EndIn(), or to be replayed at the next start.
  void Leave() { db_ = nullptr; }

 private:
  void Finish();

  Db* db_ = nullptr;
  std::string kind_;
  uint64_t id_ = 0;
};

// Logs that the replay could not be done.
void LogUnfinishedIntent(const Intent& intent, const absl::Status& why);

template <typename Payload, typename Fn>
absl::Status ReplayIntents(Db* db, absl::string_view kind, Fn&& replay) {
  std::vector<Intent> pending;
  GANTRY_RETURN_IF_ERROR(db->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(pending, PendingIntents(view, kind));
    return absl::OkStatus();
  }));
  for (const Intent& intent : pending) {
    Payload payload;
    if (!intent.payload().UnpackTo(&payload)) {
      return absl::DataLossError(absl::StrCat("the payload of intent ", kind, "/", intent.id(),
                                              " is not a ", payload.GetTypeName()));
    }
    absl::Status replayed = replay(payload);
    if (!replayed.ok()) {
      LogUnfinishedIntent(intent, replayed);
      continue;
    }
    GANTRY_RETURN_IF_ERROR(
        db->Update(Durability::kNone, [&](Tx& tx) { return EndIntent(tx, kind, intent.id()); }));
  }
  return absl::OkStatus();
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_INTENTS_H_
