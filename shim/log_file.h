#ifndef GANTRY_SHIM_LOG_FILE_H_
#define GANTRY_SHIM_LOG_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "shim/pump.h"
#include "shim/stdio_uri.h"

namespace gantry::shim {

// A log file that the shim writes itself, shared by the streams of one process.
//
//   json-file   {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//               as Docker writes it; a line longer than 16 KiB comes in pieces without "\n"
//   cri         2026-01-02T03:04:05.123456789Z stdout F text     (P: a piece of a line)
//   file        the bytes as they are
//
// With max-size=N the file is renamed to PATH.1 (PATH.1 to PATH.2, …) before it would grow beyond N
// bytes, and max-file files are kept in all (1: the file is emptied). When somebody else renames
// the file (logrotate, kubelet), a new one is made within a second of writing. Errors of the disk
// are logged, once per outage, and the lines are lost: the program goes on.
class LogFile {
 public:
  enum class Format { kRaw, kJson, kCri };
  struct Options {
    std::string path;
    Format format = Format::kRaw;
    uint64_t max_size = 0;  // 0: no limit
    int max_file = 1;
  };

  // InvalidArgument for unknown options or values.
  static absl::StatusOr<Options> ParseOptions(const StdioUri& uri);
  // Makes missing parent directories (0755) and the file (0644; logs 0640).
  static absl::StatusOr<std::shared_ptr<LogFile>> Open(Options options);

  // A sink for one stream ("stdout" or "stderr"). Lines are cut at '\n' and at 16 KiB; what is left
  // at the end of the stream is written as it is (cri: as a piece).
  static std::shared_ptr<Sink> Stream(std::shared_ptr<LogFile> file, std::string name);

  // Writes one record of the format. `partial`: a piece of a line.
  void WriteLine(absl::string_view stream, absl::string_view text, bool partial);
  void WriteRaw(absl::string_view data);
  Format format() const { return options_.format; }

 private:
  explicit LogFile(Options options) : options_(std::move(options)) {}
  absl::Status Reopen();
  absl::Status Rotate();
  void NoticeRename();

  Options options_;
  base::UniqueFd fd_;
  uint64_t size_ = 0;
  uint64_t device_ = 0, inode_ = 0;
  absl::Time checked_ = absl::InfinitePast();
  bool failing_ = false;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_FILE_H_
