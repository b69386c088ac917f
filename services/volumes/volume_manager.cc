#include "services/volumes/volume_manager.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"
#include "services/metadata/namespace_store.h"
#include "services/volumes/volume_files.h"
#include "services/volumes/volume_mount.h"
#include "services/volumes/volume_options.h"
#include "services/volumes/volume_records.h"
#include "snapshotter/copy_tree.h"

namespace gantry::services {
namespace {

constexpr char kAnonymousLabel[] = "com.docker.volume.anonymous";
constexpr char kDriver[] = "local";
constexpr size_t kMeasurers = 4;
constexpr absl::Duration kMeasureLimit = absl::Seconds(10);
constexpr size_t kMaxPath = 4096;

using VolumeName = std::pair<std::string, std::string>;  // namespace, name

// Volumes that are being changed. Each is changed by one thread at a time; those who want another
// volume do not wait.
class BusyVolumes {
 public:
  class Hold {
   public:
    Hold(BusyVolumes* owner, VolumeName name) : owner_(owner), name_(std::move(name)) {
      std::unique_lock lock(owner_->mutex_);
      owner_->changed_.wait(lock, [this] { return !owner_->names_.contains(name_); });
      owner_->names_.insert(name_);
    }
    ~Hold() {
      std::lock_guard lock(owner_->mutex_);
      owner_->names_.erase(name_);
      owner_->changed_.notify_all();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BusyVolumes* owner_;
    VolumeName name_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<VolumeName> names_;  // guarded by mutex_
};

absl::Status CheckContainer(absl::string_view id) {
  return base::Annotate(base::ValidateIdentifier(id), "container id");
}

bool IsMountedAnywhere(const std::vector<VolumeUse>& uses) {
  return std::any_of(uses.begin(), uses.end(), [](const VolumeUse& use) { return use.mounted; });
}

VolumeRecord DeleteIntentOf(const VolumeName& name) {
  VolumeRecord payload;
  payload.set_name(absl::StrCat(name.first, "/", name.second));
  return payload;
}

class Manager final : public VolumeManager {
 public:
  Manager(Db* db, Options options, std::unique_ptr<VolumeFiles> files)
      : db_(db), options_(std::move(options)), files_(std::move(files)) {}

  absl::StatusOr<volumes::CreateVolumeResponse> Create(const std::string& ns,
                                                       const volumes::Volume& volume) override;
  absl::StatusOr<volumes::VolumeInfo> Get(const std::string& ns, const std::string& name) override;
  absl::StatusOr<std::vector<volumes::VolumeInfo>> List(const std::string& ns,
                                                        bool with_usage) override;
  absl::Status Delete(const std::string& ns, const std::string& name, bool force) override;
  absl::StatusOr<std::vector<volumes::Volume>> Acquire(
      const std::string& ns, const std::string& container_id,
      const std::vector<std::string>& names) override;
  absl::Status Release(const std::string& ns, const std::string& container_id,
                       bool remove_anonymous) override;
  absl::Status Mount(const std::string& ns, const std::string& container_id) override;
  absl::Status Unmount(const std::string& ns, const std::string& container_id) override;
  absl::Status Populate(const std::string& ns,
                        const volumes::PopulateVolumeRequest& request) override;
  absl::Status Recover(const Question& exists, const Question& alive) override;

 private:
  volumes::Volume Present(const std::string& ns, VolumeRecord record) const {
    record.set_mountpoint(files_->DataPath(ns, record.name()));
    return record;
  }
  absl::StatusOr<std::optional<VolumeRecord>> Find(const std::string& ns,
                                                   const std::string& name) const;
  absl::StatusOr<volumes::CreateVolumeResponse> CreateHeld(const std::string& ns,
                                                           const VolumeRecord& wanted);
  absl::StatusOr<bool> FinishDeletion(const VolumeName& name);
  absl::Status MountOne(const VolumeUse& use);
  absl::Status AttachIfNeeded(const std::string& ns, const VolumeRecord& volume);
  absl::Status UnmountIfUnused(const VolumeName& name);
  absl::Status Forget(const std::vector<VolumeUse>& uses, bool remove_anonymous);
  absl::Status PopulateFrom(const volumes::PopulateVolumeRequest& request, const std::string& ns,
                            const VolumeRecord& volume, bool in_place, const std::string& rootfs);
  void Measure(const std::string& ns, std::vector<volumes::VolumeInfo>* infos);
  absl::Status RecoverUses(const Question& exists, const Question& alive);
  absl::Status RecoverVolumes();

