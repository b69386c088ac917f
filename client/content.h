#ifndef GANTRY_CLIENT_CONTENT_H_
#define GANTRY_CLIENT_CONTENT_H_

// Blobs of the daemon's content store.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "client/connection.h"

namespace gantry::client {

// The whole blob, its digest verified. ResourceExhausted when it is longer than `limit`, NotFound
// when the daemon does not have it, DataLoss when what came does not match.
absl::StatusOr<std::string> ReadBlob(const Connection& connection, const base::Digest& digest,
                                     size_t limit = 8u << 20);

// Calls `sink` with the pieces of a blob in order; stops at its first error. The digest is not
// verified here.
absl::Status StreamBlob(const Connection& connection, const base::Digest& digest,
                        const std::function<absl::Status(absl::string_view)>& sink);

// One blob on its way into the content store. Destroyed before Commit(), what was written is thrown
// away. Not thread-safe.
class BlobWriter {
 public:
  // `ref` names the ingest. `expected` may be empty when the digest is not known yet, `total` 0.
  // AlreadyExists when the daemon has the blob.
  static absl::StatusOr<BlobWriter> Open(const Connection& connection, const std::string& ref,
                                         int64_t total, const std::string& expected);
  BlobWriter(BlobWriter&&) noexcept;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();

  absl::Status Append(absl::string_view data);
  int64_t offset() const;
  // Makes the blob visible; the daemon verifies the digest that was expected. AlreadyExists when
  // somebody else was faster.
  absl::Status Commit(const std::map<std::string, std::string>& labels = {});

 private:
  struct Impl;
  explicit BlobWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Stores a small blob with its labels; when it is there already its labels are merged in.
absl::Status WriteBlob(const Connection& connection, absl::string_view data,
                       const base::Digest& digest,
                       const std::map<std::string, std::string>& labels = {});

// Sets labels of a blob and leaves its others alone.
absl::Status LabelBlob(const Connection& connection, const base::Digest& digest,
                       const std::map<std::string, std::string>& labels);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_CONTENT_H_
