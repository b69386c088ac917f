#include "base/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::base {

absl::Status ReleaseProgramText() {
  GANTRY_ASSIGN_OR_RETURN(std::string maps, ReadFile("/proc/self/maps"));
  for (absl::string_view line : absl::StrSplit(maps, '\n', absl::SkipEmpty())) {
    // begin-end perms offset dev inode path
    std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 6 || fields[1] != "r-xp" || fields[5][0] != '/') continue;
    std::vector<absl::string_view> range = absl::StrSplit(fields[0], '-');
    uint64_t begin = 0;
    uint64_t end = 0;
    if (range.size() != 2 || !absl::SimpleHexAtoi(range[0], &begin) ||
        !absl::SimpleHexAtoi(range[1], &end)) {
      return absl::InternalError("unexpected line in /proc/self/maps");
    }
    if (madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED) != 0) {
      return ErrnoStatus(errno, "madvise");
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::base