  Db* const db_;
  const Options options_;
  const std::unique_ptr<VolumeFiles> files_;
  BusyVolumes busy_;
};

absl::StatusOr<std::optional<VolumeRecord>> Manager::Find(const std::string& ns,
                                                          const std::string& name) const {
  std::optional<VolumeRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, FindVolume(view, ns, name));
    return absl::OkStatus();
  }));
  return record;
}

absl::StatusOr<volumes::CreateVolumeResponse> Manager::Create(const std::string& ns,
                                                              const volumes::Volume& volume) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  VolumeRecord wanted = volume;
  wanted.clear_mountpoint();
  wanted.set_driver(volume.driver().empty() ? kDriver : volume.driver());
  if (volume.name().empty()) {
    wanted.set_name(base::RandomHex(32));
    wanted.set_anonymous(true);
    (*wanted.mutable_labels())[kAnonymousLabel] = "";
  }
  GANTRY_RETURN_IF_ERROR(CheckVolume(wanted));
  base::SetTimestamp(wanted.mutable_created_at(), absl::Now());
  BusyVolumes::Hold hold(&busy_, {ns, wanted.name()});
  return CreateHeld(ns, wanted);
}

absl::StatusOr<volumes::CreateVolumeResponse> Manager::CreateHeld(const std::string& ns,
                                                                  const VolumeRecord& wanted) {
  volumes::CreateVolumeResponse response;
  GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> old, Find(ns, wanted.name()));
  if (old.has_value()) {
    auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&b](const auto& entry) {
               auto found = b.find(entry.first);
               return found != b.end() && found->second == entry.second;
             });
    };
    // Who names no options takes the volume as it is.
    if (old->driver() != wanted.driver() ||
        (!wanted.options().empty() && !same(old->options(), wanted.options())))
      return absl::FailedPreconditionError(
          absl::StrCat("create ", wanted.name(), ": conflict: volume name must be unique"));
    *response.mutable_volume() = Present(ns, *std::move(old));
    response.set_existed(true);
    return response;
  }
  // A deletion of the same name may not have come to the files yet.
  GANTRY_RETURN_IF_ERROR(FinishDeletion({ns, wanted.name()}).status());
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(files_->Make(ns, wanted.name()), absl::StrCat("create ", wanted.name())));
  base::CrashPoint("volume.create.made");
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ns));
    tx.PutProto(VolumeKey(ns, wanted.name()), wanted);
    AddVolumeEvent(tx, ns, "create", wanted.name(), {{"driver", wanted.driver()}});
    return absl::OkStatus();
  }));
  *response.mutable_volume() = Present(ns, wanted);
  return response;
}

absl::StatusOr<volumes::VolumeInfo> Manager::Get(const std::string& ns, const std::string& name) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  volumes::VolumeInfo info;
  // A name that is none cannot be there.
  if (!CheckVolumeName(name).ok()) return NoSuchVolume("get", name);
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, FindVolume(view, ns, name));
    if (!record.has_value()) return NoSuchVolume("get", name);
    *info.mutable_volume() = Present(ns, *std::move(record));
    GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> uses, UsesOfVolume(view, ns, name));
    for (VolumeUse& use : uses) info.add_containers(std::move(use.container));
    return absl::OkStatus();
  }));
  return info;
}

absl::StatusOr<std::vector<volumes::VolumeInfo>> Manager::List(const std::string& ns,
                                                               bool with_usage) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  std::vector<volumes::VolumeInfo> infos;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(view.ScanProto<VolumeRecord>(
        KeyPrefix({kTableVolumes, ns}), [&](absl::string_view, VolumeRecord& record) {
          *infos.emplace_back().mutable_volume() = Present(ns, std::move(record));
          return true;
        }));
    for (volumes::VolumeInfo& info : infos) {
      GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> uses,
                              UsesOfVolume(view, ns, info.volume().name()));
      for (VolumeUse& use : uses) info.add_containers(std::move(use.container));
    }
    return absl::OkStatus();
  }));
  if (with_usage) Measure(ns, &infos);
  return infos;
}

