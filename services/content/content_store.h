#ifndef GANTRY_SERVICES_CONTENT_CONTENT_STORE_H_
#define GANTRY_SERVICES_CONTENT_CONTENT_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "base/unique_fd.h"

namespace gantry::services {

struct Context;
class Db;
class GcParticipant;

using Labels = std::map<std::string, std::string>;

struct ContentInfo {
  base::Digest digest;
  int64_t size = 0;
  absl::Time created_at;
  absl::Time updated_at;
  Labels labels;
};

// An upload that is not committed yet.
struct IngestStatus {
  std::string ref;
  int64_t offset = 0;    // bytes received
  int64_t total = 0;     // 0: not known
  std::string expected;  // digest, may be empty
  absl::Time started_at;
  absl::Time updated_at;
};

// An open blob. The descriptor stays readable after the blob was deleted.
struct BlobReader {
  base::UniqueFd fd;  // O_RDONLY, at offset 0; pread(2) it
  int64_t size = 0;
};

// What OpenWriter() needs to know.
struct WriteOptions {
  std::string ref;        // names the upload inside the namespace; must not be empty
  int64_t total = 0;      // expected size, 0 if not known
  base::Digest expected;  // may be empty
};

// One upload, locked by its ref until the object is destroyed. What was written stays (and can be
// resumed by another OpenWriter() with the same ref) until Commit() or ContentStore::Abort().
// Not thread-safe.
class ContentWriter {
 public:
  virtual ~ContentWriter() = default;

  virtual const IngestStatus& status() const = 0;
  int64_t offset() const { return status().offset; }
  // sha256 (or of the algorithm of the expected digest) of what was written so far.
  virtual base::Digest Digest() = 0;

  // Appends. ResourceExhausted when the disk is full; the upload then stays as it was before, up to
  // an offset that the next OpenWriter() reports.
  virtual absl::Status Write(absl::string_view data) = 0;

  // Drops what was written beyond `size`; only 0 is supported (Unimplemented otherwise), as in
  // containerd.
  virtual absl::Status Truncate(int64_t size) = 0;

  // The caller hashed the stream itself in the one pass in which it wrote it; Write() hashes no
  // more. Must be called before the first Write() of an upload at offset 0; Commit() then takes
  // `digest` from AdoptDigest().
  virtual absl::Status SkipHashing() = 0;
  virtual void AdoptDigest(const base::Digest& digest) = 0;

  // Makes the blob durable and visible in the namespace of the writer with `labels`; the upload is
  // gone then. `size` 0 and an empty `expected` are not checked. FailedPrecondition for another
  // size or digest (nothing becomes visible; the upload stays), AlreadyExists when the namespace
  // has the blob (the upload is gone, labels are not changed). After a power loss the blob is there
  // whole if this returned OK.
  virtual absl::StatusOr<base::Digest> Commit(int64_t size, const base::Digest& expected,
                                              const Labels& labels) = 0;
};

// The content store: immutable blobs named by their digest, kept once on disk in
// <root>/io.containerd.content.v1.content/blobs/<algorithm>/<hex> and visible per namespace by a
// record in the database. A blob that another namespace has becomes visible in this one when
// somebody gives its digest as expected and commits ("shared" policy of containerd). Codes and
// texts as containerd's metadata content store and local content plugin have them.
// Thread-safe. Methods touch the disk; none holds a lock over it except that of one ref.
class ContentStore {
 public:
  virtual ~ContentStore() = default;

  // Makes the directories, puts away what a crash left (files without a record, unfinished trash)
  // and logs records without a file. `db` must outlive the store.
  static absl::StatusOr<std::unique_ptr<ContentStore>> Open(const std::string& root, Db* db);

  // NotFound ("content sha256:…: not found").
  virtual absl::StatusOr<ContentInfo> GetInfo(const Context& ctx, const base::Digest& digest) = 0;

  // Replaces labels: all of them when `fieldpaths` is empty or has "labels", else those named
  // ("labels.<name>"; an empty value removes). InvalidArgument for other paths and labels beyond
  // the limits.
  virtual absl::StatusOr<ContentInfo> UpdateInfo(const Context& ctx, const ContentInfo& info,
                                                 const std::vector<std::string>& fieldpaths) = 0;

  // Calls `visit` for each blob of the namespace that one of `filters` matches (all when empty), in
  // the order of digests. A status that is not OK ends the walk and is returned.
  virtual absl::Status Walk(const Context& ctx, const std::vector<std::string>& filters,
                            const std::function<absl::Status(const ContentInfo&)>& visit) = 0;

  // Removes the record of the namespace; the file goes with the last one, in the background.
  virtual absl::Status Delete(const Context& ctx, const base::Digest& digest) = 0;

  virtual absl::StatusOr<BlobReader> OpenReader(const Context& ctx, const base::Digest& digest) = 0;
  // The whole of a small blob; ResourceExhausted when it has more than `limit` bytes.
  absl::StatusOr<std::string> ReadBlob(const Context& ctx, const base::Digest& digest,
                                       int64_t limit = 16 << 20);

  // Begins or resumes an upload. AlreadyExists when the namespace has `expected`; Unavailable
  // ("ref … locked") while another writer holds the ref. When the disk has `expected` from another
  // namespace, the writer's offset is at once its size and only Commit() is left to do.
  virtual absl::StatusOr<std::unique_ptr<ContentWriter>> OpenWriter(
      const Context& ctx, const WriteOptions& options) = 0;
  // OpenWriter + Write + Commit of a small blob. OK when it is there already; `labels` are merged
  // into those it has then.
  absl::Status WriteBlob(const Context& ctx, const std::string& ref, absl::string_view data,
                         const base::Digest& expected, const Labels& labels);

  virtual absl::StatusOr<IngestStatus> GetStatus(const Context& ctx, const std::string& ref) = 0;
  virtual absl::StatusOr<std::vector<IngestStatus>> ListStatuses(
      const Context& ctx, const std::vector<std::string>& filters) = 0;
  // Removes an upload. NotFound if there is none.
  virtual absl::Status Abort(const Context& ctx, const std::string& ref) = 0;

  // Adds a lease's or caller's claim on an existing blob: as Commit() does for a new one. Used when
  // a pull finds what it needs. No effect without ctx.lease.
  virtual absl::Status LinkToLease(const Context& ctx, const base::Digest& digest) = 0;

  // Waits until what was deleted is gone from the disk.
  virtual void WaitForTrash() = 0;

  // Bytes that the blobs of all namespaces take on disk (each counted once), and their number.
  struct DiskUse {
    int64_t bytes = 0;
    int64_t blobs = 0;
  };
  virtual absl::StatusOr<DiskUse> GetDiskUse() = 0;

  // To be registered with the garbage collector; owned by the store.
  virtual GcParticipant* gc_participant() = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_CONTENT_STORE_H_
