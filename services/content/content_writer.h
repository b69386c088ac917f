#ifndef GANTRY_SERVICES_CONTENT_CONTENT_WRITER_H_
#define GANTRY_SERVICES_CONTENT_CONTENT_WRITER_H_

#include <memory>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/unique_fd.h"
#include "services/content/local_content_store.h"

namespace gantry::services {

// A writer of LocalContentStore. In the shared state it has no file: the blob is on the disk
// already and only its record is missing.
class LocalContentWriter : public ContentWriter {
 public:
  using RefLock = LocalContentStore::RefLock;

  // `status` has ref, total, times.
  LocalContentWriter(LocalContentStore* store, Context ctx, RefLock lock, IngestStatus status,
                     base::Hasher::Algorithm algorithm);
  ~LocalContentWriter() override;

  // Takes a blob that is on the disk as what was written.
  void BeginShared(const base::Digest& digest, int64_t size, BlobFiles::Pin pin);
  // Opens the file; hashes what is in it, or empties it when `fresh`.
  absl::Status BeginFile(bool fresh);

  const IngestStatus& status() const override { return status_; }
  base::Digest Digest() override;
  absl::Status Write(absl::string_view data) override;
  absl::Status Truncate(int64_t size) override;
  absl::Status SkipHashing() override;
  void AdoptDigest(const base::Digest& digest) override { adopted_ = digest; }
  absl::StatusOr<base::Digest> Commit(int64_t size, const base::Digest& expected,
                                      const Labels& labels) override;

 private:
  absl::Status HashFile(base::Hasher* hasher) const;
  absl::Status CopyShared();
  absl::StatusOr<base::Digest> FinalDigest(const base::Digest& expected);
  absl::Status CheckSize(int64_t size) const;
  absl::Status Record(const base::Digest& digest, const Labels& labels);

  LocalContentStore* store_;
  const Context ctx_;
  std::optional<RefLock> lock_;
  IngestStatus status_;
  base::Hasher::Algorithm algorithm_;
  std::optional<base::Hasher> hasher_;  // empty: somebody else hashes
  base::Digest adopted_;
  base::UniqueFd fd_;
  int64_t flushed_ = 0;  // up to where writing to the disk was begun
  bool resumed_ = false;
  base::Digest shared_;  // not empty: the shared state
  std::optional<BlobFiles::Pin> pin_;
  bool done_ = false;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_CONTENT_WRITER_H_
