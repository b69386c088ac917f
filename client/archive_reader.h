#ifndef GANTRY_CLIENT_ARCHIVE_READER_H_
#define GANTRY_CLIENT_ARCHIVE_READER_H_

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/archive/compression.h"
#include "base/archive/tar_reader.h"
#include "base/digest.h"
#include "client/connection.h"
#include "client/content.h"

namespace gantry::client {

// Sorts the members of an image archive: blobs go to the daemon as they come, small documents are
// kept. Not thread-safe.
class ArchiveReader : public archive::TarSink {
 public:
  // A member that is in the content store now.
  struct Stored {
    base::Digest digest;
    int64_t size = 0;
    archive::Compression compression = archive::Compression::kNone;
  };

  explicit ArchiveReader(Connection connection) : connection_(std::move(connection)) {}

  absl::Status OnEntry(const archive::TarEntry& entry) override;
  absl::Status OnData(int64_t offset, absl::string_view data) override;
  absl::Status OnEntryEnd() override;

  // Small files by cleaned name: index.json, manifest.json, configurations, …
  const std::map<std::string, std::string>& documents() const { return documents_; }
  // By cleaned name, links followed; null when the archive has no such member.
  const Stored* FindStored(const std::string& name) const;

 private:
  absl::Status Begin(const archive::TarEntry& entry);

  Connection connection_;
  std::map<std::string, std::string> documents_;
  std::map<std::string, Stored> stored_;
  std::map<std::string, std::string> links_;
  size_t document_bytes_ = 0;

  // The member being read.
  std::string name_;
  std::string* document_ = nullptr;
  std::optional<BlobWriter> writer_;
  std::optional<base::Hasher> hasher_;
  std::string expected_;
  std::string head_;
  int64_t size_ = 0;
  bool storing_ = false;
};

// "./a//b/" and "/a/b" are "a/b"; ".." stays, so that such a name matches nothing.
std::string CleanMemberName(absl::string_view name);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_ARCHIVE_READER_H_
