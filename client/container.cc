#include "client/container.h"

#include <fcntl.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status.h"
#include "containerd/services/containers/v1/containers.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"

namespace gantry::client {
namespace {

namespace containers = containerd::services::containers::v1;
namespace snapshots = containerd::services::snapshots::v1;

constexpr char kNerdctlNameLabel[] = "nerdctl/name";
constexpr char kMountBase[] = "/run/gantryctl/mnt";

absl::Status RemoveSnapshot(const Connection& connection, const ContainerRecord& record) {
  snapshots::RemoveSnapshotRequest request;
  request.set_snapshotter(record.snapshotter());
  request.set_key(record.snapshot_key());
  google::protobuf::Empty nothing;
  return connection.Call(snapshots::SnapshotsMethods::kRemove, request, &nothing);
}

absl::Status RemoveRecord(const Connection& connection, const ContainerRecord& record) {
  containers::DeleteContainerRequest request;
  request.set_id(record.id());
  google::protobuf::Empty nothing;
  return connection.Call(containers::ContainersMethods::kDelete, request, &nothing);
}

absl::Status Tolerate(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// An overlay that can be looked at: without its writable part.
base::Mount ReadOnly(const containerd::types::Mount& mount) {
  base::Mount result{mount.type(), mount.source(), mount.target(), {}};
  std::string lower;
  for (const std::string& option : mount.options()) {
    if (mount.type() == "overlay" &&
        (absl::StartsWith(option, "upperdir=") || absl::StartsWith(option, "workdir="))) {
      continue;
    }
    if (absl::StartsWith(option, "lowerdir=")) lower = option.substr(9);
    if (option != "rw") result.options.push_back(option);
  }
  // An overlay of one directory is that directory (and older kernels refuse to mount it).
  if (mount.type() == "overlay" && !lower.empty() && !absl::StrContains(lower, ':')) {
    return {"bind", lower, "", {"rbind", "ro"}};
  }
  result.options.push_back("ro");
  return result;
}

absl::StatusOr<ResolvedUser> ResolveAt(const std::string& root, const UserRequest& user) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(root, O_PATH | O_DIRECTORY));
  return ResolveUser(fd.get(), user);
}

// A value in a filter.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

bool IsIdCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.'; }

// The containers whose id or name is exactly `name`.
std::vector<std::string> NameFilters(absl::string_view name) {
  std::vector<std::string> filters = {absl::StrCat("id==", Quoted(name))};
  for (const char* label : {kNameLabel, kNerdctlNameLabel}) {
    filters.push_back(absl::StrCat("labels.", Quoted(label), "==", Quoted(name)));
  }
  return filters;
}

}  // namespace

absl::Status CreateContainer(const Connection& connection, const ContainerRecord& record,
                             const std::string& parent, MountList* mounts) {
  containers::CreateContainerRequest create;
  *create.mutable_container() = record;
  containers::CreateContainerResponse created;
  snapshots::PrepareSnapshotRequest prepare;
  prepare.set_snapshotter(record.snapshotter());
  prepare.set_key(record.snapshot_key());
  prepare.set_parent(parent);
  snapshots::PrepareSnapshotResponse prepared;
  absl::Status record_status;
  absl::Status snapshot_status;
  {
    // The record first: it is what keeps the snapshot from the collector.
    Batch batch(connection);
    size_t record_call = batch.Start(containers::ContainersMethods::kCreate, create, &created);
    size_t snapshot_call = batch.Start(snapshots::SnapshotsMethods::kPrepare, prepare, &prepared);
    record_status = batch.Wait(record_call);
    snapshot_status = batch.Wait(snapshot_call);
  }
  if (record_status.ok() && snapshot_status.ok()) {
    *mounts = std::move(*prepared.mutable_mounts());
    return absl::OkStatus();
  }
  // The failure that counts is the first; what is undone here has no other owner.
  if (record_status.ok()) (void)RemoveRecord(connection, record);
  if (snapshot_status.ok()) (void)RemoveSnapshot(connection, record);
  if (!record_status.ok()) {
    return base::Annotate(record_status, absl::StrCat("create container ", record.id()));
  }
  return base::Annotate(snapshot_status,
                        absl::StrCat("prepare the root file system of ", record.id()));
}