// A few at a time, and all of them within ten seconds: what could not be counted is -1. So is what
// lies on another file system.
void Manager::Measure(const std::string& ns, std::vector<volumes::VolumeInfo>* infos) {
  const absl::Time deadline = absl::Now() + kMeasureLimit;
  std::atomic<size_t> next{0};
  auto work = [&] {
    while (true) {
      size_t i = next.fetch_add(1);
      if (i >= infos->size()) return;
      volumes::VolumeInfo& info = (*infos)[i];
      int64_t size = -1;
      if (!HasMount(info.volume())) {
        absl::StatusOr<base::UniqueFd> data = files_->OpenData(ns, info.volume().name());
        if (data.ok()) size = MeasureVolume(*std::move(data), deadline);
      }
      info.mutable_usage()->set_size(size);
      info.mutable_usage()->set_references(static_cast<uint32_t>(info.containers_size()));
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min(kMeasurers, infos->size()); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

absl::Status Manager::Delete(const std::string& ns, const std::string& name, bool force) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  if (!CheckVolumeName(name).ok()) return force ? absl::OkStatus() : NoSuchVolume("get", name);
  BusyVolumes::Hold hold(&busy_, {ns, name});
  absl::Status deleted = db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, FindVolume(tx, ns, name));
    if (!record.has_value()) return NoSuchVolume("get", name);
    GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> uses, UsesOfVolume(tx, ns, name));
    if (!uses.empty()) {
      auto id = [](std::string* out, const VolumeUse& use) { out->append(use.container); };
      return absl::FailedPreconditionError(absl::StrCat("remove ", name, ": volume is in use - [",
                                                        absl::StrJoin(uses, ", ", id), "]"));
    }
    tx.Delete(VolumeKey(ns, name));
    AddVolumeEvent(tx, ns, "destroy", name, {{"driver", record->driver()}});
    return BeginIntent(tx, kVolumeDeleteIntent, DeleteIntentOf({ns, name})).status();
  });
  if (absl::IsNotFound(deleted) && force) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(deleted);
  base::CrashPoint("volume.delete.recorded");
  return FinishDeletion({ns, name}).status();
}

// Throws away the directory of a volume that was deleted; false when none was. What fails is tried
// again at the next start. The caller holds the volume.
absl::StatusOr<bool> Manager::FinishDeletion(const VolumeName& name) {
  std::vector<uint64_t> ids;
  const std::string wanted = DeleteIntentOf(name).name();
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::vector<Intent> pending, PendingIntents(view, kVolumeDeleteIntent));
    for (const Intent& intent : pending) {
      VolumeRecord payload;
      if (intent.payload().UnpackTo(&payload) && payload.name() == wanted)
        ids.push_back(intent.id());
    }
    return absl::OkStatus();
  }));
  if (ids.empty()) return false;
  GANTRY_RETURN_IF_ERROR(base::Annotate(files_->Discard(name.first, name.second),
                                        absl::StrCat("remove ", name.second)));
  base::CrashPoint("volume.delete.discarded");
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    for (uint64_t id : ids) GANTRY_RETURN_IF_ERROR(EndIntent(tx, kVolumeDeleteIntent, id));
    return absl::OkStatus();
  }));
  return true;
}

absl::StatusOr<std::vector<volumes::Volume>> Manager::Acquire(
    const std::string& ns, const std::string& container_id, const std::vector<std::string>& names) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  GANTRY_RETURN_IF_ERROR(CheckContainer(container_id));
  std::vector<volumes::Volume> found;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    found.clear();
    GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> uses, UsesOfContainer(tx, ns, container_id));
    std::set<std::string> known;
    for (const VolumeUse& use : uses) known.insert(use.name);
    for (const std::string& name : names) {
      if (!CheckVolumeName(name).ok()) return NoSuchVolume("get", name);
      GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, FindVolume(tx, ns, name));
      if (!record.has_value()) return NoSuchVolume("get", name);
      found.push_back(Present(ns, *std::move(record)));
      // One that is mounted for it already stays so.
      if (known.insert(name).second) PutUse(tx, {ns, container_id, name, false});
    }
    return absl::OkStatus();
  }));
  return found;
}

