#ifndef GANTRY_SERVICES_CONTENT_LOCAL_CONTENT_STORE_H_
#define GANTRY_SERVICES_CONTENT_LOCAL_CONTENT_STORE_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "services/content/blob_files.h"
#include "services/content/content_records.h"
#include "services/content/content_store.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// The ContentStore there is: files in BlobFiles, records in Db.
class LocalContentStore : public ContentStore, public GcParticipant {
 public:
  LocalContentStore(Db* db, std::unique_ptr<BlobFiles> files) : db_(db), files_(std::move(files)) {}

  // Makes files and records agree; before anybody else uses the store.
  absl::Status Reconcile();

  absl::StatusOr<ContentInfo> GetInfo(const Context& ctx, const base::Digest& digest) override;
  absl::StatusOr<ContentInfo> UpdateInfo(const Context& ctx, const ContentInfo& info,
                                         const std::vector<std::string>& fieldpaths) override;
  absl::Status Walk(const Context& ctx, const std::vector<std::string>& filters,
                    const std::function<absl::Status(const ContentInfo&)>& visit) override;
  absl::Status Delete(const Context& ctx, const base::Digest& digest) override;
  absl::StatusOr<BlobReader> OpenReader(const Context& ctx, const base::Digest& digest) override;
  absl::StatusOr<std::unique_ptr<ContentWriter>> OpenWriter(const Context& ctx,
                                                            const WriteOptions& options) override;
  absl::StatusOr<IngestStatus> GetStatus(const Context& ctx, const std::string& ref) override;
  absl::StatusOr<std::vector<IngestStatus>> ListStatuses(
      const Context& ctx, const std::vector<std::string>& filters) override;
  absl::Status Abort(const Context& ctx, const std::string& ref) override;
  absl::Status LinkToLease(const Context& ctx, const base::Digest& digest) override;
  void WaitForTrash() override { files_->WaitForTrash(); }
  absl::StatusOr<DiskUse> GetDiskUse() override;
  GcParticipant* gc_participant() override { return this; }

  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

  // --- For ContentWriter.
  Db* db() { return db_; }
  BlobFiles* files() { return files_.get(); }
  // Removes the file if no namespace has a record any more; failures are logged.
  void ReclaimBlob(const base::Digest& digest);

  // Holds the lock of one ref of one namespace.
  class RefLock {
   public:
    RefLock(LocalContentStore* store, std::string id) : store_(store), id_(std::move(id)) {}
    RefLock(RefLock&& other) noexcept
        : store_(std::exchange(other.store_, nullptr)), id_(std::move(other.id_)) {}
    RefLock& operator=(RefLock&&) = delete;
    ~RefLock();
    const std::string& id() const { return id_; }

   private:
    LocalContentStore* store_;
    std::string id_;  // of the upload
  };
  // Unavailable ("ref … locked for …").
  absl::StatusOr<RefLock> LockRef(const std::string& ns, const std::string& ref);

 private:
  absl::StatusOr<IngestStatus> StatusOf(absl::string_view ns, const IngestRecord& record) const;
  absl::Status ReconcileBlobs(const std::map<std::string, int64_t>& recorded);
  absl::Status ReconcileIngests();
  // The records that OpenWriter() makes or finds, in one transaction.
  struct Opened {
    IngestRecord record;
    bool is_new = false;
    bool blob_exists = false;  // in the namespace
  };
  absl::StatusOr<Opened> OpenIngest(const Context& ctx, const WriteOptions& options);

  Db* const db_;
  const std::unique_ptr<BlobFiles> files_;
  std::mutex mutex_;
  std::map<std::string, absl::Time> locks_;  // by id of the upload; guarded by mutex_
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_LOCAL_CONTENT_STORE_H_
