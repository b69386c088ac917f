#ifndef GANTRY_BASE_ARCHIVE_TAR_FORMAT_H_
#define GANTRY_BASE_ARCHIVE_TAR_FORMAT_H_

// The layout of tar blocks and of pax records, shared by reader and writer. Sources: POSIX.1-2008
// pax "ustar Interchange Format" and "pax Extended Header", GNU tar manual "Basic Tar Format".

#include <cstdint>
#include <ctime>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::archive {

inline constexpr size_t kTarBlock = 512;

// A field of a header block.
struct TarField {
  size_t offset;
  size_t size;
};
inline constexpr TarField kNameField{0, 100};
inline constexpr TarField kModeField{100, 8};
inline constexpr TarField kUidField{108, 8};
inline constexpr TarField kGidField{116, 8};
inline constexpr TarField kSizeField{124, 12};
inline constexpr TarField kMtimeField{136, 12};
inline constexpr TarField kChecksumField{148, 8};
inline constexpr size_t kTypeOffset = 156;
inline constexpr TarField kLinkField{157, 100};
inline constexpr TarField kMagicField{257, 8};
inline constexpr TarField kUserField{265, 32};
inline constexpr TarField kGroupField{297, 32};
inline constexpr TarField kMajorField{329, 8};
inline constexpr TarField kMinorField{337, 8};
inline constexpr TarField kPrefixField{345, 155};
// star ends its blocks with "tar\0" and has a shorter prefix.
inline constexpr TarField kStarPrefixField{345, 131};
inline constexpr TarField kStarTrailerField{508, 4};
// Old GNU sparse files.
inline constexpr TarField kGnuSparseField{386, 96};
inline constexpr size_t kGnuIsExtendedOffset = 482;
inline constexpr TarField kGnuRealSizeField{483, 12};
inline constexpr size_t kGnuSparseEntry = 24;
inline constexpr size_t kGnuExtensionEntries = 21;
inline constexpr size_t kGnuExtensionIsExtendedOffset = 504;

inline absl::string_view FieldBytes(absl::string_view block, TarField field) {
  return block.substr(field.offset, field.size);
}
// Up to the first NUL.
absl::string_view FieldText(absl::string_view block, TarField field);

// Octal, or base-256 when the first bit is set (two's complement). Empty is 0. InvalidArgument for
// anything else and for what no int64_t holds.
absl::StatusOr<int64_t> ParseTarNumber(absl::string_view field);

// The checksum of a block is right (unsigned, or signed as some old programs summed).
bool ChecksumMatches(absl::string_view block);
uint32_t ComputeChecksum(absl::string_view block);

// Calls `record` for each "length key=value\n" of a pax header. InvalidArgument when malformed.
absl::Status ParsePaxRecords(
    absl::string_view data,
    const std::function<absl::Status(absl::string_view key, absl::string_view value)>& record);
// One record, with the length that includes itself.
std::string FormatPaxRecord(absl::string_view key, absl::string_view value);

// "[-]seconds[.fraction]"; digits beyond nanoseconds are dropped towards the past.
absl::StatusOr<timespec> ParsePaxTime(absl::string_view text);
std::string FormatPaxTime(const timespec& time);

// A decimal of a pax record: digits only. InvalidArgument otherwise and beyond `max`.
absl::StatusOr<int64_t> ParsePaxNumber(absl::string_view text, int64_t max = INT64_MAX);

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_TAR_FORMAT_H_
