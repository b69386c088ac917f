#include "services/content/local_content_store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/content/content_writer.h"
#include "services/metadata/filters.h"
#include "services/metadata/keys.h"
#include "services/metadata/lease_store.h"

namespace gantry::services {
namespace {

// An upload that no lease lists is given up after this (containerd's figure).
constexpr absl::Duration kIngestLife = absl::Hours(24);

std::optional<std::string> LookupInfo(const ContentInfo& info,
                                      absl::Span<const std::string> fieldpath) {
  if (fieldpath.empty()) return std::nullopt;
  if (fieldpath[0] == "digest") return info.digest.str();
  if (fieldpath[0] != "labels") return std::nullopt;
  auto it = info.labels.find(absl::StrJoin(fieldpath.subspan(1), "."));
  if (it == info.labels.end()) return std::nullopt;
  return it->second;
}

absl::Status IngestNotFound(absl::string_view ref) {
  return absl::NotFoundError(absl::StrCat("reference ", ref, ": not found"));
}

// Labels of `info` that `fieldpaths` names, put into `labels`.
absl::Status UpdateLabels(const ContentInfo& info, const std::vector<std::string>& fieldpaths,
                          Labels* labels) {
  if (fieldpaths.empty()) *labels = info.labels;
  for (const std::string& path : fieldpaths) {
    absl::string_view key = path;
    if (absl::ConsumePrefix(&key, "labels.")) {
      auto it = info.labels.find(std::string(key));
      if (it == info.labels.end() || it->second.empty()) {
        labels->erase(std::string(key));
      } else {
        (*labels)[it->first] = it->second;
      }
    } else if (path == "labels") {
      *labels = info.labels;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("cannot update \"", path,
                                                     "\" field on content info \"",
                                                     info.digest.str(), "\": invalid argument"));
    }
  }
  return CheckLabels(*labels);
}

}  // namespace

absl::StatusOr<ContentInfo> LocalContentStore::GetInfo(const Context& ctx,
                                                       const base::Digest& digest) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  std::optional<InfoRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, view.GetProto<InfoRecord>(BlobKey(ctx.ns, digest.str())));
    return absl::OkStatus();
  }));
  if (!record.has_value()) return ContentNotFound(digest);
  return FromRecord(*record);
}

absl::StatusOr<ContentInfo> LocalContentStore::UpdateInfo(
    const Context& ctx, const ContentInfo& info, const std::vector<std::string>& fieldpaths) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  ContentInfo updated;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    std::string key = BlobKey(ctx.ns, info.digest.str());
    GANTRY_ASSIGN_OR_RETURN(auto record, tx.GetProto<InfoRecord>(key));
    if (!record.has_value()) return ContentNotFound(info.digest);
    GANTRY_ASSIGN_OR_RETURN(updated, FromRecord(*record));
    GANTRY_RETURN_IF_ERROR(UpdateLabels(info, fieldpaths, &updated.labels));
    updated.updated_at = absl::Now();
    // Not marked dirty, as in containerd: what lost a reference by this waits for the next
    // collection, and a client may label what nothing refers to yet.
    tx.PutProto(key, ToRecord(updated));
    return absl::OkStatus();
  }));
  return updated;
}

absl::Status LocalContentStore::Walk(const Context& ctx, const std::vector<std::string>& filters,
                                     const std::function<absl::Status(const ContentInfo&)>& visit) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  std::vector<ContentInfo> found;
  absl::Status bad;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    return view.ScanProto<InfoRecord>(
        KeyPrefix({kTableBlobs, ctx.ns}), [&](absl::string_view, const InfoRecord& record) {
          auto info = FromRecord(record);
          bad = info.status();
          if (!bad.ok()) return false;
          if (filter.Match(
                  [&](absl::Span<const std::string> path) { return LookupInfo(*info, path); }))
            found.push_back(*std::move(info));
          return true;
        });
  }));
  GANTRY_RETURN_IF_ERROR(bad);
  for (const ContentInfo& info : found) GANTRY_RETURN_IF_ERROR(visit(info));
  return absl::OkStatus();
}

absl::Status LocalContentStore::Delete(const Context& ctx, const base::Digest& digest) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(BlobKey(ctx.ns, digest.str())));
    if (!exists) return ContentNotFound(digest);
    GANTRY_RETURN_IF_ERROR(DeleteBlobRecord(tx, ctx.ns, digest.str()));
    tx.MarkDirty();
    return UnlinkFromLease(tx, ctx, kLeaseContent, digest.str());
  }));
  ReclaimBlob(digest);
  return absl::OkStatus();
}

void LocalContentStore::ReclaimBlob(const base::Digest& digest) {
  absl::Status removed =
      files_->RemoveBlobUnless(digest, [&] { return IsReferenced(*db_, digest); });
  if (!removed.ok())
    base::LogWarn("remove blob", {{"digest", digest.str()}, {"error", removed.message()}});
}

