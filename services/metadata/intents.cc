#include "services/metadata/intents.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

// Sorts as the number does.
std::string IntentKey(absl::string_view kind, uint64_t id) {
  return Key({kTableIntents, kind, EventKeyNumber(id)});
}

// Unique among what can be pending at one time: the clock, but never twice the same and never back.
uint64_t NewId() {
  static std::atomic<uint64_t> last{0};
  uint64_t now = static_cast<uint64_t>(absl::ToUnixMicros(absl::Now()));
  uint64_t seen = last.load(std::memory_order_relaxed);
  uint64_t id = 0;
  do {
    id = std::max(now, seen + 1);
  } while (!last.compare_exchange_weak(seen, id, std::memory_order_relaxed));
  return id;
}

}  // namespace

absl::StatusOr<uint64_t> BeginIntent(Tx& tx, absl::string_view kind,
                                     const google::protobuf::Message& payload) {
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("intent kind", kind));
  const uint64_t id = NewId();
  Intent intent;
  intent.set_id(id);
  intent.set_kind(std::string(kind));
  base::SetTimestamp(intent.mutable_begun_at(), absl::Now());
  intent.mutable_payload()->PackFrom(payload);
  tx.PutProto(IntentKey(kind, id), intent);
  return id;
}

absl::Status EndIntent(Tx& tx, absl::string_view kind, uint64_t id) {
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("intent kind", kind));
  tx.Delete(IntentKey(kind, id));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Intent>> PendingIntents(const ReadView& view, absl::string_view kind) {
  std::vector<Intent> list;
  const std::string prefix =
      kind.empty() ? KeyPrefix({kTableIntents}) : KeyPrefix({kTableIntents, kind});
  GANTRY_RETURN_IF_ERROR(view.ScanProto<Intent>(prefix, [&](absl::string_view, Intent& intent) {
    list.push_back(std::move(intent));
    return true;
  }));
  std::sort(list.begin(), list.end(),
            [](const Intent& a, const Intent& b) { return a.id() < b.id(); });
  return list;
}

absl::StatusOr<IntentScope> IntentScope::Begin(Db* db, absl::string_view kind,
                                               const google::protobuf::Message& payload,
                                               Durability durability) {
  if (db == nullptr) return IntentScope();
  uint64_t id = 0;
  GANTRY_RETURN_IF_ERROR(db->Update(durability, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(id, BeginIntent(tx, kind, payload));
    return absl::OkStatus();
  }));
  return IntentScope(db, kind, id);
}

IntentScope& IntentScope::operator=(IntentScope&& other) noexcept {
  if (this == &other) return *this;
  Finish();
  db_ = std::exchange(other.db_, nullptr);
  kind_ = std::move(other.kind_);
  id_ = other.id_;
  return *this;
}

void IntentScope::Finish() {
  Db* db = std::exchange(db_, nullptr);
  if (db == nullptr) return;
  absl::Status ended =
      db->Update(Durability::kNone, [this](Tx& tx) { return EndIntent(tx, kind_, id_); });
  if (!ended.ok()) {
    base::LogWarn("cannot end an intent; the next start does",
                  {{"intent", absl::StrCat(kind_, "/", id_)}, {"error", ended.message()}});
  }
}

void LogUnfinishedIntent(const Intent& intent, const absl::Status& why) {
  base::LogError(
      "an operation that was cut off can be neither undone nor finished yet",
      {{"intent", absl::StrCat(intent.kind(), "/", intent.id())}, {"error", why.message()}});
}

}  // namespace gantry::services
