#ifndef GANTRY_SHIM_STDIO_URI_H_
#define GANTRY_SHIM_STDIO_URI_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::shim {

// Where a stream of a process goes, as clients write it:
//   ""                         /dev/null
//   /path, fifo:///path        a fifo, or a file that exists already
//   file:///path               appended to, made if missing
//   binary:///path?k=v&flag    a logging program
//   json-file:///path?max-size=10m&max-file=3     a log in Docker's json-file format
//   cri:///path?max-size=…&max-file=…             a log in the format of Kubernetes' CRI
//   syslog:///, journald:///    a daemon's log, with the options of log_daemon.h
//   attach:///path             a socket for clients (see proto/gantry/shim/v1/attach.proto)
// Those that are logs take the socket's options, too: attach=/path, attach-wait=1, stdin-once=1.
struct StdioUri {
  std::string scheme;  // empty: /dev/null; else "fifo" (also for bare paths), "file", …
  std::string path;    // absolute
  std::vector<std::pair<std::string, std::string>> query;  // in order, percent-decoded

  const std::string* Find(absl::string_view key) const;
};

// InvalidArgument for an unknown scheme, a path that is not absolute, or broken percent-encoding.
absl::StatusOr<StdioUri> ParseStdioUri(absl::string_view text);

// "512", "10k", "10m", "1g" (powers of 1024, also upper case, also with "b" behind) in bytes.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_URI_H_
