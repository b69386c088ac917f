#include "client/rpc/transport.h"

#include <nghttp2/nghttp2.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "client/rpc/wire.h"

namespace gantry::client::rpc {
namespace {

// What a server may send of one call before we read it; of all calls together it is not bounded
// further, because what comes is moved to its call at once.
constexpr int32_t kStreamWindow = 4 << 20;
constexpr int32_t kConnectionWindow = 64 << 20;
// Of one call, queued and not yet taken by the socket.
constexpr size_t kMaxQueued = 1 << 20;
constexpr size_t kSendBatch = 256 << 10;
constexpr int kSendBuffer = 2 << 20;
constexpr size_t kBuffer = 64 << 10;
constexpr time_t kConnectSeconds = 10;

int PollTimeout(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return -1;
  absl::Duration left = std::max(absl::ZeroDuration(), deadline - absl::Now());
  // Rounded up: the deadline has passed when it returns.
  return static_cast<int>(std::min<int64_t>(
      absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), INT_MAX));
}

}  // namespace

absl::StatusOr<std::shared_ptr<Transport>> Transport::Connect(const std::string& path) {
  auto fail = [&path](int error) {
    return base::WithCode(base::ErrnoStatus(error, absl::StrCat("connect to ", path)),
                          absl::StatusCode::kUnavailable);
  };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return fail(ENAMETOOLONG);
  memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return fail(errno);
  timeval patience = {kConnectSeconds, 0};
  if (setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0) {
    return fail(errno);
  }
  while (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno != EINTR) return fail(errno);
  }
  return std::make_shared<Transport>(std::move(socket));
}

Transport::Transport(base::UniqueFd socket)
    : socket_(std::move(socket)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      buffer_(new char[kBuffer]) {
  absl::MutexLock lock(&mutex_);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_session_client_new2(&session_, CallbackTable(), this, option);
  nghttp2_option_del(option);
  const nghttp2_settings_entry kSettings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                              {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
                                              {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kMaxFrame}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, kSettings, std::size(kSettings));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
}

Transport::~Transport() { nghttp2_session_del(session_); }

bool Transport::Usable() {
  absl::MutexLock lock(&mutex_);
  // Nobody looks at the socket of an idle connection: the server may have gone meanwhile.
  if (streams_.empty() && broken_.ok()) Receive();
  return broken_.ok() && !going_away_ && !send_closed_;
}

void Transport::Open(Stream* stream, const CallHead& head) {
  absl::MutexLock lock(&mutex_);
  if (!broken_.ok()) return Finish(stream, broken_);
  Headers headers = {
      {":method", "POST"},         {":scheme", "http"}, {":path", head.path},
      {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"},
      {"user-agent", "gantry"},
  };
  std::string timeout;
  if (head.deadline != absl::InfiniteFuture()) {
    absl::Duration left = head.deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return Finish(stream, absl::DeadlineExceededError("the time was over before the call began"));
    }
    timeout = FormatTimeout(left);
    headers.emplace_back("grpc-timeout", timeout);
  }
  for (const auto& [name, value] : head.metadata) {
    if (!IsHeaderValue(value)) {
      return Finish(stream, absl::InvalidArgumentError(absl::StrCat(
                                name, ": a value with other than printable ASCII characters")));
    }
    headers.emplace_back(name, value);
  }
  int32_t id = SubmitRequest(headers);
  if (id < 0) {
    going_away_ = true;  // out of stream ids, or of memory
    return Finish(stream, absl::UnavailableError(nghttp2_strerror(id)));
  }
  stream->id = id;
  streams_[id] = stream;
  Flush();
}

void Transport::Close(Stream* stream) {
  absl::MutexLock lock(&mutex_);
  Fail(stream, absl::CancelledError("given up"));
  Flush();
}

void Transport::Cancel(Stream* stream, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  Fail(stream, why);
  Flush();
}

bool Transport::Send(Stream* stream, absl::string_view framed, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  if (stream->finished) return false;
  stream->out.append(framed.data(), framed.size());
  nghttp2_session_resume_data(session_, stream->id);
  Flush();
  Await(deadline, [stream] {
    return stream->finished || stream->out.size() - stream->out_taken <= kMaxQueued;
  });
  return !stream->finished;
}

void Transport::EndSending(Stream* stream) {
  absl::MutexLock lock(&mutex_);
  if (stream->finished || stream->out_ended) return;
  stream->out_ended = true;
  nghttp2_session_resume_data(session_, stream->id);
  Flush();
}

bool Transport::TakeMessage(Stream* stream, std::string* message) {
  absl::MutexLock lock(&mutex_);
  size_t have = stream->in.size() - stream->in_taken;
  size_t length = 0;
  if (have < kPrefixSize) return false;
  absl::Status prefix = ParsePrefix(stream->in.data() + stream->in_taken, &length);
  if (!prefix.ok() || have < kPrefixSize + length) return false;
  message->assign(stream->in, stream->in_taken + kPrefixSize, length);
  stream->in_taken += kPrefixSize + length;
  if (stream->in_taken == stream->in.size()) {
    stream->in.clear();
    stream->in_taken = 0;
  } else if (stream->in_taken > stream->in.size() / 2) {
    stream->in.erase(0, stream->in_taken);
    stream->in_taken = 0;
  }
  if (!stream->finished) {
    OpenWindow(stream);
    Flush();
  }
  return true;
}

bool Transport::AwaitMessage(const Stream* stream, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  return Await(deadline, [stream] {
    size_t have = stream->in.size() - stream->in_taken;
    size_t length = 0;
    return stream->finished || (have >= kPrefixSize &&
                                ParsePrefix(stream->in.data() + stream->in_taken, &length).ok() &&
                                have >= kPrefixSize + length);
  });
}

bool Transport::AwaitEnd(const Stream* stream, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  return Await(deadline, [stream] { return stream->finished; });
}

void Transport::AwaitAnything(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  bool first = true;
  Await(deadline, [&first] { return !std::exchange(first, false); });
}

bool Transport::Finished(const Stream* stream) {
  absl::MutexLock lock(&mutex_);
  return stream->finished;
}

absl::Status Transport::Result(const Stream* stream) {
  absl::MutexLock lock(&mutex_);
  return stream->result;
}

pollfd Transport::Descriptor() {
  absl::MutexLock lock(&mutex_);
  return DescriptorLocked();
}

pollfd Transport::DescriptorLocked() {
  if (!broken_.ok()) return {-1, 0, 0};
  bool more = !send_closed_ && (out_sent_ < out_.size() || nghttp2_session_want_write(session_));
  return {socket_.get(), static_cast<short>(more ? POLLIN | POLLOUT : POLLIN), 0};
}

void Transport::Process() {
  absl::MutexLock lock(&mutex_);
  Receive();
  changed_.SignalAll();
}

bool Transport::Await(absl::Time deadline, absl::FunctionRef<bool()> done) {
  while (!done()) {
    if (!broken_.ok()) return true;  // every call has ended with it
    if (polled_) {
      if (changed_.WaitWithDeadline(&mutex_, deadline)) return done();
      continue;
    }
    polled_ = true;
    pollfd fds[] = {DescriptorLocked(), {wake_.get(), POLLIN, 0}};
    mutex_.Unlock();
    int ready = poll(fds, std::size(fds), PollTimeout(deadline));
    mutex_.Lock();
    polled_ = false;
    if (ready > 0) {
      uint64_t count = 0;
      if (fds[1].revents != 0) (void)!read(wake_.get(), &count, sizeof(count));
      if (fds[0].revents != 0) Receive();
    }
    // What came may be for others, and one of them must poll on.
    changed_.SignalAll();
    if (ready == 0) return done();
  }
  return true;
}

void Transport::Receive() {
  if (!broken_.ok()) return;
  ssize_t n = recv(socket_.get(), buffer_.get(), kBuffer, MSG_DONTWAIT);
  if (n < 0 && errno != EAGAIN && errno != EINTR) {
    return Break(base::WithCode(base::ErrnoStatus(errno, "the connection to the daemon was lost"),
                                absl::StatusCode::kUnavailable));
  }
  if (n == 0) return Break(absl::UnavailableError("the daemon closed the connection"));
  if (n > 0) {
    ssize_t taken = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const uint8_t*>(buffer_.get()), static_cast<size_t>(n));
    if (taken < 0) {
      return Break(absl::InternalError(absl::StrCat("the daemon does not speak HTTP/2 as we do: ",
                                                    nghttp2_strerror(static_cast<int>(taken)))));
    }
  }
  Flush();
  // The library gave up after a violation, or everything ended after a GOAWAY.
  if (nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0) {
    Break(going_away_
              ? absl::UnavailableError("the daemon ended the connection")
              : absl::InternalError(absl::StrCat("the daemon violated HTTP/2: ", violation_)));
  }
}

