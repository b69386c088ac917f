#ifndef GANTRY_BASE_ARCHIVE_TAR_ENTRY_H_
#define GANTRY_BASE_ARCHIVE_TAR_ENTRY_H_

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <string>

namespace gantry::archive {

enum class TarType {
  kRegular,
  kHardLink,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kDirectory,
  kFifo,
};

// One member of a tar archive, in whichever of the formats its header was written. Names are the
// bytes of the archive: nothing is cleaned, so they may be absolute, hold "..", or end in "/".
struct TarEntry {
  TarType type = TarType::kRegular;
  std::string name;
  std::string link_name;  // kHardLink, kSymlink
  mode_t mode = 0;        // the twelve permission bits only
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::string user_name;
  std::string group_name;
  int64_t size = 0;  // of the file after unpacking (holes included); 0 unless kRegular
  timespec mtime = {};
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  std::map<std::string, std::string> xattrs;  // name with its prefix ("user.x") to value
};

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_TAR_ENTRY_H_