absl::StatusOr<BlobReader> LocalContentStore::OpenReader(const Context& ctx,
                                                         const base::Digest& digest) {
  GANTRY_RETURN_IF_ERROR(GetInfo(ctx, digest).status());
  auto fd = base::Open(files_->BlobPath(digest), O_RDONLY);
  if (!fd.ok()) return base::Annotate(fd.status(), absl::StrCat("content ", digest.str()));
  struct stat st;
  if (fstat(fd->get(), &st) != 0) return base::ErrnoStatus(errno, digest.str());
  return BlobReader{*std::move(fd), st.st_size};
}

absl::StatusOr<LocalContentStore::Opened> LocalContentStore::OpenIngest(
    const Context& ctx, const WriteOptions& options) {
  Opened opened;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    if (!options.expected.empty()) {
      GANTRY_ASSIGN_OR_RETURN(opened.blob_exists,
                              tx.Exists(BlobKey(ctx.ns, options.expected.str())));
      // The caller's lease keeps what it found.
      if (opened.blob_exists)
        return services::LinkToLease(tx, ctx, kLeaseContent, options.expected.str());
    }
    std::string key = IngestKey(ctx.ns, options.ref);
    GANTRY_ASSIGN_OR_RETURN(auto record, tx.GetProto<IngestRecord>(key));
    opened.is_new = !record.has_value();
    opened.record = record.value_or(IngestRecord());
    if (opened.is_new) {
      opened.record.set_ref(options.ref);
      opened.record.set_total(options.total);
      base::SetTimestamp(opened.record.mutable_started_at(), absl::Now());
    }
    // Under a lease it lives as long as that; containerd does the same.
    opened.record.clear_expires_at();
    if (ctx.lease.empty()) {
      base::SetTimestamp(opened.record.mutable_expires_at(), absl::Now() + kIngestLife);
    }
    tx.PutProto(key, opened.record);
    return services::LinkToLease(tx, ctx, kLeaseIngests, options.ref);
  }));
  return opened;
}

absl::StatusOr<std::unique_ptr<ContentWriter>> LocalContentStore::OpenWriter(
    const Context& ctx, const WriteOptions& options) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (options.ref.empty())
    return absl::InvalidArgumentError("ref must not be empty: invalid argument");
  GANTRY_RETURN_IF_ERROR(CheckKeyComponent("ref", options.ref));
  if (options.ref.size() > 32768) return absl::InvalidArgumentError("ref is too long");
  GANTRY_ASSIGN_OR_RETURN(RefLock lock, LockRef(ctx.ns, options.ref));
  GANTRY_ASSIGN_OR_RETURN(Opened opened, OpenIngest(ctx, options));
  if (opened.blob_exists) return ContentExists(options.expected);

  const IngestRecord& record = opened.record;
  IngestStatus status{options.ref,
                      0,
                      record.total() > 0 ? record.total() : options.total,
                      "",
                      base::GetTimestamp(record.started_at()),
                      absl::Now()};
  auto algorithm = !options.expected.empty() && options.expected.algorithm() == "sha512"
                       ? base::Hasher::Algorithm::kSha512
                       : base::Hasher::Algorithm::kSha256;
  auto writer = std::make_unique<LocalContentWriter>(this, ctx, std::move(lock), std::move(status),
                                                     algorithm);
  if (!options.expected.empty()) {
    BlobFiles::Pin pin(files_.get(), options.expected);
    auto size = files_->FindBlob(options.expected);
    if (size.has_value() && (options.total == 0 || options.total == *size)) {
      writer->BeginShared(options.expected, *size, std::move(pin));
      return writer;
    }
  }
  GANTRY_RETURN_IF_ERROR(base::Annotate(writer->BeginFile(opened.is_new), "open upload"));
  return writer;
}

absl::StatusOr<IngestStatus> LocalContentStore::StatusOf(absl::string_view ns,
                                                         const IngestRecord& record) const {
  struct stat st;
  std::string path = files_->IngestData(BlobFiles::IngestId(ns, record.ref()));
  if (lstat(path.c_str(), &st) != 0) return IngestNotFound(record.ref());
  return IngestStatus{record.ref(),
                      st.st_size,
                      record.total(),
                      "",
                      base::GetTimestamp(record.started_at()),
                      absl::TimeFromTimespec(st.st_mtim)};
}

absl::StatusOr<IngestStatus> LocalContentStore::GetStatus(const Context& ctx,
                                                          const std::string& ref) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  std::optional<IngestRecord> record;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(record, view.GetProto<IngestRecord>(IngestKey(ctx.ns, ref)));
    return absl::OkStatus();
  }));
  if (!record.has_value()) return IngestNotFound(ref);
  return StatusOf(ctx.ns, *record);
}

