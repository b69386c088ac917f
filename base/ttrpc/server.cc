#include "base/ttrpc/server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/frame.h"
#include "gantry/ttrpc/v1/ttrpc.pb.h"

namespace gantry::base::ttrpc {
namespace {

using ::gantry::ttrpc::v1::Request;
using ::gantry::ttrpc::v1::Response;

class CallImpl;

// One client. Owned by the server; calls hold it weakly.
struct Connection {
  UniqueFd fd;
  FrameReader in;
  WriteBuffer out;
  uint32_t last_stream = 0;
  uint32_t watched = EPOLLIN;
  std::unordered_map<uint32_t, std::weak_ptr<CallImpl>> calls;
  // Set by the server: sends what `out` holds, closes the connection when it is broken.
  std::function<void()> flush;

  bool Send(uint32_t stream, const Response& response);
};

bool Connection::Send(uint32_t stream, const Response& response) {
  size_t size = response.ByteSizeLong();
  if (size > kMaxMessage) return false;
  out.Append(EncodeFrame(stream, kResponse, response.SerializeAsString()));
  flush();
  return true;
}

Response ErrorResponse(const absl::Status& status) {
  Response response;
  response.mutable_status()->set_code(static_cast<int>(status.code()));
  response.mutable_status()->set_message(std::string(status.message()));
  return response;
}

class CallImpl final : public Call {
 public:
  CallImpl(EventLoop* loop, std::weak_ptr<Connection> connection, uint32_t stream, Request request)
      : loop_(loop),
        connection_(std::move(connection)),
        stream_(stream),
        request_(std::move(request)) {}
  ~CallImpl() override {
    // A handler that forgets its call must not leave the client waiting for ever.
    if (!finished()) Fail(absl::InternalError("the call was dropped without an answer"));
    Finish();
  }

  absl::string_view service() const override { return request_.service(); }
  absl::string_view method() const override { return request_.method(); }
  absl::string_view payload() const override { return request_.payload(); }
  absl::string_view metadata(absl::string_view key) const override {
    for (const auto& entry : request_.metadata()) {
      if (entry.key() == key) return entry.value();
    }
    return {};
  }

  void Reply(std::string payload) override {
    Response response;
    response.set_payload(std::move(payload));
    Answer(response);
  }
  void Fail(const absl::Status& status) override {
    Answer(ErrorResponse(status.ok() ? absl::InternalError("failed without a reason") : status));
  }
  bool finished() const override { return answered_ || connection_.expired(); }

  void ArmTimeout(const std::shared_ptr<CallImpl>& self) {
    if (request_.timeout_nano() <= 0) return;
    timer_ = loop_->After(absl::Nanoseconds(request_.timeout_nano()),
                          [weak = std::weak_ptr<CallImpl>(self)] {
                            if (auto call = weak.lock())
                              call->Fail(absl::DeadlineExceededError("context deadline exceeded"));
                          });
  }

 private:
  void Answer(const Response& response) {
    if (std::exchange(answered_, true)) return;
    std::shared_ptr<Connection> connection = connection_.lock();
    if (connection && !connection->Send(stream_, response))
      connection->Send(stream_, ErrorResponse(absl::ResourceExhaustedError(absl::StrCat(
                                    request_.method(), ": the answer is longer than 4 MiB"))));
    Finish();
  }

  void Finish() {
    if (timer_) loop_->Cancel(std::exchange(timer_, 0));
    if (std::shared_ptr<Connection> connection = connection_.lock())
      connection->calls.erase(stream_);
  }

  EventLoop* loop_;
  std::weak_ptr<Connection> connection_;
  uint32_t stream_;
  Request request_;
  EventLoop::TimerId timer_ = 0;
  bool answered_ = false;
};

bool PeerAllowed(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

}  // namespace

struct Server::Impl {
  explicit Impl(EventLoop* l) : loop(l) {}
  ~Impl() {
    for (auto& [fd, connection] : connections) loop->Remove(fd);
    StopListening();
  }

  void StopListening() {
    for (UniqueFd& listener : listeners) loop->Remove(listener.get());
    listeners.clear();
  }

  void Accept(int listener);
  void Adopt(UniqueFd fd);
  void OnEvents(const std::shared_ptr<Connection>& connection, uint32_t events);
  void Drain(const std::shared_ptr<Connection>& connection);
  void OnFrame(const std::shared_ptr<Connection>& connection, Frame frame);
  absl::Status CheckFrame(Connection* connection, const Frame& frame, Request* request) const;
  void Flush(Connection* connection);
  void Close(Connection* connection);

  EventLoop* loop;
  std::unordered_map<std::string, Handler> handlers;
  std::vector<UniqueFd> listeners;
  std::unordered_map<int, std::shared_ptr<Connection>> connections;
};

void Server::Impl::Accept(int listener) {
  while (true) {
    UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK)
        LogWarn("ttrpc: accept failed", {{"error", ErrnoStatus(errno, "accept").ToString()}});
      if (errno == EMFILE || errno == ENFILE) {
        // Level-triggered: without a pause the loop would spin on the waiting client.
        if (loop->Modify(listener, 0).ok())
          loop->After(absl::Milliseconds(200),
                      [this, listener] { (void)loop->Modify(listener, EPOLLIN); });
      }
      return;
    }
    if (PeerAllowed(fd.get())) Adopt(std::move(fd));
  }
}

