#ifndef GANTRY_DOCKER_CONTAINERS_LOG_READER_H_
#define GANTRY_DOCKER_CONTAINERS_LOG_READER_H_

// Docker's json-file logs, as shims write them: {"log":"text\n","stream":"stdout","time":"…"} a
// line, older ones in PATH.1, PATH.2, …

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace gantry::docker {

struct LogOptions {
  bool out = true;
  bool err = true;
  bool frames = false;  // Docker's header of 8 bytes before each entry
  bool timestamps = false;
  bool details = false;  // the entry's attributes before it
  absl::Time since = absl::InfinitePast();
  absl::Time until = absl::InfiniteFuture();
  int64_t tail = -1;  // the last entries; -1: all
};

// One line of a log.
struct LogEntry {
  std::string text;    // with its newline, if it had one
  std::string stream;  // "stdout", "stderr"
  std::string time;    // as it was written
  std::vector<std::pair<std::string, std::string>> attributes;
};

// False for what is no entry: a line that was cut by a crash.
bool ParseLogLine(absl::string_view line, LogEntry* entry);

// Reads a log from its oldest file on. Not thread-safe. A log without a file is empty.
class LogReader {
 public:
  LogReader(std::string path, const LogOptions& options);

  // The next entries as the client gets them, about 1 MiB at most. Empty: there are no more for
  // now; later calls find what was written meanwhile, also when the log was rotated.
  absl::StatusOr<std::string> Next();
  // An entry after `until` was met: nothing more will come.
  bool past_end() const { return past_end_; }

 private:
  struct Part {
    base::UniqueFd fd;
    uint64_t offset = 0;
  };

  void OpenParts();
  void SeekTail();
  bool ReopenIfRotated();
  // False when there is nothing to read in the current file.
  absl::StatusOr<bool> Fill();
  void Format(absl::string_view line, std::string* out);

  const std::string path_;
  const LogOptions options_;
  std::deque<Part> parts_;  // the first is being read, the last is PATH itself
  bool opened_ = false;
  bool past_end_ = false;
  std::string pending_;  // read, and not formatted yet: from `at_` on
  size_t at_ = 0;
  LogEntry entry_;  // kept for its memory
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_LOG_READER_H_