absl::Status Manager::Release(const std::string& ns, const std::string& container_id,
                              bool remove_anonymous) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  GANTRY_RETURN_IF_ERROR(CheckContainer(container_id));
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(uses, UsesOfContainer(view, ns, container_id));
    return absl::OkStatus();
  }));
  return Forget(uses, remove_anonymous);
}

// One transaction for all, then the mounts and directories of each. What fails there is done at
// the next start.
absl::Status Manager::Forget(const std::vector<VolumeUse>& uses, bool remove_anonymous) {
  if (uses.empty()) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    for (const VolumeUse& use : uses) {
      DeleteUse(tx, use);
      GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, FindVolume(tx, use.ns, use.name));
      if (!record.has_value()) continue;
      if (use.mounted)
        AddVolumeEvent(tx, use.ns, "unmount", use.name,
                       {{"driver", record->driver()}, {"container", use.container}});
      GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> others, UsesOfVolume(tx, use.ns, use.name));
      if (!remove_anonymous || !record->anonymous() || !others.empty()) continue;
      tx.Delete(VolumeKey(use.ns, use.name));
      AddVolumeEvent(tx, use.ns, "destroy", use.name, {{"driver", record->driver()}});
      GANTRY_RETURN_IF_ERROR(
          BeginIntent(tx, kVolumeDeleteIntent, DeleteIntentOf({use.ns, use.name})).status());
    }
    return absl::OkStatus();
  }));
  base::CrashPoint("volume.release.recorded");
  absl::Status result;
  for (const VolumeUse& use : uses) {
    BusyVolumes::Hold hold(&busy_, {use.ns, use.name});
    absl::StatusOr<bool> deleted = FinishDeletion({use.ns, use.name});
    absl::Status done = deleted.status();
    if (deleted.ok() && !*deleted) done = UnmountIfUnused({use.ns, use.name});
    if (result.ok()) result = done;
  }
  return result;
}

absl::Status Manager::Mount(const std::string& ns, const std::string& container_id) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  GANTRY_RETURN_IF_ERROR(CheckContainer(container_id));
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(uses, UsesOfContainer(view, ns, container_id));
    return absl::OkStatus();
  }));
  for (const VolumeUse& use : uses) {
    absl::Status mounted = MountOne(use);
    if (mounted.ok()) continue;
    // All or none: the container will not run.
    absl::Status undone = Unmount(ns, container_id);
    if (!undone.ok())
      base::LogWarn("volumes stay mounted",
                    {{"container", container_id}, {"error", undone.ToString()}});
    return mounted;
  }
  return absl::OkStatus();
}

// The mount first, then the record of it: what has no record at the next start is undone.
absl::Status Manager::MountOne(const VolumeUse& use) {
  BusyVolumes::Hold hold(&busy_, {use.ns, use.name});
  GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, Find(use.ns, use.name));
  if (!record.has_value()) return NoSuchVolume("get", use.name);
  if (absl::Status attached = AttachIfNeeded(use.ns, *record); !attached.ok()) {
    (void)UnmountIfUnused({use.ns, use.name});
    return attached;
  }
  base::CrashPoint("volume.mount.mounted");
  absl::Status marked = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::vector<VolumeUse> now, UsesOfContainer(tx, use.ns, use.container));
    auto still = std::find_if(now.begin(), now.end(),
                              [&use](const VolumeUse& one) { return one.name == use.name; });
    if (still == now.end())
      return absl::NotFoundError(
          absl::StrCat("container ", use.container, " does not use volume ", use.name));
    if (still->mounted) return absl::OkStatus();
    PutUse(tx, {use.ns, use.container, use.name, true});
    AddVolumeEvent(tx, use.ns, "mount", use.name,
                   {{"driver", record->driver()}, {"container", use.container}});
    return absl::OkStatus();
  });
  if (!marked.ok()) (void)UnmountIfUnused({use.ns, use.name});
  return marked;
}