void Server::Impl::Adopt(UniqueFd fd) {
  auto connection = std::make_shared<Connection>();
  int number = fd.get();
  connection->fd = std::move(fd);
  connection->flush = [this, raw = connection.get()] { Flush(raw); };
  absl::Status added =
      loop->Add(number, EPOLLIN, [this, weak = std::weak_ptr<Connection>(connection)](uint32_t e) {
        if (auto alive = weak.lock()) OnEvents(alive, e);
      });
  if (added.ok()) connections[number] = std::move(connection);
}

void Server::Impl::OnEvents(const std::shared_ptr<Connection>& connection, uint32_t events) {
  if (events & EPOLLOUT) Flush(connection.get());
  if (!connection->fd || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  absl::Status read = connection->in.ReadFrom(connection->fd.get());
  Drain(connection);
  if (!read.ok() && connection->fd) Close(connection.get());
}

void Server::Impl::Drain(const std::shared_ptr<Connection>& connection) {
  while (connection->fd) {
    std::optional<Frame> frame = connection->in.Next();
    if (!frame) return;
    OnFrame(connection, *std::move(frame));
  }
}

absl::Status Server::Impl::CheckFrame(Connection* connection, const Frame& frame,
                                      Request* request) const {
  if (frame.stream % 2 != 1)
    return absl::InvalidArgumentError("StreamID must be odd for client initiated streams");
  if (frame.stream <= connection->last_stream)
    return absl::InvalidArgumentError("StreamID cannot be re-used and must increment");
  connection->last_stream = frame.stream;
  if (frame.oversize)
    return absl::ResourceExhaustedError(
        absl::StrCat("message length exceeds maximum message size of ", kMaxMessage));
  if (!request->ParseFromString(frame.data))
    return absl::InvalidArgumentError("unmarshal request: malformed message");
  if (connection->calls.size() >= kMaxCalls)
    return absl::ResourceExhaustedError("too many calls under way on this connection");
  return absl::OkStatus();
}

void Server::Impl::OnFrame(const std::shared_ptr<Connection>& connection, Frame frame) {
  // Types of later protocol versions are ignored, as the protocol asks.
  if (frame.type != kRequest) return;
  Request request;
  absl::Status valid = CheckFrame(connection.get(), frame, &request);
  if (valid.ok() && !handlers.contains(request.service()))
    valid = absl::UnimplementedError(absl::StrCat("service ", request.service()));
  if (valid.ok() && (frame.flags & kRemoteOpen))
    valid = absl::UnimplementedError(
        absl::StrCat("method ", request.method(), " is unary; streams are not supported"));
  if (!valid.ok()) {
    connection->Send(frame.stream, ErrorResponse(valid));
    return;
  }
  Handler& handler = handlers[request.service()];
  auto call = std::make_shared<CallImpl>(loop, connection, frame.stream, std::move(request));
  connection->calls[frame.stream] = call;
  call->ArmTimeout(call);
  handler(std::move(call));
}

void Server::Impl::Flush(Connection* connection) {
  if (!connection->fd) return;
  if (!connection->out.Flush(connection->fd.get()).ok() || connection->out.size() > kDisconnectAt) {
    Close(connection);
    return;
  }
  uint32_t wanted = connection->out.empty() ? 0u : static_cast<uint32_t>(EPOLLOUT);
  if (connection->out.size() < kPauseReadingAt) wanted |= EPOLLIN;
  if (wanted == connection->watched) return;
  connection->watched = wanted;
  (void)loop->Modify(connection->fd.get(), wanted);
}

void Server::Impl::Close(Connection* connection) {
  int number = connection->fd.get();
  loop->Remove(number);
  connection->fd.Reset();
  auto found = connections.find(number);
  if (found == connections.end()) return;
  // Not destroyed here: callers up the stack still use it.
  loop->Post([keep = std::move(found->second)] {});
  connections.erase(found);
}

Server::Server(EventLoop* loop) : impl_(std::make_unique<Impl>(loop)) {}
Server::~Server() = default;

void Server::Register(std::string service, Handler handler) {
  impl_->handlers[std::move(service)] = std::move(handler);
}

absl::Status Server::Listen(UniqueFd listener) {
  int number = listener.get();
  GANTRY_RETURN_IF_ERROR(impl_->loop->Add(
      number, EPOLLIN, [impl = impl_.get(), number](uint32_t) { impl->Accept(number); }));
  impl_->listeners.push_back(std::move(listener));
  return absl::OkStatus();
}

void Server::StopListening() { impl_->StopListening(); }

int Server::connections() const { return static_cast<int>(impl_->connections.size()); }

size_t Server::unsent_bytes() const {
  size_t total = 0;
  for (const auto& [fd, connection] : impl_->connections) total += connection->out.size();
  return total;
}

}  // namespace gantry::base::ttrpc
