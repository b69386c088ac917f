// Creation: all parts or none, and one durable commit that makes them a container.

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/status.h"
#include "services/lifecycle/health.h"
#include "services/lifecycle/manager.h"
#include "services/lifecycle/spec_edit.h"
#include "services/lifecycle/validate.h"
#include "services/metadata/container_store.h"
#include "services/networks/network_manager.h"
#include "services/snapshots/snapshots.h"
#include "services/volumes/volume_manager.h"

namespace gantry::services::lifecycle {
namespace {

constexpr char kDefaultRuntime[] = "io.containerd.runc.v2";
constexpr char kSpecType[] = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

Intent IntentOf(const Entry& entry, const std::string& snapshotter) {
  Intent intent;
  intent.set_namespace_(entry.ns);
  intent.set_id(entry.id);
  intent.set_snapshotter(snapshotter);
  intent.set_snapshot_key(entry.id);
  return intent;
}

ContainerRecord RecordOf(const v1::CreateRequest& request, const std::string& snapshotter,
                         std::string spec) {
  ContainerRecord record;
  record.set_id(request.id());
  record.set_image(request.image());
  *record.mutable_labels() = request.labels();
  record.mutable_runtime()->set_name(request.runtime().empty() ? kDefaultRuntime
                                                               : request.runtime());
  record.set_snapshotter(snapshotter);
  record.set_snapshot_key(request.id());
  record.mutable_spec()->set_type_url(kSpecType);
  record.mutable_spec()->set_value(std::move(spec));
  for (const auto& [key, value] : request.extensions()) {
    google::protobuf::Any& any = (*record.mutable_extensions())[key];
    any.set_type_url(absl::StrCat("gantry/", key));
    any.set_value(value);
  }
  (*record.mutable_extensions())[kExtension] = PackPolicy(request.policy());
  return record;
}

}  // namespace

void Manager::Create(const std::string& ns, v1::CreateRequest request,
                     Done<v1::CreateResponse> done) {
  pool_.Run([this, ns, request = std::move(request), done = std::move(done)]() mutable {
    done(CreateNow(ns, std::move(request), Durability::kSync));
  });
}

void Manager::Run(const std::string& ns, v1::CreateRequest request, Done<Running> started,
                  Done<v1::WaitResponse> ended) {
  pool_.Run([this, ns, request = std::move(request), started = std::move(started),
             ended = std::move(ended)]() mutable {
    const std::string id = request.id();
    // One that is removed at its end would be removed after a power loss, too.
    const bool fleeting = request.policy().auto_remove();
    auto created =
        CreateNow(ns, std::move(request), fleeting ? Durability::kNone : Durability::kSync);
    if (!created.ok()) return started(created.status());
    OnStrand<Running>(
        ns, id, std::move(started),
        [this, ended = std::move(ended)](const EntryPtr& entry, Done<Running> started) mutable {
          RunCreated(entry, std::move(started), std::move(ended));
        });
  });
}

void Manager::RunCreated(const EntryPtr& entry, Done<Running> started,
                         Done<v1::WaitResponse> ended) {
  v1::StartRequest start;
  start.set_id(entry->id);
  start.set_expect_attach(true);
  StartByUser(
      entry, start,
      [this, entry, started = std::move(started),
       ended = std::move(ended)](absl::StatusOr<v1::StartResponse> response) mutable {
        if (!response.ok()) {
          if (!entry->gone) {
            absl::Status removed = RemoveNow(entry, /*volumes=*/true, Durability::kNone);
            if (!removed.ok())
              base::LogError("remove a container that could not be started",
                             {{"id", entry->id}, {"error", removed.message()}});
          }
          return started(response.status());
        }
        // On its strand, so it cannot have ended for us yet.
        v1::WaitRequest wait;
        wait.set_id(entry->id);
        wait.set_condition(entry->container.policy().auto_remove() ? "removed" : "not-running");
        uint64_t number = Wait(entry->ns, wait, std::move(ended));
        started(Running{std::move(*response->mutable_container()), number});
      });
}

absl::StatusOr<v1::CreateResponse> Manager::CreateNow(const std::string& ns,
                                                      v1::CreateRequest request,
                                                      Durability durability) {
  GANTRY_RETURN_IF_ERROR(CheckCreate(request));
  if (!request.policy().volumes().empty() && deps_.volumes == nullptr) {
    return absl::FailedPreconditionError("this gantryd has no volumes");
  }
  const std::string snapshotter =
      request.snapshotter().empty() ? options_.default_snapshotter : request.snapshotter();
  const std::string directory = files_.Directory(ns, request.id());
  GANTRY_ASSIGN_OR_RETURN(
      std::string spec,
      FillPlaces(std::move(*request.mutable_spec()), directory,
                 deps_.networks == nullptr ? "" : deps_.networks->NetnsPath(ns, request.id())));
  for (std::string* place : {request.mutable_policy()->mutable_log_uri()}) {
    if (size_t at = place->find("{dir}"); at != std::string::npos) place->replace(at, 5, directory);
  }
  GANTRY_ASSIGN_OR_RETURN(EntryPtr entry, registry_.Add(ns, request.id(), request.policy().name()));
  v1::Container container;
  container.set_id(request.id());
  *container.mutable_policy() = request.policy();
  container.set_image(request.image());
  container.set_snapshotter(snapshotter);
  container.set_snapshot_key(request.id());
  *container.mutable_labels() = request.labels();
  v1::State* state = container.mutable_state();
  state->set_status("created");
  base::SetTimestamp(state->mutable_created_at(), absl::Now());
  ResetHealth(false, state);
  if (request.policy().has_health()) state->set_health("starting");
  state->set_directory(directory);
  state->set_log_path(LogPath(request.policy().log_uri()));

  const Intent what = IntentOf(*entry, snapshotter);
  absl::Status made = deps_.snapshots->Stat(Context{.ns = ns}, snapshotter, request.id()).status();
  if (made.ok()) {
    registry_.Remove(*entry, request.policy().name());
    return absl::AlreadyExistsError(
        absl::StrCat("snapshot \"", request.id(), "\": already exists"));
  }
  absl::StatusOr<IntentScope> intent = IntentScope::Begin(deps_.db, kCreateIntent, what);
  made = intent.status();
  base::CrashPoint("lifecycle.create.begun");
  if (made.ok()) made = MakeParts(*entry, request, snapshotter);
  base::CrashPoint("lifecycle.create.made");
  if (made.ok()) {
    made = RecordCreation(*entry, RecordOf(request, snapshotter, std::move(spec)), container,
                          durability, &*intent);
  }
  if (!made.ok()) {
    absl::Status undone = intent.ok() ? RemoveParts(what) : absl::OkStatus();
    // What could not be removed now is removed at the next start.
    if (!undone.ok()) intent->Leave();
    registry_.Remove(*entry, request.policy().name());
    return made;
  }
  base::CrashPoint("lifecycle.create.recorded");
  v1::CreateResponse response;
  *response.mutable_container() = std::move(container);
  return response;
}

absl::Status Manager::MakeParts(Entry& entry, const v1::CreateRequest& request,
                                const std::string& snapshotter) {
  GANTRY_RETURN_IF_ERROR(files_.Create(entry.ns, entry.id, request.policy()));
  // The label keeps the snapshot from the collector until the record does.
  GANTRY_RETURN_IF_ERROR(
      deps_.snapshots
          ->Prepare(Context{.ns = entry.ns}, snapshotter, entry.id, request.parent(),
                    {{"containerd.io/gc.root", base::FormatRfc3339(absl::Now())}})
          .status());
  if (request.policy().volumes().empty()) return absl::OkStatus();
  return deps_.volumes
      ->Acquire(entry.ns, entry.id,
                {request.policy().volumes().begin(), request.policy().volumes().end()})
      .status();
}

absl::Status Manager::RecordCreation(Entry& entry, ContainerRecord record, v1::Container container,
                                     Durability durability, IntentScope* intent) {
  const Context ctx{.ns = entry.ns};
  Record row;
  *row.mutable_state() = container.state();
  GANTRY_RETURN_IF_ERROR(deps_.db->Update(durability, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(deps_.containers->CreateInTx(tx, ctx, &record));
    GANTRY_RETURN_IF_ERROR(TakeName(tx, entry.ns, container.policy().name(), entry.id));
    tx.PutProto(RecordKey(entry.ns, entry.id), row);
    AddObjectEvent(tx, entry.ns, ContainerEvent(container, "create"));
    return intent->EndIn(tx);
  }));
  intent->Leave();
  std::lock_guard<std::mutex> lock(entry.mutex);
  for (const auto& [key, value] : record.extensions()) {
    if (key != kExtension) entry.extensions[key] = value.value();
  }
  entry.container = std::move(container);
  entry.ready = true;
  return absl::OkStatus();
}

absl::Status Manager::RemoveParts(const Intent& what) {
  const std::string& ns = what.namespace_();
  absl::Status first;
  auto keep = [&](absl::string_view part, absl::Status status) {
    if (status.ok() || absl::IsNotFound(status)) return;
    base::LogError("remove a part of a container",
                   {{"id", what.id()}, {"part", part}, {"error", status.message()}});
    first.Update(base::Annotate(status, absl::StrCat("remove the ", part)));
  };
  if (deps_.networks != nullptr) keep("networks", deps_.networks->TearDown(ns, what.id()));
  if (deps_.volumes != nullptr) {
    keep("mounts of volumes", deps_.volumes->Unmount(ns, what.id()));
    keep("uses of volumes", deps_.volumes->Release(ns, what.id(), what.remove_volumes()));
  }
  if (!what.snapshot_key().empty()) {
    keep("snapshot",
         deps_.snapshots->Remove(Context{.ns = ns}, what.snapshotter(), what.snapshot_key()));
  }
  keep("directory", files_.Remove(ns, what.id()));
  return first;
}

}  // namespace gantry::services::lifecycle
