#ifndef GANTRY_BASE_ARCHIVE_COMPRESS_H_
#define GANTRY_BASE_ARCHIVE_COMPRESS_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/archive/byte_sink.h"
#include "base/archive/compression.h"

namespace gantry::archive {

// Compresses a stream pushed in pieces of any size. The output depends on the input and the kind
// only (on one kind of CPU: isa-l's code paths may choose differently): no time and no name stand
// in the header, and the sizes of the pieces do not matter. Not thread-safe.
class Compressor {
 public:
  virtual ~Compressor() = default;
  // kNone passes everything on.
  static std::unique_ptr<Compressor> Create(Compression compression, ByteSink out);

  virtual absl::Status Write(absl::string_view data) = 0;
  // Writes what is left and the trailer; the object must not be used afterwards.
  virtual absl::Status Finish() = 0;
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_COMPRESS_H_
