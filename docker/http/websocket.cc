#include "docker/http/websocket.h"

#include <openssl/sha.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::docker::http {
namespace {

constexpr char kGuid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455, section 1.3
constexpr uint8_t kFinal = 0x80;
constexpr uint8_t kMasked = 0x80;
constexpr uint8_t kBinary = 2;
constexpr uint8_t kClose = 8;
constexpr uint8_t kPing = 9;
constexpr uint8_t kPong = 10;

std::string Frame(uint8_t opcode, absl::string_view payload) {
  std::string out;
  out.push_back(static_cast<char>(kFinal | opcode));
  uint64_t size = payload.size();
  int length_bytes = size < 126 ? 0 : size < 65536 ? 2 : 8;
  out.push_back(static_cast<char>(length_bytes == 0 ? size : length_bytes == 2 ? 126 : 127));
  for (int i = length_bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(size >> (8 * i)));
  absl::StrAppend(&out, payload);
  return out;
}

}  // namespace

std::string WebSocketAccept(absl::string_view key) {
  std::string text = absl::StrCat(key, kGuid);
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return absl::Base64Escape(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

std::string WebSocketFrame(absl::string_view payload) { return Frame(kBinary, payload); }
std::string WebSocketClose() { return Frame(kClose, absl::string_view("\x03\xe8", 2)); }

// Whether head_ is whole now; sets what it says.
bool WebSocketDecoder::Header() {
  if (head_.size() < 2) return false;
  auto byte = [this](size_t i) { return static_cast<uint8_t>(head_[i]); };
  uint8_t length = byte(1) & 0x7f;
  size_t length_bytes = length == 126 ? 2 : length == 127 ? 8 : 0;
  if (head_.size() < 2 + length_bytes + 4) return false;
  left_ = length_bytes == 0 ? length : 0;
  for (size_t i = 0; i < length_bytes; ++i) left_ = left_ << 8 | byte(2 + i);
  for (size_t i = 0; i < 4; ++i) mask_[i] = byte(2 + length_bytes + i);
  opcode_ = byte(0) & 0x0f;
  index_ = 0;
  return true;
}

bool WebSocketDecoder::Control(std::string* reply) {
  if (opcode_ == kClose) {
    reply->append(WebSocketClose());
    return false;
  }
  if (opcode_ == kPing) reply->append(Frame(kPong, control_));
  control_.clear();
  return true;
}

bool WebSocketDecoder::Decode(absl::string_view bytes, std::string* payload, std::string* reply) {
  size_t at = 0;
  while (at < bytes.size() || (in_payload_ && left_ == 0)) {
    if (!in_payload_) {
      head_.push_back(bytes[at++]);
      if (head_.size() == 2 && (static_cast<uint8_t>(head_[1]) & kMasked) == 0) return false;
      if (!Header()) continue;
      head_.clear();
      in_payload_ = true;
      if (opcode_ >= kClose && left_ > 125) return false;
      continue;
    }
    std::string* to = opcode_ >= kClose ? &control_ : payload;
    size_t n = std::min<uint64_t>(left_, bytes.size() - at);
    for (size_t i = 0; i < n; ++i, ++index_) {
      to->push_back(static_cast<char>(bytes[at + i] ^ mask_[index_ % 4]));
    }
    at += n;
    left_ -= n;
    if (left_ > 0) continue;
    in_payload_ = false;
    if (opcode_ >= kClose && !Control(reply)) return false;
  }
  return true;
}

}  // namespace gantry::docker::http
