#ifndef GANTRY_DOCKER_HTTP_WEBSOCKET_H_
#define GANTRY_DOCKER_HTTP_WEBSOCKET_H_

// The frames of RFC 6455, as far as a server needs them that passes bytes on.

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::docker::http {

// The value of Sec-WebSocket-Accept for a client's Sec-WebSocket-Key.
std::string WebSocketAccept(absl::string_view key);

// `payload` as one binary message of a server.
std::string WebSocketFrame(absl::string_view payload);
// A close frame: normal closure.
std::string WebSocketClose();

// Takes the frames of a client apart. Not thread-safe.
class WebSocketDecoder {
 public:
  // Appends the payload of text and binary messages in `bytes` to `payload`, and answers to pings
  // to `reply`. False when the client has closed, or breaks the protocol (an unmasked frame, a
  // control frame beyond 125 bytes): nothing more will come.
  bool Decode(absl::string_view bytes, std::string* payload, std::string* reply);

 private:
  bool Header();
  bool Control(std::string* reply);

  std::string head_;     // of the frame, as far as it has come
  std::string control_;  // payload of a control frame
  uint64_t left_ = 0;    // payload bytes to come
  uint64_t index_ = 0;   // in the mask
  uint8_t opcode_ = 0;
  uint8_t mask_[4] = {};
  bool in_payload_ = false;
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_WEBSOCKET_H_
