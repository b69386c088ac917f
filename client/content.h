#ifndef GANTRY_CLIENT_CONTENT_H_
#define GANTRY_CLIENT_CONTENT_H_

// Blobs of the daemon's content store.

#include <cstdint>
#include <functional>
#include <map>
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

struct BlobSource {
  base::Digest digest;
  int64_t size = 0;
  std::map<std::string, std::string> labels;
  // Fills at most `size` bytes and returns how many; 0 at the end.
  std::function<absl::StatusOr<size_t>(char* buffer, size_t size)> read;
};

// Stores a blob. OK without reading the source when the daemon has it already (its labels are then
// merged in). What the daemon says otherwise; a half-written ingest is aborted.
absl::Status WriteBlob(const Connection& connection, const BlobSource& source);
absl::Status WriteBlob(const Connection& connection, absl::string_view data,
                       const base::Digest& digest,
                       const std::map<std::string, std::string>& labels = {});

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_CONTENT_H_
