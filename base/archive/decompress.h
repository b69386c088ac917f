#ifndef GANTRY_BASE_ARCHIVE_DECOMPRESS_H_
#define GANTRY_BASE_ARCHIVE_DECOMPRESS_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/archive/byte_sink.h"
#include "base/archive/compression.h"

namespace gantry::archive {

// Turns a compressed stream, pushed in pieces of any size, into the plain one. Memory is bounded
// (less than 1 MiB for gzip; at most 128 MiB for zstd, by its window) whatever the stream says; how
// much comes *out* is the business of the sink, which can stop it. Not thread-safe.
class Decompressor {
 public:
  virtual ~Decompressor() = default;

  // The kind is found out from the first bytes; what is neither gzip nor zstd is passed on as it
  // is.
  static std::unique_ptr<Decompressor> Detect(ByteSink out);
  static std::unique_ptr<Decompressor> Create(Compression compression, ByteSink out);

  // InvalidArgument for a damaged stream (also a wrong CRC or length in a gzip trailer), else what
  // the sink returned. After an error the object must not be used. Gzip: any number of members;
  // zeros after the last one are ignored. Zstd: any number of frames, skippable ones included.
  virtual absl::Status Write(absl::string_view data) = 0;
  // The stream has ended; InvalidArgument if it was cut short.
  virtual absl::Status Finish() = 0;
  // What the stream is; kNone until enough of it was seen (kMagicBytes).
  virtual Compression compression() const = 0;
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_DECOMPRESS_H_
