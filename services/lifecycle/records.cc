#include "services/lifecycle/records.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "services/metadata/keys.h"

namespace gantry::services::lifecycle {
namespace {

constexpr absl::string_view kTableStates = "lif";
constexpr absl::string_view kTableNames = "lfn";

}  // namespace

std::string RecordKey(absl::string_view ns, absl::string_view id) {
  return Key({kTableStates, ns, id});
}

std::string NameKey(absl::string_view ns, absl::string_view name) {
  return Key({kTableNames, ns, name});
}

google::protobuf::Any PackPolicy(const v1::Policy& policy) {
  google::protobuf::Any any;
  any.set_type_url(policy.GetDescriptor()->full_name());
  any.set_value(policy.SerializeAsString());
  return any;
}

absl::StatusOr<v1::Policy> PolicyOf(const ContainerRecord& record) {
  auto found = record.extensions().find(kExtension);
  if (found == record.extensions().end()) {
    return absl::NotFoundError(absl::StrCat("container ", record.id(), " has no policy"));
  }
  v1::Policy policy;
  absl::string_view type = found->second.type_url();
  type.remove_prefix(type.rfind('/') + 1);  // npos + 1 is 0
  if (type != policy.GetDescriptor()->full_name() ||
      !policy.ParseFromString(found->second.value())) {
    return absl::DataLossError(
        absl::StrCat("the extension ", kExtension, " of container ", record.id(), " is no policy"));
  }
  return policy;
}

absl::Status NameConflict(absl::string_view name, absl::string_view id) {
  return absl::AlreadyExistsError(absl::StrCat(
      "Conflict. The container name \"/", name, "\" is already in use by container \"", id,
      "\". You have to remove (or rename) that container to be able to reuse that "
      "name."));
}

absl::Status TakeName(Tx& tx, absl::string_view ns, absl::string_view name, absl::string_view id) {
  if (name.empty()) return absl::OkStatus();
  const std::string key = NameKey(ns, name);
  GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> owner, tx.Get(key));
  if (owner.has_value() && *owner != id) return NameConflict(name, *owner);
  tx.Put(key, id);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Stored>> ReadAll(const Db& db) {
  std::vector<Stored> all;
  GANTRY_RETURN_IF_ERROR(db.View([&](const ReadView& view) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(view.ScanProto<Record>(
        KeyPrefix({kTableStates}), [&](absl::string_view rest, Record& record) {
          std::vector<absl::string_view> parts = SplitKey(rest);
          Stored stored;
          stored.ns = std::string(parts[0]);
          stored.container.set_id(std::string(parts[1]));
          stored.record = std::move(record);
          all.push_back(std::move(stored));
          return true;
        }));
    for (Stored& stored : all) {
      GANTRY_ASSIGN_OR_RETURN(auto container,
                              view.GetProto<ContainerRecord>(
                                  Key({kTableContainers, stored.ns, stored.container.id()})));
      if (container.has_value()) stored.container = *std::move(container);
    }
    return absl::OkStatus();
  }));
  return all;
}

gantry::types::ObjectEvent ContainerEvent(
    const v1::Container& container, absl::string_view action,
    const std::vector<std::pair<std::string, std::string>>& more) {
  gantry::types::ObjectEvent event;
  event.set_kind("container");
  event.set_action(std::string(action));
  event.set_id(container.id());
  auto& attributes = *event.mutable_attributes();
  for (const auto& [key, value] : container.labels()) attributes[key] = value;
  attributes["image"] = container.image();
  attributes["name"] = container.policy().name();
  for (const auto& [key, value] : more) attributes[key] = value;
  return event;
}

void AddObjectEvent(Tx& tx, absl::string_view ns, const gantry::types::ObjectEvent& event) {
  absl::string_view action = event.action();
  action = action.substr(0, action.find(':'));
  tx.AddEvent(ns, absl::StrCat("/", event.kind(), "/", action), event);
}

std::string BootId() {
  auto text = base::ReadFile("/proc/sys/kernel/random/boot_id");
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

}  // namespace gantry::services::lifecycle
