#include "base/archive/compression.h"

#include "absl/strings/match.h"

namespace gantry::archive {

Compression DetectCompression(absl::string_view head) {
  if (absl::StartsWith(head, "\x1f\x8b\x08")) return Compression::kGzip;
  if (absl::StartsWith(head, "\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame (RFC 8878, 3.1.2) may come first.
  if (head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50 &&
      head.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  return Compression::kNone;
}

}  // namespace gantry::archive
