#ifndef GANTRY_CLIENT_ATTACH_H_
#define GANTRY_CLIENT_ATTACH_H_

// The client's end of a shim's attach socket (proto/gantry/shim/v1/attach.proto).

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::client {

struct AttachStreams {
  bool in = false;
  bool out = false;
  bool err = false;
};

// Connects to the socket at `path` and becomes part of the streams: what is read from the
// descriptor afterwards is output, what is written is stdin. Blocks, 10 seconds at most. NotFound
// when nobody listens there any more; Unavailable with the shim's words when it refuses.
absl::StatusOr<base::UniqueFd> Attach(const std::string& path, const AttachStreams& streams);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_ATTACH_H_
