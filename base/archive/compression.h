#ifndef GANTRY_BASE_ARCHIVE_COMPRESSION_H_
#define GANTRY_BASE_ARCHIVE_COMPRESSION_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace gantry::archive {

enum class Compression { kNone, kGzip, kZstd };

// Bytes that suffice for DetectCompression().
inline constexpr size_t kMagicBytes = 4;

// By the magic number at the start of `head`.
Compression DetectCompression(absl::string_view head);

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_COMPRESSION_H_
