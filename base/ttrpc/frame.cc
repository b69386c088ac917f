#include "base/ttrpc/frame.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace gantry::base::ttrpc {
namespace {

void PutU32(char* to, uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<char>(value >> (24 - 8 * i));
}

uint32_t GetU32(const char* from) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(from[i]);
  return value;
}

absl::Status FillAddress(const std::string& path, sockaddr_un* address) {
  if (path.size() >= sizeof address->sun_path)
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " is longer than ",
                                                   sizeof address->sun_path - 1,
                                                   " bytes: choose a shorter directory"));
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path.data(), path.size());
  return absl::OkStatus();
}

}  // namespace

std::string EncodeFrame(uint32_t stream, FrameType type, absl::string_view data, uint8_t flags) {
  std::string frame;
  frame.reserve(kHeaderSize + data.size());
  frame.resize(kHeaderSize);
  PutU32(&frame[0], static_cast<uint32_t>(data.size()));
  PutU32(&frame[4], stream);
  frame[8] = static_cast<char>(type);
  frame[9] = static_cast<char>(flags);
  frame.append(data.data(), data.size());
  return frame;
}

absl::Status FrameReader::ReadFrom(int fd) {
  char chunk[8192];
  ssize_t n;
  do {
    n = ::read(fd, chunk, sizeof chunk);
  } while (n < 0 && errno == EINTR);
  if (n > 0) {
    Append({chunk, static_cast<size_t>(n)});
    return absl::OkStatus();
  }
  if (n == 0) return absl::UnavailableError("ttrpc: connection closed");
  if (errno == EAGAIN || errno == EWOULDBLOCK) return absl::OkStatus();
  return WithCode(ErrnoStatus(errno, "ttrpc: read"), absl::StatusCode::kUnavailable);
}

void FrameReader::Append(absl::string_view bytes) {
  size_t skip = std::min<uint64_t>(discard_, bytes.size());
  discard_ -= skip;
  bytes.remove_prefix(skip);
  buffer_.append(bytes.data(), bytes.size());
}

std::optional<Frame> FrameReader::Next() {
  size_t have = buffer_.size() - start_;
  if (have < kHeaderSize) {
    Shrink();
    return std::nullopt;
  }
  const char* header = buffer_.data() + start_;
  uint32_t length = GetU32(header);
  Frame frame;
  frame.stream = GetU32(header + 4);
  frame.type = static_cast<uint8_t>(header[8]);
  frame.flags = static_cast<uint8_t>(header[9]);
  if (length > kMaxMessage) {
    frame.oversize = true;
    size_t here = std::min<size_t>(have - kHeaderSize, length);
    discard_ = length - here;
    start_ += kHeaderSize + here;
    return frame;
  }
  if (have < kHeaderSize + length) {
    Shrink();
    return std::nullopt;
  }
  frame.data.assign(header + kHeaderSize, length);
  start_ += kHeaderSize + length;
  return frame;
}

void FrameReader::Shrink() {
  if (start_ == 0) return;
  if (start_ == buffer_.size()) {
    std::string().swap(buffer_);  // an idle connection holds nothing
  } else {
    buffer_.erase(0, start_);
  }
  start_ = 0;
}

absl::Status WriteBuffer::Flush(int fd) {
  while (!empty()) {
    ssize_t n = ::send(fd, buffer_.data() + start_, size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) return WithCode(ErrnoStatus(errno, "ttrpc: send"), absl::StatusCode::kUnavailable);
    start_ += static_cast<size_t>(n);
  }
  if (empty()) {
    std::string().swap(buffer_);
    start_ = 0;
  } else if (start_ > (1u << 20)) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  return absl::OkStatus();
}

absl::Status ParseUnixAddress(absl::string_view address, std::string* path) {
  absl::ConsumePrefix(&address, "unix://");
  if (!absl::StartsWith(address, "/"))
    return absl::InvalidArgumentError(
        absl::StrCat("address \"", address, "\" is no absolute path of a unix socket"));
  *path = std::string(address);
  sockaddr_un unused;
  return FillAddress(*path, &unused);
}

absl::Status ConnectUnix(const std::string& path, UniqueFd* fd, bool wait) {
  sockaddr_un address;
  GANTRY_RETURN_IF_ERROR(FillAddress(path, &address));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0));
  if (!socket) return ErrnoStatus(errno, "socket");
  // The send timeout bounds a connect(2) to a full queue as well.
  timeval limit{10, 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int result;
  do {
    result = connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  } while (result != 0 && errno == EINTR);
  if (result != 0)
    return WithCode(ErrnoStatus(errno, absl::StrCat("connect to ", path)),
                    absl::StatusCode::kUnavailable);
  if (fcntl(socket.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus(errno, "fcntl");
  *fd = std::move(socket);
  return absl::OkStatus();
}

absl::Status ListenUnix(const std::string& path, UniqueFd* fd) {
  sockaddr_un address;
  GANTRY_RETURN_IF_ERROR(FillAddress(path, &address));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return ErrnoStatus(errno, "socket");
  // The mode of the descriptor becomes the mode of the name, with no moment in between.
  fchmod(socket.get(), 0600);
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EADDRINUSE)
      return absl::AlreadyExistsError(absl::StrCat("bind ", path, ": address already in use"));
    return ErrnoStatus(errno, absl::StrCat("bind ", path));
  }
  if (listen(socket.get(), 128) != 0) return ErrnoStatus(errno, absl::StrCat("listen on ", path));
  *fd = std::move(socket);
  return absl::OkStatus();
}

}  // namespace gantry::base::ttrpc
