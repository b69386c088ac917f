#ifndef GANTRY_BASE_ARCHIVE_TAR_WRITER_H_
#define GANTRY_BASE_ARCHIVE_TAR_WRITER_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/archive/byte_sink.h"
#include "base/archive/tar_entry.h"

namespace gantry::archive {

// Writes a tar stream: ustar headers, preceded by a pax header only for what ustar cannot hold
// (names beyond 100 bytes that do not split, sizes and ids beyond octal, fractions of seconds,
// xattrs, bytes that are not ASCII). The same entries give the same bytes. Every reader of pax
// (Go's archive/tar, GNU tar, libarchive, Python) reads it. Not thread-safe; blocks as `out` does.
class TarWriter {
 public:
  explicit TarWriter(ByteSink out) : out_(std::move(out)) {}
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  // Begins a member; for kRegular exactly entry.size bytes must follow. FailedPrecondition when the
  // member before is not complete, InvalidArgument for what no tar can hold (a NUL in a name).
  absl::Status AddEntry(const TarEntry& entry);
  // Content of the current member; InvalidArgument beyond its size.
  absl::Status Write(absl::string_view data);
  // Writes the end-of-archive blocks. FailedPrecondition when a member is not complete.
  absl::Status Finish();

 private:
  absl::Status WritePaxHeader(const TarEntry& entry, absl::string_view records);
  absl::Status Pad();

  ByteSink out_;
  int64_t remaining_ = 0;  // of the current member's content
  int padding_ = 0;        // after it
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_TAR_WRITER_H_