absl::Status Manager::AttachIfNeeded(const std::string& ns, const VolumeRecord& volume) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd directory, files_->OpenVolume(ns, volume.name()));
  if (!HasMount(volume)) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(bool mounted, IsMounted(directory.get(), "_data"));
  if (mounted) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(VolumeMount options, ParseVolumeMount(volume));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd mount, MakeVolumeMount(options));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd data, files_->OpenData(ns, volume.name()));
  return AttachVolumeMount(mount, options, data.get());
}

absl::Status Manager::Unmount(const std::string& ns, const std::string& container_id) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  GANTRY_RETURN_IF_ERROR(CheckContainer(container_id));
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(uses, UsesOfContainer(tx, ns, container_id));
    std::erase_if(uses, [](const VolumeUse& use) { return !use.mounted; });
    for (const VolumeUse& use : uses) {
      PutUse(tx, {use.ns, use.container, use.name, false});
      GANTRY_ASSIGN_OR_RETURN(std::optional<VolumeRecord> record, FindVolume(tx, ns, use.name));
      AddVolumeEvent(tx, ns, "unmount", use.name,
                     {{"driver", record.has_value() ? record->driver() : kDriver},
                      {"container", container_id}});
    }
    return absl::OkStatus();
  }));
  absl::Status result;
  for (const VolumeUse& use : uses) {
    BusyVolumes::Hold hold(&busy_, {use.ns, use.name});
    absl::Status done = UnmountIfUnused({use.ns, use.name});
    if (result.ok()) result = done;
  }
  return result;
}

// The caller holds the volume.
absl::Status Manager::UnmountIfUnused(const VolumeName& name) {
  std::vector<VolumeUse> uses;
  std::optional<VolumeRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, FindVolume(view, name.first, name.second));
    GANTRY_ASSIGN_OR_RETURN(uses, UsesOfVolume(view, name.first, name.second));
    return absl::OkStatus();
  }));
  if (!record.has_value() || !HasMount(*record) || IsMountedAnywhere(uses)) return absl::OkStatus();
  absl::StatusOr<base::UniqueFd> directory = files_->OpenVolume(name.first, name.second);
  if (absl::IsNotFound(directory.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(directory.status());
  return base::Annotate(UnmountEntry(directory->get(), "_data"),
                        absl::StrCat("unmount ", name.second));
}

absl::Status Manager::Populate(const std::string& ns,
                               const volumes::PopulateVolumeRequest& request) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace({.ns = ns}));
  GANTRY_RETURN_IF_ERROR(CheckContainer(request.container_id()));
  const std::string& name = request.name();
  if (!CheckVolumeName(name).ok()) return NoSuchVolume("get", name);
  if (request.path().empty() || request.path().size() > kMaxPath)
    return absl::InvalidArgumentError("the path in the root file system is empty or too long");
  if (!options_.with_rootfs)
    return absl::UnimplementedError("volumes cannot be filled: no snapshots here");
  BusyVolumes::Hold hold(&busy_, {ns, name});
  std::vector<VolumeUse> uses;
  std::optional<VolumeRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, FindVolume(view, ns, name));
    GANTRY_ASSIGN_OR_RETURN(uses, UsesOfVolume(view, ns, name));
    return absl::OkStatus();
  }));
  if (!record.has_value()) return NoSuchVolume("get", name);
  GANTRY_RETURN_IF_ERROR(AttachIfNeeded(ns, *record));
  // Behind the back of a container that runs the directory must stay the same.
  const bool in_place = HasMount(*record) || IsMountedAnywhere(uses);
  absl::Status filled = [&]() -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd data, files_->OpenData(ns, name));
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDirFd(data.get()));
    if (!names.empty()) return absl::OkStatus();
    return options_.with_rootfs(ns, request.container_id(), [&](const std::string& rootfs) {
      return PopulateFrom(request, ns, *record, in_place, rootfs);
    });
  }();
  absl::Status unmounted = UnmountIfUnused({ns, name});
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(filled, absl::StrCat("fill volume ", name, " from ", request.path())));
  return unmounted;
}

