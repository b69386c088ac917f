#ifndef GANTRY_SERVICES_CONTENT_BLOB_FILES_H_
#define GANTRY_SERVICES_CONTENT_BLOB_FILES_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "services/content/trash.h"

namespace gantry::services {

// The files of the content store: blobs/<algorithm>/<hex>, ingest/<id>/data, trash. Knows nothing
// of namespaces. Thread-safe; methods may block on the disk.
class BlobFiles {
 public:
  static absl::StatusOr<std::unique_ptr<BlobFiles>> Open(const std::string& dir);

  std::string BlobPath(const base::Digest& digest) const;
  // The size of the blob, or nothing if there is no such file.
  std::optional<int64_t> FindBlob(const base::Digest& digest) const;
  // Every file in blobs/ that has the name of a digest, with its size.
  absl::Status WalkBlobs(absl::FunctionRef<void(const base::Digest&, int64_t size)> visit) const;

  // Directory and file of an upload; the id never shows what the client named.
  static std::string IngestId(absl::string_view ns, absl::string_view ref);
  std::string IngestDir(absl::string_view id) const;
  std::string IngestData(absl::string_view id) const;
  absl::StatusOr<std::vector<std::string>> ListIngests() const;

  // Moves the synced, complete data of an upload to its place, durably. Its directory is gone then.
  // When the blob is there already, only that.
  absl::Status Publish(absl::string_view ingest_id, const base::Digest& digest);
  absl::Status RemoveIngest(absl::string_view id);

  // While a pin is held RemoveBlobUnless() leaves the blob alone. For the time between finding or
  // publishing a blob and having its record.
  class Pin {
   public:
    Pin() = default;
    Pin(BlobFiles* files, base::Digest digest);
    Pin(Pin&& other) noexcept;
    Pin& operator=(Pin&& other) noexcept;
    ~Pin();

   private:
    BlobFiles* files_ = nullptr;
    base::Digest digest_;
  };

  // Removes a blob unless it is pinned or `wanted()` says so. No pin can be taken between the two
  // questions and the removal.
  absl::Status RemoveBlobUnless(const base::Digest& digest,
                                absl::FunctionRef<absl::StatusOr<bool>()> wanted);

  void WaitForTrash() { trash_.Wait(); }

 private:
  explicit BlobFiles(std::string dir);

  const std::string dir_;
  Trash trash_;
  std::mutex mutex_;
  std::map<base::Digest, int> pins_;  // guarded by mutex_
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_BLOB_FILES_H_
