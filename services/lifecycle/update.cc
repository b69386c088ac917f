// Changes of what a container is to be.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/spec_edit.h"
#include "services/lifecycle/validate.h"
#include "services/metadata/container_store.h"
#include "services/networks/network_manager.h"

namespace gantry::services::lifecycle {
namespace {

absl::StatusOr<v1::Policy> Changed(const v1::Container& old, const v1::UpdateRequest& request) {
  v1::Policy policy = old.policy();
  const v1::Policy& wanted = request.policy();
  for (const std::string& path : request.paths()) {
    if (path == "name") {
      if (wanted.name().empty())
        return absl::InvalidArgumentError("Neither old nor new names may be empty");
      policy.set_name(wanted.name());
    } else if (path == "restart") {
      *policy.mutable_restart() = wanted.restart();
    } else if (path == "auto_remove") {
      policy.set_auto_remove(wanted.auto_remove());
    } else if (path == "stop_timeout") {
      policy.clear_stop_timeout();
      if (wanted.has_stop_timeout()) policy.set_stop_timeout(wanted.stop_timeout());
    } else if (path == "endpoints") {
      if (IsActive(old.state()))
        return absl::FailedPreconditionError(
            "the endpoints of a container that runs are connected and disconnected one by one");
      *policy.mutable_endpoints() = wanted.endpoints();
    } else {
      return absl::InvalidArgumentError(absl::StrCat("cannot update \"", path, "\""));
    }
  }
  GANTRY_RETURN_IF_ERROR(CheckPolicy(policy));
  return policy;
}

// The networks of a container that shares somebody's cannot be changed.
absl::Status CheckConnectable(const v1::Policy& policy) {
  if (policy.network_mode() == "networks") return absl::OkStatus();
  if (policy.network_mode() == "host") {
    return absl::FailedPreconditionError(
        "container cannot be disconnected from host network or connected to host network");
  }
  if (policy.network_mode() == "container") {
    return absl::FailedPreconditionError(
        "container sharing network namespace with another container or host cannot be connected "
        "to any other network");
  }
  return absl::FailedPreconditionError(
      "container cannot be connected to multiple networks with one of the networks in private "
      "(none) mode");
}

}  // namespace

void Manager::Update(const std::string& ns, v1::UpdateRequest request,
                     Done<v1::UpdateResponse> done) {
  std::string id = request.id();
  OnStrand<v1::UpdateResponse>(
      ns, id, std::move(done),
      [this, request = std::move(request)](const EntryPtr& entry, Done<v1::UpdateResponse> done) {
        done(UpdateNow(entry, request));
      });
}

absl::StatusOr<v1::UpdateResponse> Manager::UpdateNow(const EntryPtr& entry,
                                                      const v1::UpdateRequest& request) {
  const std::string old_name = entry->container.policy().name();
  GANTRY_ASSIGN_OR_RETURN(v1::Policy policy, Changed(entry->container, request));
  std::string spec;
  if (!request.spec().empty()) {
    GANTRY_ASSIGN_OR_RETURN(
        spec,
        FillPlaces(
            request.spec(), files_.Directory(entry->ns, entry->id),
            deps_.networks == nullptr ? "" : deps_.networks->NetnsPath(entry->ns, entry->id)));
  }
  if (request.extensions().contains(kExtension)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid extension \"", kExtension, "\""));
  }
  std::vector<gantry::types::ObjectEvent> events;
  const bool renamed = policy.name() != old_name;
  if (renamed) {
    v1::Container named = entry->container;
    named.mutable_policy()->set_name(policy.name());
    events.push_back(ContainerEvent(named, "rename", {{"oldName", "/" + old_name}}));
  }
  const bool more_paths = std::any_of(request.paths().begin(), request.paths().end(),
                                      [](const std::string& path) { return path != "name"; });
  if (more_paths) events.push_back(ContainerEvent(entry->container, "update"));
  GANTRY_RETURN_IF_ERROR(ChangeRecord(
      *entry, policy,
      [&](Tx&, ContainerRecord* record) {
        for (const auto& [key, value] : request.extensions()) {
          google::protobuf::Any& any = (*record->mutable_extensions())[key];
          any.set_type_url(absl::StrCat("gantry/", key));
          any.set_value(value);
        }
        if (!spec.empty()) record->mutable_spec()->set_value(spec);
        return absl::OkStatus();
      },
      std::move(events)));
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    for (const auto& [key, value] : request.extensions()) entry->extensions[key] = value;
  }
  v1::UpdateResponse response;
  *response.mutable_container() = entry->container;
  return response;
}

