#include "services/metadata/intents.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

std::string LastIntentKey() { return Key({kTableConfig, "last-intent"}); }

// Sorts as the number does.
std::string IntentKey(absl::string_view kind, uint64_t id) {
  return Key({kTableIntents, kind, EventKeyNumber(id)});
}

}  // namespace

absl::StatusOr<uint64_t> BeginIntent(Tx& tx, absl::string_view kind,
                                     const google::protobuf::Message& payload) {
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("intent kind", kind));
  GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> last, tx.Get(LastIntentKey()));
  uint64_t id = 0;
  if (last.has_value()) {
    GANTRY_ASSIGN_OR_RETURN(id, ParseEventKeyNumber(*last));
  }
  ++id;
  tx.Put(LastIntentKey(), EventKeyNumber(id));
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

}  // namespace gantry::services
