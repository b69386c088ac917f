#include "base/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::base {
namespace {

struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// The range of "begin-end perms offset dev inode path" if it maps a file that cannot be written
// there.
absl::StatusOr<Range> ReadOnlyFile(absl::string_view header) {
  std::vector<absl::string_view> fields = absl::StrSplit(header, ' ', absl::SkipEmpty());
  Range range;
  if (fields.size() < 6 || fields[5][0] != '/') return range;
  if (fields[1] != "r-xp" && fields[1] != "r--p") return range;
  std::vector<absl::string_view> ends = absl::StrSplit(fields[0], '-');
  if (ends.size() != 2 || !absl::SimpleHexAtoi(ends[0], &range.begin) ||
      !absl::SimpleHexAtoi(ends[1], &range.end)) {
    return absl::InternalError("unexpected line in /proc/self/smaps");
  }
  return range;
}

}  // namespace

absl::Status ReleaseProgramText() {
  GANTRY_ASSIGN_OR_RETURN(std::string maps, ReadFile("/proc/self/smaps", 16u << 20));
  Range range;
  for (absl::string_view line : absl::StrSplit(maps, '\n', absl::SkipEmpty())) {
    if (line[0] < 'A' || line[0] > 'Z') {
      GANTRY_ASSIGN_OR_RETURN(range, ReadOnlyFile(line));
      continue;
    }
    if (range.end == 0 || !absl::ConsumePrefix(&line, "Anonymous:")) continue;
    // What the dynamic linker wrote before it made the range read-only would be lost.
    if (absl::StripAsciiWhitespace(line) != "0 kB") continue;
    if (madvise(reinterpret_cast<void*>(range.begin), range.end - range.begin, MADV_DONTNEED) !=
        0) {
      return ErrnoStatus(errno, "madvise");
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::base