absl::Status Manager::ChangeRecord(Entry& entry, const v1::Policy& policy,
                                   const std::function<absl::Status(Tx&, ContainerRecord*)>& more,
                                   std::vector<gantry::types::ObjectEvent> events) {
  const std::string old_name = entry.container.policy().name();
  const Context ctx{.ns = entry.ns};
  // Taken before it is written, so that nobody else can; and the old one kept until then.
  if (policy.name() != old_name)
    GANTRY_RETURN_IF_ERROR(registry_.Rename(entry, policy.name(), policy.name()));
  absl::Status written = deps_.db->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(ContainerRecord record, deps_.containers->GetInTx(tx, ctx, entry.id));
    (*record.mutable_extensions())[kExtension] = PackPolicy(policy);
    GANTRY_RETURN_IF_ERROR(more(tx, &record));
    GANTRY_RETURN_IF_ERROR(deps_.containers->ReplaceInTx(tx, ctx, std::move(record)));
    if (policy.name() != old_name) {
      GANTRY_RETURN_IF_ERROR(TakeName(tx, entry.ns, policy.name(), entry.id));
      if (!old_name.empty()) tx.Delete(NameKey(entry.ns, old_name));
    }
    for (const auto& event : events) AddObjectEvent(tx, entry.ns, event);
    return absl::OkStatus();
  });
  if (policy.name() != old_name) {
    registry_.Rename(entry, written.ok() ? old_name : policy.name(), "").IgnoreError();
  }
  GANTRY_RETURN_IF_ERROR(written);
  std::lock_guard<std::mutex> lock(entry.mutex);
  *entry.container.mutable_policy() = policy;
  return absl::OkStatus();
}

// Somebody else has changed the record through the API of containers.
void Manager::OnRecordUpdated(const EntryPtr& entry) {
  auto record = deps_.containers->Get(Context{.ns = entry->ns}, entry->id);
  if (!record.ok()) return;
  std::lock_guard<std::mutex> lock(entry->mutex);
  entry->container.set_image(record->image());
  *entry->container.mutable_labels() = record->labels();
  entry->container.set_snapshot_key(record->snapshot_key());
  entry->extensions.clear();
  for (const auto& [key, value] : record->extensions()) {
    if (key != kExtension) entry->extensions[key] = value.value();
  }
}

void Manager::ConnectNetwork(const std::string& ns, v1::ConnectNetworkRequest request,
                             Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(ns, id, std::move(done),
                  [this, request](const EntryPtr& entry, Done<Empty> done) {
                    if (deps_.networks == nullptr)
                      return done(absl::FailedPreconditionError("this gantryd has no networks"));
                    v1::Policy policy = entry->container.policy();
                    if (absl::Status fits = CheckConnectable(policy); !fits.ok()) return done(fits);
                    v1::State state = entry->container.state();
                    const bool runs = HasProcess(state);
                    if (runs) {
                      networks::ConnectRequest connect;
                      connect.set_container_id(entry->id);
                      *connect.mutable_endpoint() = request.endpoint();
                      auto sandbox = deps_.networks->Connect(entry->ns, connect);
                      if (!sandbox.ok()) return done(sandbox.status());
                      *state.mutable_sandbox() = *std::move(sandbox);
                    }
                    *policy.add_endpoints() = request.endpoint();
                    absl::Status recorded = ChangeRecord(
                        *entry, policy, [](Tx&, ContainerRecord*) { return absl::OkStatus(); }, {});
                    if (!recorded.ok()) return done(recorded);
                    if (runs) Commit(*entry, std::move(state), Durability::kNone, {});
                    done(Empty());
                  });
}

void Manager::DisconnectNetwork(const std::string& ns, v1::DisconnectNetworkRequest request,
                                Done<Empty> done) {
  std::string id = request.id();
  OnStrand<Empty>(
      ns, id, std::move(done), [this, request](const EntryPtr& entry, Done<Empty> done) {
        if (deps_.networks == nullptr)
          return done(absl::FailedPreconditionError("this gantryd has no networks"));
        v1::Policy policy = entry->container.policy();
        if (absl::Status fits = CheckConnectable(policy); !fits.ok()) return done(fits);
        v1::State state = entry->container.state();
        auto network = deps_.networks->Get(entry->ns, request.network());
        auto is_it = [&](const std::string& name) {
          if (name == request.network()) return true;
          return network.ok() &&
                 (name == network->network().id() || name == network->network().name());
        };
        auto* endpoints = policy.mutable_endpoints();
        auto found = std::find_if(endpoints->begin(), endpoints->end(),
                                  [&](const auto& endpoint) { return is_it(endpoint.network()); });
        if (found == endpoints->end() && !request.force()) {
          return done(absl::FailedPreconditionError(absl::StrCat(
              "container ", entry->id, " is not connected to network ", request.network())));
        }
        const bool runs = HasProcess(state);
        if (runs) {
          networks::DisconnectRequest disconnect;
          disconnect.set_container_id(entry->id);
          disconnect.set_network(request.network());
          absl::Status gone = deps_.networks->Disconnect(entry->ns, disconnect);
          if (!gone.ok() && !(request.force() && absl::IsNotFound(gone))) return done(gone);
          auto sandbox = deps_.networks->GetSandbox(entry->ns, entry->id);
          if (sandbox.ok()) *state.mutable_sandbox() = *std::move(sandbox);
        }
        if (found != endpoints->end()) {
          endpoints->erase(found);
          absl::Status recorded = ChangeRecord(
              *entry, policy, [](Tx&, ContainerRecord*) { return absl::OkStatus(); }, {});
          if (!recorded.ok()) return done(recorded);
        }
        if (runs) Commit(*entry, std::move(state), Durability::kNone, {});
        done(Empty());
      });
}

}  // namespace gantry::services::lifecycle