absl::Status DeleteContainer(const Connection& connection, const ContainerRecord& record) {
  containers::DeleteContainerRequest remove;
  remove.set_id(record.id());
  snapshots::RemoveSnapshotRequest snapshot;
  snapshot.set_snapshotter(record.snapshotter());
  snapshot.set_key(record.snapshot_key());
  google::protobuf::Empty nothing;
  google::protobuf::Empty nothing_either;
  Batch batch(connection);
  size_t first = batch.Start(containers::ContainersMethods::kDelete, remove, &nothing);
  absl::Status status;
  if (!record.snapshot_key().empty()) {
    size_t second = batch.Start(snapshots::SnapshotsMethods::kRemove, snapshot, &nothing_either);
    status = Tolerate(batch.Wait(second));
  }
  status.Update(Tolerate(batch.Wait(first)));
  return base::Annotate(status, absl::StrCat("remove container ", record.id()));
}

absl::StatusOr<std::vector<ContainerRecord>> ListContainers(
    const Connection& connection, const std::vector<std::string>& filters) {
  containers::ListContainersRequest request;
  request.mutable_filters()->Assign(filters.begin(), filters.end());
  // A stream: all records together may be longer than a message.
  auto stream = connection.Open(containers::ContainersMethods::kListStream, request);
  std::vector<ContainerRecord> records;
  containers::ListContainerMessage message;
  while (stream.Read(&message)) records.push_back(std::move(*message.mutable_container()));
  GANTRY_RETURN_IF_ERROR(stream.Finish());
  return records;
}

absl::StatusOr<std::vector<ContainerRecord>> ContainersNamed(const Connection& connection,
                                                             absl::string_view name) {
  return ListContainers(connection, NameFilters(name));
}

absl::StatusOr<ContainerRecord> FindContainer(const Connection& connection,
                                              absl::string_view typed) {
  if (typed.empty()) return absl::InvalidArgumentError("a container's name must not be empty");
  std::vector<std::string> filters = NameFilters(typed);
  // A prefix of an id, in which the dot is the only character that a pattern would take otherwise.
  if (std::all_of(typed.begin(), typed.end(), IsIdCharacter)) {
    filters.push_back(absl::StrCat(
        "id~=", Quoted(absl::StrCat("^", absl::StrReplaceAll(typed, {{".", "\\."}})))));
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<ContainerRecord> found, ListContainers(connection, filters));
  for (ContainerRecord& record : found) {
    if (record.id() == typed) return std::move(record);
  }
  for (ContainerRecord& record : found) {
    if (ContainerName(record) == typed) return std::move(record);
  }
  if (found.size() == 1) return std::move(found[0]);
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("there is no container \"", typed, "\" in namespace ",
                                            connection.ns(), "; `gantryctl ps -a` lists them"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "\"", typed, "\" could be ",
      absl::StrJoin(found, " or ",
                    [](std::string* out, const ContainerRecord& r) { out->append(r.id()); })));
}

absl::StatusOr<base::Json> ContainerSpec(const ContainerRecord& record) {
  auto spec = base::ParseJson(record.spec().value());
  return spec.ok() ? spec
                   : absl::StatusOr<base::Json>(base::Annotate(
                         spec.status(), absl::StrCat("specification of ", record.id())));
}

std::string ContainerName(const ContainerRecord& record) {
  auto it = record.labels().find(kNameLabel);
  if (it == record.labels().end()) it = record.labels().find(kNerdctlNameLabel);
  return it == record.labels().end() ? std::string() : it->second;
}

absl::StatusOr<ResolvedUser> ResolveUserInMounts(const MountList& mounts, const UserRequest& user) {
  std::vector<base::Mount> list;
  for (const auto& mount : mounts) list.push_back(ReadOnly(mount));
  if (list.empty()) return absl::FailedPreconditionError("the snapshot has no mounts");
  // A plain directory needs no mount to be read: names are resolved inside it.
  if (list.size() == 1 && list[0].type == "bind") return ResolveAt(list[0].source, user);
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(kMountBase, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::TemporaryMount mounted,
                          base::TemporaryMount::Create(list, kMountBase));
  return ResolveAt(mounted.path(), user);
}

}  // namespace gantry::client
