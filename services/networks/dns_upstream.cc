#include "services/networks/dns_upstream.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace gantry::services {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(2);
constexpr uint16_t kPort = 53;
constexpr size_t kMaxMessage = 65535;
constexpr size_t kMaxServers = 6;

uint16_t RandomId() {
  uint16_t id = 0;
  [[maybe_unused]] ssize_t n = getrandom(&id, sizeof id, 0);
  return id;
}

std::string WithLength(const std::string& message) {
  std::string framed;
  framed.push_back(static_cast<char>(message.size() >> 8));
  framed.push_back(static_cast<char>(message.size() & 0xff));
  return framed + message;
}

}  // namespace

DnsUpstream::DnsUpstream(base::EventLoop* loop, std::vector<IpAddress> servers, std::string message,
                         DnsQuery query, bool tcp, DoneFn done)
    : loop_(loop),
      servers_(std::move(servers)),
      message_(std::move(message)),
      query_(std::move(query)),
      tcp_(tcp),
      done_(std::move(done)) {}

void DnsUpstream::Ask(base::EventLoop* loop, std::vector<IpAddress> servers, std::string message,
                      const DnsQuery& query, bool tcp, DoneFn done) {
  std::shared_ptr<DnsUpstream> asked(
      new DnsUpstream(loop, std::move(servers), std::move(message), query, tcp, std::move(done)));
  loop->After(absl::ZeroDuration(), [asked] { asked->TryNext(); });
}

void DnsUpstream::TryNext() {
  Close();
  while (next_ < std::min(servers_.size(), kMaxServers)) {
    if (Connect(servers_[next_++])) return;
  }
  Finish("");
}

bool DnsUpstream::Connect(const IpAddress& server) {
  sockaddr_storage address = {};
  socklen_t size = 0;
  if (server.is_v4()) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address);
    in->sin_family = AF_INET;
    in->sin_port = htons(kPort);
    memcpy(&in->sin_addr, server.data(), 4);
    size = sizeof *in;
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(kPort);
    memcpy(&in->sin6_addr, server.data(), 16);
    size = sizeof *in;
  }
  // A port and an identifier of its own for each question: both have to be guessed by whoever
  // would answer in the server's place.
  socket_.Reset(
      socket(server.family(), (tcp_ ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) return false;
  int result = connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), size);
  if (result != 0 && errno != EINPROGRESS) return false;
  id_ = RandomId();
  out_ = message_;
  SetDnsId(id_, &out_);
  in_.clear();
  if (tcp_) {
    out_ = WithLength(out_);
  } else if (send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL) < 0) {
    return false;
  }
  auto self = shared_from_this();
  absl::Status added =
      loop_->Add(socket_.get(), tcp_ ? EPOLLIN | EPOLLOUT : EPOLLIN,
                 [self](uint32_t) { self->tcp_ ? self->OnStream() : self->OnDatagram(); });
  if (!added.ok()) {
    socket_.Reset();
    return false;
  }
  timer_ = loop_->After(kPatience, [self] {
    self->timer_ = 0;
    self->TryNext();
  });
  return true;
}

void DnsUpstream::OnDatagram() {
  std::string answer(kMaxMessage, '\0');
  ssize_t n = recv(socket_.get(), answer.data(), answer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return TryNext();  // nobody listens there
  answer.resize(static_cast<size_t>(n));
  TakeAnswer(std::move(answer));  // one that is none is ignored: the right one may follow
}

void DnsUpstream::OnStream() {
  while (!out_.empty()) {
    ssize_t n = send(socket_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == ENOTCONN)) break;
    if (n < 0) return TryNext();
    out_.erase(0, static_cast<size_t>(n));
    if (out_.empty()) loop_->Modify(socket_.get(), EPOLLIN).IgnoreError();
  }
  char chunk[4096];
  bool ended = false;
  while (!ended) {
    ssize_t n = recv(socket_.get(), chunk, sizeof chunk, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n < 0) return TryNext();
    ended = n == 0;
    in_.append(chunk, static_cast<size_t>(n));
    if (in_.size() > kMaxMessage + 2) return TryNext();
  }
  if (in_.size() < 2) return ended ? TryNext() : void();
  size_t length =
      static_cast<size_t>(static_cast<uint8_t>(in_[0])) << 8 | static_cast<uint8_t>(in_[1]);
  if (in_.size() < 2 + length) return ended ? TryNext() : void();
  if (!TakeAnswer(in_.substr(2, length))) TryNext();
}

bool DnsUpstream::TakeAnswer(std::string answer) {
  if (DnsId(answer) != id_ || !AnswersQuestion(answer, message_, query_)) return false;
  // "I will not" and "I cannot" is no answer as long as there is another server.
  int code = answer[3] & 0x0f;
  bool refused = code == 2 || code == 4 || code == 5;
  if (refused && next_ < std::min(servers_.size(), kMaxServers)) {
    TryNext();
    return true;
  }
  SetDnsId(query_.id, &answer);
  Finish(std::move(answer));
  return true;
}

void DnsUpstream::Close() {
  if (timer_ != 0) loop_->Cancel(timer_);
  timer_ = 0;
  if (socket_) loop_->Remove(socket_.get());
  socket_.Reset();
}

void DnsUpstream::Finish(std::string answer) {
  auto self = shared_from_this();  // the loop's references go now
  Close();
  if (done_ == nullptr) return;
  DoneFn done = std::move(done_);
  done_ = nullptr;
  done(std::move(answer));
}

}  // namespace gantry::services
