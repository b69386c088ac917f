#ifndef GANTRY_SHIM_LOG_DAEMON_H_
#define GANTRY_SHIM_LOG_DAEMON_H_

// Logs that are kept by a daemon of the machine or the network.
//
//   syslog:///?syslog-address=tcp://10.0.0.1:514&syslog-facility=daemon&syslog-format=rfc5424&tag=T
//     RFC 3164 or 5424 as Docker's driver writes them. Without an address: unix:///dev/log.
//     Formats:
//     "" (3164 without a host name), rfc3164, rfc5424, rfc5424micro. stderr has the severity error,
//     stdout informational.
//   journald:///?container-id=ID&container-name=NAME&image-name=IMAGE&tag=T&attr.KEY=VALUE
//     The native protocol of systemd-journald with Docker's fields. The path is the socket, "/"
//     means /run/systemd/journal/socket.
//
// Both take mode and max-buffer-size as log files do, and the options of the attach socket.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "shim/log_socket.h"
#include "shim/log_writer.h"
#include "shim/stdio_uri.h"

namespace gantry::shim {

struct SyslogOptions {
  LogAddress address;
  int facility = 3;
  std::string format;
  std::string tag;
};

struct JournaldOptions {
  LogAddress address;
  // In the order in which they are sent, with every record.
  std::vector<std::pair<std::string, std::string>> fields;
};

// InvalidArgument for unknown options or values. `container_id` is what stands in for a missing
// container-id and tag (its first 12 characters).
absl::StatusOr<SyslogOptions> ParseSyslogOptions(const StdioUri& uri,
                                                 const std::string& container_id);
absl::StatusOr<JournaldOptions> ParseJournaldOptions(const StdioUri& uri,
                                                     const std::string& container_id);

// Both want records of LogFormat::kFramed. Unavailable and others when the daemon is not there.
absl::StatusOr<std::unique_ptr<LogTarget>> OpenSyslog(SyslogOptions options);
absl::StatusOr<std::unique_ptr<LogTarget>> OpenJournald(JournaldOptions options);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_DAEMON_H_
