#ifndef GANTRY_BASE_ARCHIVE_TAR_PAX_H_
#define GANTRY_BASE_ARCHIVE_TAR_PAX_H_

// What pax headers say about the member that follows, for TarReader.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/archive/tar_entry.h"

namespace gantry::archive {

struct SparseSegment {
  int64_t offset;
  int64_t size;
};

// The records of one or more pax headers; later ones replace earlier ones, an empty value removes.
class PaxRecords {
 public:
  // InvalidArgument for malformed records, ResourceExhausted for more than `max_segments`.
  absl::Status Parse(absl::string_view data, size_t max_segments);
  // Those of `other` go over ours.
  void Merge(const PaxRecords& other);
  void Clear();

  // Replaces what the records name in `entry`; `stored_size` is the size in the archive.
  absl::Status ApplyTo(TarEntry* entry, int64_t* stored_size) const;

  // GNU.sparse.*: the file is sparse; its size in `real_size`, map in `segments` unless it stands
  // before the content (`map_in_data`, format 1.0).
  struct Sparse {
    bool present = false;
    bool map_in_data = false;
    int64_t real_size = 0;
    std::vector<SparseSegment> segments;
  };
  absl::StatusOr<Sparse> GetSparse() const;

 private:
  absl::Status Add(absl::string_view key, absl::string_view value, size_t max_segments);
  const std::string* Find(absl::string_view key) const;

  std::map<std::string, std::string, std::less<>> values_;
  // Numbers of GNU.sparse.offset and .numbytes in their order: the keys repeat (format 0.0).
  std::vector<int64_t> sparse_numbers_;
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_TAR_PAX_H_
