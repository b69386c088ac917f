#ifndef GANTRY_CLIENT_RPC_WIRE_H_
#define GANTRY_CLIENT_RPC_WIRE_H_

// The small pieces of "gRPC over HTTP/2" (its specification PROTOCOL-HTTP2 and the page on status
// codes) that are pure functions.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message_lite.h"

namespace gantry::client::rpc {

// Before every message: a byte for compression and four of length, big-endian.
inline constexpr size_t kPrefixSize = 5;
// No message is longer, either way: containerd's own limit. Image layers travel in pieces.
inline constexpr size_t kMaxMessage = 16u << 20;

// Appends prefix and message. ResourceExhausted, and nothing appended, beyond kMaxMessage.
absl::Status AppendMessage(const google::protobuf::MessageLite& message, std::string* to);

// The length of the message whose prefix `prefix` is (kPrefixSize bytes). Unimplemented when it is
// compressed, which nobody asked for; ResourceExhausted beyond kMaxMessage.
absl::Status ParsePrefix(const char* prefix, size_t* length);

// The value of grpc-timeout: at most eight digits and a unit, rounded up. `timeout` is positive and
// finite.
std::string FormatTimeout(absl::Duration timeout);

// Undoes grpc-message's encoding; what is malformed stays as it is.
std::string PercentDecode(absl::string_view text);

// The status in the trailers: `code` as the header has it, `message` still encoded. A code that is
// no number or unknown is Unknown. An error without text gets one.
absl::Status ParseStatus(absl::string_view code, absl::string_view message);

// The status of an answer that is not gRPC's.
absl::Status StatusOfHttp(int http_status, absl::string_view content_type);

// The status of a stream that ended with an HTTP/2 error code before its trailers.
absl::Status StatusOfReset(uint32_t http2_error);

// Whether the text may be the value of a header: printable ASCII.
bool IsHeaderValue(absl::string_view text);

}  // namespace gantry::client::rpc

#endif  // GANTRY_CLIENT_RPC_WIRE_H_
