#ifndef GANTRY_CTL_LOGS_H_
#define GANTRY_CTL_LOGS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/connection.h"

namespace gantry::ctl {

// Where the output of a container in the background goes: "json-file://PATH" when gantry's own shim
// runs it, else "file://PATH", which every shim of containerd understands.
std::string LogUri(const client::Connection& connection, const std::string& id,
                   const std::string& runtime);
// The file behind such a URI; InvalidArgument for other schemes.
absl::StatusOr<std::string> LogPath(absl::string_view uri);
// Makes the directory.
absl::Status PrepareLog(absl::string_view uri);
// Removes the files behind a URI of ours.
void RemoveLog(absl::string_view uri);

// One line of a json-file log: what was written, and to which stream.
struct LogLine {
  std::string text;
  std::string stream;
  std::string time;
};
absl::StatusOr<LogLine> ParseLogLine(absl::string_view line);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_LOGS_H_
