#ifndef GANTRY_BASE_ARCHIVE_TAR_READER_H_
#define GANTRY_BASE_ARCHIVE_TAR_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/archive/tar_entry.h"

namespace gantry::archive {

// Receives what a TarReader finds. A status that is not OK stops the reader, which returns it.
class TarSink {
 public:
  virtual ~TarSink() = default;
  // A member begins. `entry` may be kept by copy only.
  virtual absl::Status OnEntry(const TarEntry& entry) = 0;
  // Content of the current regular file, to be stored at `offset`. Offsets never go back; what is
  // skipped (sparse files) and what lies between the last data and the size is a hole.
  virtual absl::Status OnData(int64_t offset, absl::string_view data) = 0;
  // The current member is complete; called for each OnEntry().
  virtual absl::Status OnEntryEnd() = 0;
};

struct TarLimits {
  size_t name_bytes = 64u << 10;      // of a name or link name
  size_t extended_bytes = 1u << 20;   // of one pax header or GNU long name
  size_t sparse_segments = 1u << 20;  // of one file
};

// Push parser of tar streams: v7, ustar, pax (also global headers, SCHILY.xattr.* and
// LIBARCHIVE.xattr.*), GNU (long names and links, base-256 numbers, old sparse files) and the pax
// sparse forms 0.0, 0.1 and 1.0. Sources: POSIX.1-2008 pax, the GNU tar manual ("Tar Internals").
//
// Hostile input gives InvalidArgument, input beyond the limits ResourceExhausted; memory is bounded
// by the limits. Member types that are no file (volume labels, multi-volume parts, dump
// directories) are skipped with their content; unknown types are treated as regular files, as POSIX
// asks. After an error the reader must not be used. Not thread-safe; calls the sink from Write().
class TarReader {
 public:
  // `sink` must outlive the reader.
  explicit TarReader(TarSink* sink, const TarLimits& limits = {});
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // Takes the next bytes of the archive, in pieces of any size. What follows the end-of-archive
  // blocks is accepted and ignored.
  absl::Status Write(absl::string_view data);
  // The stream has ended. InvalidArgument if it ends inside a member or header. A missing
  // end-of-archive mark between members is accepted, as other readers do; so is an empty stream.
  absl::Status Finish();
  // The end-of-archive blocks have been seen.
  bool at_end() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_TAR_READER_H_