absl::StatusOr<std::vector<IngestStatus>> LocalContentStore::ListStatuses(
    const Context& ctx, const std::vector<std::string>& filters) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  std::vector<IngestRecord> records;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<IngestRecord>(KeyPrefix({kTableIngests, ctx.ns}),
                                        [&](absl::string_view, const IngestRecord& record) {
                                          records.push_back(record);
                                          return true;
                                        });
  }));
  std::vector<IngestStatus> statuses;
  for (const IngestRecord& record : records) {
    bool matches =
        filter.Match([&record](absl::Span<const std::string> path) -> std::optional<std::string> {
          if (path.empty() || path[0] != "ref") return std::nullopt;
          return record.ref();
        });
    if (!matches) continue;
    auto status = StatusOf(ctx.ns, record);
    // It was committed meanwhile, or needs no file.
    if (absl::IsNotFound(status.status())) continue;
    GANTRY_RETURN_IF_ERROR(status.status());
    statuses.push_back(*std::move(status));
  }
  return statuses;
}

absl::Status LocalContentStore::Abort(const Context& ctx, const std::string& ref) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(IngestKey(ctx.ns, ref)));
    if (!exists) return IngestNotFound(ref);
    return DeleteIngestRecord(tx, ctx, ref);
  }));
  return files_->RemoveIngest(BlobFiles::IngestId(ctx.ns, ref));
}

absl::Status LocalContentStore::LinkToLease(const Context& ctx, const base::Digest& digest) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (ctx.lease.empty()) return absl::OkStatus();
  return db_->Update(Durability::kNone, [&](Tx& tx) {
    return services::LinkToLease(tx, ctx, kLeaseContent, digest.str());
  });
}

absl::StatusOr<ContentStore::DiskUse> LocalContentStore::GetDiskUse() {
  DiskUse use;
  GANTRY_RETURN_IF_ERROR(files_->WalkBlobs([&use](const base::Digest&, int64_t size) {
    use.bytes += size;
    ++use.blobs;
  }));
  return use;
}

absl::StatusOr<LocalContentStore::RefLock> LocalContentStore::LockRef(const std::string& ns,
                                                                      const std::string& ref) {
  std::string id = BlobFiles::IngestId(ns, ref);
  std::lock_guard lock(mutex_);
  auto [it, is_new] = locks_.emplace(id, absl::Now());
  if (!is_new) {
    return absl::UnavailableError(
        absl::StrCat("ref ", ref, " locked for ", absl::FormatDuration(absl::Now() - it->second),
                     " (since ", base::FormatRfc3339(it->second), "): unavailable"));
  }
  return RefLock(this, std::move(id));
}

LocalContentStore::RefLock::~RefLock() {
  if (store_ == nullptr) return;
  std::lock_guard lock(store_->mutex_);
  store_->locks_.erase(id_);
}

absl::Status LocalContentStore::Reconcile() {
  std::map<std::string, int64_t> recorded;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<InfoRecord>(KeyPrefix({kTableBlobs}),
                                      [&](absl::string_view, const InfoRecord& record) {
                                        recorded[record.digest()] = record.size();
                                        return true;
                                      });
  }));
  GANTRY_RETURN_IF_ERROR(ReconcileBlobs(recorded));
  return ReconcileIngests();
}

absl::Status LocalContentStore::ReconcileBlobs(const std::map<std::string, int64_t>& recorded) {
  std::vector<base::Digest> strays;
  std::set<std::string> sound;
  GANTRY_RETURN_IF_ERROR(files_->WalkBlobs([&](const base::Digest& digest, int64_t size) {
    auto it = recorded.find(digest.str());
    if (it == recorded.end()) strays.push_back(digest);
    if (it != recorded.end() && it->second == size) sound.insert(digest.str());
  }));
  for (const base::Digest& digest : strays) {
    base::LogInfo("removing a blob without a record", {{"digest", digest.str()}});
    ReclaimBlob(digest);
  }
  for (const auto& [digest, size] : recorded) {
    if (sound.count(digest) == 0) {
      base::LogError("content is recorded but its file is missing or has another size",
                     {{"digest", digest}, {"size", absl::StrCat(size)}});
    }
  }
  return absl::OkStatus();
}

absl::Status LocalContentStore::ReconcileIngests() {
  std::set<std::string> wanted;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.Scan(KeyPrefix({kTableIngests}), [&](absl::string_view rest, absl::string_view) {
      auto parts = SplitKey(rest);
      if (parts.size() == 2) wanted.insert(BlobFiles::IngestId(parts[0], parts[1]));
      return true;
    });
  }));
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, files_->ListIngests());
  for (const std::string& id : ids) {
    if (wanted.count(id) == 0) GANTRY_RETURN_IF_ERROR(files_->RemoveIngest(id));
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