absl::Status Manager::PopulateFrom(const volumes::PopulateVolumeRequest& request,
                                   const std::string& ns, const VolumeRecord& volume, bool in_place,
                                   const std::string& rootfs) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd root, base::Open(rootfs, O_PATH | O_DIRECTORY));
  // Links of the image stay inside of it.
  absl::StatusOr<base::UniqueFd> source =
      base::OpenUnder(root.get(), request.path(), O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (base::ErrnoOf(source.status()) == ENOTDIR)
    return absl::InvalidArgumentError(
        absl::StrCat("cannot mount volume over existing file, file exists ", request.path()));
  if (absl::IsNotFound(source.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(source.status());
  if (in_place) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd data, files_->OpenData(ns, volume.name()));
    return snapshotter::CopyTree(*std::move(source), std::move(data));
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd staging, files_->MakeStaging(ns, volume.name()));
  absl::Status copied = snapshotter::CopyTree(*std::move(source), std::move(staging));
  base::CrashPoint("volume.populate.copied");
  if (copied.ok()) copied = files_->ExchangeStaging(ns, volume.name());
  if (!copied.ok()) (void)files_->DiscardUnfinished(ns, volume.name());
  return copied;
}

absl::Status Manager::Recover(const Question& exists, const Question& alive) {
  GANTRY_RETURN_IF_ERROR(
      ReplayIntents<VolumeRecord>(db_, kVolumeDeleteIntent, [&](const VolumeRecord& deleted) {
        std::vector<std::string> parts = absl::StrSplit(deleted.name(), '/');
        if (parts.size() != 2)
          return absl::DataLossError(absl::StrCat("no volume: ", deleted.name()));
        return files_->Discard(parts[0], parts[1]);
      }));
  GANTRY_RETURN_IF_ERROR(RecoverUses(exists, alive));
  return RecoverVolumes();
}

absl::Status Manager::RecoverUses(const Question& exists, const Question& alive) {
  std::vector<VolumeUse> uses;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(uses, AllUses(view));
    return absl::OkStatus();
  }));
  std::vector<VolumeUse> gone, ended;
  for (const VolumeUse& use : uses) {
    if (!exists(use.ns, use.container)) {
      gone.push_back(use);
    } else if (use.mounted && !alive(use.ns, use.container)) {
      ended.push_back(use);
    }
  }
  GANTRY_RETURN_IF_ERROR(Forget(gone, /*remove_anonymous=*/false));
  if (ended.empty()) return absl::OkStatus();
  return db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    for (const VolumeUse& use : ended) {
      PutUse(tx, {use.ns, use.container, use.name, false});
      AddVolumeEvent(tx, use.ns, "unmount", use.name,
                     {{"driver", kDriver}, {"container", use.container}});
    }
    return absl::OkStatus();
  });
}

// Directories and mounts as the records have them. One volume that fails does not keep the others.
absl::Status Manager::RecoverVolumes() {
  std::vector<std::pair<std::string, VolumeRecord>> records;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<VolumeRecord>(
        KeyPrefix({kTableVolumes}), [&](absl::string_view rest, VolumeRecord& record) {
          records.emplace_back(std::string(SplitKey(rest)[0]), std::move(record));
          return true;
        });
  }));
  for (const auto& [ns, record] : records) {
    absl::Status recovered;
    if (!files_->Exists(ns, record.name())) {
      base::LogError("the directory of a volume is missing; it is made again, empty",
                     {{"ns", ns}, {"volume", record.name()}});
      recovered = files_->Make(ns, record.name());
    } else {
      recovered = files_->DiscardUnfinished(ns, record.name());
      if (recovered.ok()) recovered = UnmountIfUnused({ns, record.name()});
    }
    if (!recovered.ok())
      base::LogError("a volume is not as it should be",
                     {{"ns", ns}, {"volume", record.name()}, {"error", recovered.ToString()}});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<VolumeManager>> OpenVolumeManager(Db* db,
                                                                 VolumeManager::Options options) {
  absl::StatusOr<std::unique_ptr<VolumeFiles>> files = VolumeFiles::Open(options.root);
  GANTRY_RETURN_IF_ERROR(base::Annotate(files.status(), "open the volumes"));
  return std::make_unique<Manager>(db, std::move(options), *std::move(files));
}

}  // namespace gantry::services
