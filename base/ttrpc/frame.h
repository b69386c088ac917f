#ifndef GANTRY_BASE_TTRPC_FRAME_H_
#define GANTRY_BASE_TTRPC_FRAME_H_

// The framing of ttrpc: a 10-byte header {data length u32 BE, stream u32 BE, type u8, flags u8} and
// the data. Both ends use it.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace gantry::base::ttrpc {

inline constexpr size_t kHeaderSize = 10;
inline constexpr size_t kMaxMessage = 4u << 20;

enum FrameType : uint8_t { kRequest = 1, kResponse = 2, kData = 3 };
enum FrameFlags : uint8_t { kRemoteClosed = 1, kRemoteOpen = 2, kNoData = 4 };

struct Frame {
  uint32_t stream = 0;
  uint8_t type = 0;
  uint8_t flags = 0;
  // The header announced more than kMaxMessage; the bytes were (or are being) discarded.
  bool oversize = false;
  std::string data;
};

// Header and data as they go on the wire. `data` must not exceed kMaxMessage.
std::string EncodeFrame(uint32_t stream, FrameType type, absl::string_view data, uint8_t flags = 0);

// Collects bytes and cuts them into frames; holds no more than one incomplete frame and one read.
class FrameReader {
 public:
  // Reads once from the non-blocking `fd`. OK also when nothing was there; Unavailable at the end
  // of the stream or when the connection broke.
  absl::Status ReadFrom(int fd);
  void Append(absl::string_view bytes);

  // The next complete frame. An oversize frame is reported once, as soon as its header is known.
  std::optional<Frame> Next();

 private:
  void Shrink();

  std::string buffer_;
  size_t start_ = 0;      // consumed part of buffer_
  uint64_t discard_ = 0;  // bytes of an oversize frame still to come
};

// Output of one connection: bytes that the socket did not take yet.
class WriteBuffer {
 public:
  void Append(absl::string_view bytes) { buffer_.append(bytes.data(), bytes.size()); }
  // Sends what the non-blocking socket takes. Unavailable when the connection broke.
  absl::Status Flush(int fd);
  size_t size() const { return buffer_.size() - start_; }
  bool empty() const { return size() == 0; }

 private:
  std::string buffer_;
  size_t start_ = 0;
};

// Strips "unix://"; InvalidArgument unless an absolute path that fits sockaddr_un is left (abstract
// names are open to every process of the network namespace: CVE-2020-15257).
absl::Status ParseUnixAddress(absl::string_view address, std::string* path);

// Connects to the stream socket at `path`; the result is non-blocking. Unavailable when nobody
// listens or the listener's queue is full; with `wait` a full queue is waited for, some seconds.
absl::Status ConnectUnix(const std::string& path, UniqueFd* fd, bool wait = true);

// A listening stream socket at `path` (mode 0600, non-blocking). AlreadyExists when the name is
// taken, by a living listener or a dead one.
absl::Status ListenUnix(const std::string& path, UniqueFd* fd);

}  // namespace gantry::base::ttrpc

#endif  // GANTRY_BASE_TTRPC_FRAME_H_
