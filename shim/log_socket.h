#ifndef GANTRY_SHIM_LOG_SOCKET_H_
#define GANTRY_SHIM_LOG_SOCKET_H_

#include <sys/socket.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace gantry::shim {

// Where a logging daemon listens.
struct LogAddress {
  std::string text;  // as the user wrote it, for messages
  sockaddr_storage address = {};
  socklen_t length = 0;
  int type = 0;  // SOCK_STREAM, SOCK_DGRAM; 0: as the unix socket wants it

  // unix:///path (either type), unixgram:///path, udp://IP[:514], tcp://IP[:514]; an IPv6 address
  // in brackets. InvalidArgument for others, and for names: whoever writes the URI resolves them.
  static absl::StatusOr<LogAddress> Parse(absl::string_view text);
};

// A connection that comes back after outages. One thread at a time; may block.
class LogSocket {
 public:
  explicit LogSocket(LogAddress address) : address_(std::move(address)) {}

  // Within 5 seconds (DeadlineExceeded).
  absl::Status Connect();
  // Sends one record whole, or loses it. A daemon that is away gets 5 seconds to come back, the
  // program waiting; after that records are lost at once, until a look once a second finds it
  // again. The first loss of an outage is logged, and its end with the number of lost records.
  void Send(absl::string_view record);

 private:
  absl::Status SendOnce(absl::string_view record);
  bool ConnectAgain();
  void Lose(const absl::Status& why);
  void Recovered();

  LogAddress address_;
  base::UniqueFd fd_;
  bool away_ = false;
  uint64_t lost_ = 0;
  absl::Time tried_ = absl::InfinitePast();
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_LOG_SOCKET_H_
