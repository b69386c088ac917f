#ifndef GANTRY_SHIM_LOG_FILE_H_
#define GANTRY_SHIM_LOG_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "shim/log_record.h"
#include "shim/log_writer.h"
#include "shim/stdio_uri.h"

namespace gantry::shim {

// What LogWriter is to do when the disk, or a log daemon, does not keep up.
struct LogMode {
  bool non_blocking = false;
  uint64_t max_buffer_size = 0;  // 0: the default

  // Takes mode=blocking|non-blocking and max-buffer-size, Docker's names. InvalidArgument for bad
  // values, and for a size in blocking mode.
  static absl::StatusOr<LogMode> Parse(const StdioUri& uri);
  static bool IsKey(absl::string_view key) { return key == "mode" || key == "max-buffer-size"; }
};

// A log file that the shim writes itself (json-file, cri, file).
//
// With max-size=N the file is renamed to PATH.1 (PATH.1 to PATH.2, …) before it would grow beyond N
// bytes, and max-file files are kept in all (1: the file is emptied). When somebody else renames
// the file (logrotate, kubelet), a new one is made within a second of writing. Errors of the disk
// are logged, once per outage, and the lines are lost: the program goes on.
class LogFile final : public LogTarget {
 public:
  struct Options {
    std::string path;
    LogFormat format = LogFormat::kRaw;
    uint64_t max_size = 0;  // 0: no limit
    int max_file = 1;
    LogMode mode;
    std::string attributes;  // json-file: of every record; see JsonAttributes()
  };

  // InvalidArgument for unknown options or values. The names are Docker's: max-size, max-file
  // and those of LogMode; attr.NAME=VALUE (json-file) goes into each record as what Docker's
  // options labels, env and tag make of a container. At most 16 KiB in all.
  static absl::StatusOr<Options> ParseOptions(const StdioUri& uri);
  // Makes missing parent directories (0755) and the file (0644; logs 0640).
  static absl::StatusOr<std::unique_ptr<LogFile>> Open(Options options);

  void Write(absl::string_view records) override;

 private:
  explicit LogFile(Options options) : options_(std::move(options)) {}
  absl::Status Reopen();
  absl::Status Rotate();
  void NoticeRename();
  size_t Fitting(absl::string_view records) const;

  Options options_;
  base::UniqueFd fd_;
  uint64_t size_ = 0;
  uint64_t device_ = 0, inode_ = 0;
  absl::Time checked_ = absl::InfinitePast();
  bool failing_ = false;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_FILE_H_