void Transport::Flush() {
  while (broken_.ok() && !send_closed_) {
    while (out_.size() - out_sent_ < kSendBatch) {
      const uint8_t* data = nullptr;
      ssize_t n = nghttp2_session_mem_send(session_, &data);
      if (n < 0) {
        return Break(
            absl::InternalError(absl::StrCat("HTTP/2: ", nghttp2_strerror(static_cast<int>(n)))));
      }
      if (n == 0) break;
      out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
    }
    if (out_sent_ == out_.size()) break;
    ssize_t n = send(socket_.get(), out_.data() + out_sent_, out_.size() - out_sent_,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      out_sent_ += static_cast<size_t>(n);
      if (out_sent_ < out_.size()) continue;
      out_.clear();
      out_sent_ = 0;
    } else if (errno == EAGAIN && !send_buffer_grown_) {
      // A layer is on its way, whose pieces shall go in one turn each; without the right to force
      // it, as far as the system's limit goes.
      send_buffer_grown_ = true;
      if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof(int)) != 0) {
        (void)setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(int));
      }
    } else if (errno == EAGAIN) {
      // The one who polls has to poll for writing now.
      uint64_t one = 1;
      if (polled_) (void)!write(wake_.get(), &one, sizeof(one));
      return;
    } else if (errno != EINTR) {
      // What the server said before it went is still to be read; then the reading ends, too.
      send_closed_ = true;
    }
  }
}

void Transport::Break(const absl::Status& why) {
  if (!broken_.ok()) return;
  broken_ = why;
  while (!streams_.empty()) Finish(streams_.begin()->second, why);
}

}  // namespace gantry::client::rpc
