#include "client/rpc/wire.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace gantry::client::rpc {
namespace {

constexpr int kLastCode = 16;

absl::Status TooLong(size_t length) {
  return absl::ResourceExhaustedError(
      absl::StrCat("a message of ", length, " bytes; at most ", kMaxMessage, " are allowed"));
}

}  // namespace

absl::Status AppendMessage(const google::protobuf::MessageLite& message, std::string* to) {
  size_t length = message.ByteSizeLong();
  if (length > kMaxMessage) return TooLong(length);
  to->reserve(to->size() + kPrefixSize + length);
  to->push_back(0);
  for (int shift = 24; shift >= 0; shift -= 8) to->push_back(static_cast<char>(length >> shift));
  // Fails only for proto2's required fields, which proto3 does not have.
  message.AppendPartialToString(to);
  return absl::OkStatus();
}

absl::Status ParsePrefix(const char* prefix, size_t* length) {
  if (prefix[0] != 0) {
    return absl::UnimplementedError(
        "the daemon sent a compressed message, which was not asked for");
  }
  size_t value = 0;
  for (size_t i = 1; i < kPrefixSize; ++i) value = value << 8 | static_cast<uint8_t>(prefix[i]);
  if (value > kMaxMessage) return TooLong(value);
  *length = value;
  return absl::OkStatus();
}

std::string FormatTimeout(absl::Duration timeout) {
  constexpr int64_t kMost = 99999999;
  struct Unit {
    absl::Duration length;
    char name;
  };
  const Unit kUnits[] = {{absl::Microseconds(1), 'u'},
                         {absl::Milliseconds(1), 'm'},
                         {absl::Seconds(1), 'S'},
                         {absl::Minutes(1), 'M'},
                         {absl::Hours(1), 'H'}};
  for (const Unit& unit : kUnits) {
    int64_t count = absl::Ceil(timeout, unit.length) / unit.length;
    if (count <= kMost) return absl::StrCat(count, std::string(1, unit.name));
  }
  return absl::StrCat(kMost, "H");
}

std::string PercentDecode(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    bool escape = text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(text[i + 1]) &&
                  absl::ascii_isxdigit(text[i + 2]);
    if (escape) {
      out += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

absl::Status ParseStatus(absl::string_view code, absl::string_view message) {
  int number = 0;
  if (!absl::SimpleAtoi(code, &number) || number < 0 || number > kLastCode) {
    return absl::UnknownError(absl::StrCat("the daemon answered with the unknown status \"", code,
                                           "\": ", PercentDecode(message)));
  }
  auto known = static_cast<absl::StatusCode>(number);
  if (known == absl::StatusCode::kOk) return absl::OkStatus();
  if (!message.empty()) return absl::Status(known, PercentDecode(message));
  // gRPC's own answer for a service that is not there has no text.
  return absl::Status(known,
                      known == absl::StatusCode::kUnimplemented
                          ? "the daemon does not serve this call"
                          : absl::StrCat("the daemon answered ", absl::StatusCodeToString(known)));
}

absl::Status StatusOfHttp(int http_status, absl::string_view content_type) {
  std::string text = absl::StrCat("no gRPC answer: HTTP status ", http_status, ", content type \"",
                                  content_type, "\"");
  switch (http_status) {
    case 400:
      return absl::InternalError(text);
    case 401:
      return absl::UnauthenticatedError(text);
    case 403:
      return absl::PermissionDeniedError(text);
    case 404:
      return absl::UnimplementedError(text);
    case 429:
    case 502:
    case 503:
    case 504:
      return absl::UnavailableError(text);
    default:
      return absl::UnknownError(text);
  }
}

absl::Status StatusOfReset(uint32_t http2_error) {
  // RFC 9113, section 7.
  constexpr uint32_t kRefusedStream = 7, kCancel = 8, kEnhanceYourCalm = 11, kInadequate = 12;
  std::string text = absl::StrCat("the daemon reset the call, HTTP/2 error ", http2_error);
  switch (http2_error) {
    case kRefusedStream:
      return absl::UnavailableError(text);
    case kCancel:
      return absl::CancelledError(text);
    case kEnhanceYourCalm:
      return absl::ResourceExhaustedError(text);
    case kInadequate:
      return absl::PermissionDeniedError(text);
    default:
      return absl::InternalError(text);
  }
}

bool IsHeaderValue(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

}  // namespace gantry::client::rpc
