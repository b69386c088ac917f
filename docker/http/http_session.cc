#include "docker/http/http_session.h"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "docker/http/errors.h"

namespace gantry::docker::http {
namespace {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kHeadLimit = 64u << 10;
constexpr size_t kReadSize = 16u << 10;
constexpr size_t kRelaySize = 64u << 10;
constexpr size_t kBodyPiece = 256u << 10;
// What a streaming handler may be ahead of its client.
constexpr size_t kQueueLimit = 1u << 20;
// Of a body that no handler wanted, before the connection is given up.
constexpr size_t kDrainLimit = 64u << 20;
constexpr std::chrono::seconds kHeadTime{30};
constexpr std::chrono::seconds kIdleTime{600};
constexpr std::chrono::seconds kLingerTime{5};

absl::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

Request MakeRequest(const beast_http::request<beast_http::buffer_body>& message) {
  Request request;
  request.method = std::string(View(message.method_string()));
  request.http_1_0 = message.version() < 11;
  absl::string_view target = View(message.target());
  // The form that proxies get: http://host/path.
  if (size_t scheme = target.find("://");
      !target.empty() && target[0] != '/' && scheme != absl::string_view::npos) {
    size_t path = target.find('/', scheme + 3);
    target = path == absl::string_view::npos ? "/" : target.substr(path);
  }
  size_t question = target.find('?');
  request.path = UrlDecode(target.substr(0, question), /*plus=*/false);
  if (question != absl::string_view::npos) {
    request.query = Query::Parse(target.substr(question + 1));
  }
  for (const auto& field : message) {
    std::string& value = request.headers[absl::AsciiStrToLower(View(field.name_string()))];
    absl::StrAppend(&value, value.empty() ? "" : ", ", View(field.value()));
  }
  return request;
}

}  // namespace

HttpSession::HttpSession(std::unique_ptr<ByteStream> stream, std::shared_ptr<const Serve> serve)
    : stream_(std::move(stream)),
      serve_(std::move(serve)),
      timer_(stream_->socket().get_executor()) {}

template <typename Function>
void HttpSession::OnStrand(Function function) {
  asio::post(
      stream_->socket().get_executor(),
      [self = shared_from_this(), function = std::move(function)]() mutable { function(*self); });
}

void HttpSession::Start() {
  OnStrand([](HttpSession& s) {
    s.Expire(kHeadTime);
    s.stream_->Handshake([self = s.shared_from_this()](error_code error) {
      if (error) return self->Fail();
      self->NextRequest();
    });
  });
}

// --- reading

void HttpSession::Fill() {
  if (reading_) return;
  if (eof_) {
    if (resume_) std::exchange(resume_, nullptr)();
    return;
  }
  reading_ = true;
  stream_->WaitReadable([self = shared_from_this()](error_code error) {
    if (error) return self->Filled(error, 0);
    auto room = self->buffer_.prepare(self->relaying_ ? kRelaySize : kReadSize);
    self->stream_->ReadSome(room,
                            [self](error_code failed, size_t size) { self->Filled(failed, size); });
  });
}

void HttpSession::Filled(error_code error, size_t size) {
  reading_ = false;
  buffer_.commit(size);
  if (error) eof_ = true;
  if (resume_) return std::exchange(resume_, nullptr)();
  if (!watching_) return;
  if (eof_) return Fail();
  // The next request, ahead of time; more of it waits in the kernel.
  if (buffer_.size() < kReadSize) Fill();
}

void HttpSession::NextRequest() {
  {
    absl::MutexLock lock(&mutex_);
    claimed_ = false;
    on_closed_ = nullptr;
  }
  watching_ = false;
  if (buffer_.size() == 0) buffer_.shrink_to_fit();
  parser_.emplace();
  parser_->header_limit(kHeadLimit);
  // Not boost::none: with it, Beast 1.74 refuses every body that says its length.
  parser_->body_limit(std::numeric_limits<uint64_t>::max());
  Expire(buffer_.size() > 0 ? kHeadTime : kIdleTime);
  ParseHead();
}

void HttpSession::ParseHead() {
  if (closed()) return;
  while (buffer_.size() > 0) {
    error_code error;
    size_t used = parser_->put(buffer_.data(), error);
    buffer_.consume(used);
    if (error == beast_http::error::need_more) break;
    if (error == beast_http::error::header_limit) return RefuseHead(431);
    if (error) return RefuseHead(400);
    if (parser_->is_header_done()) return Dispatch();
  }
  if (eof_) return Fail();
  bool fresh = buffer_.size() == 0 && !parser_->got_some();
  resume_ = [this, fresh] {
    // The clock of the head begins with its first byte, and is not set back by further ones.
    if (fresh && !eof_) Expire(kHeadTime);
    ParseHead();
  };
  Fill();
}

void HttpSession::RefuseHead(int status) {
  CloseAfterAnswer();
  std::string text = absl::StrCat(status, " ", ReasonPhrase(status));
  Write(absl::StrCat("HTTP/1.1 ", text, "\r\nContent-Type: text/plain; charset=utf-8\r\n",
                     "Content-Length: ", text.size(), "\r\nConnection: close\r\n\r\n", text),
        nullptr);
  OnStrand([](HttpSession& s) { s.WhenSent([&s] { s.CloseGently(); }); });
}

void HttpSession::Dispatch() {
  timer_.cancel();
  keep_alive_ = parser_->keep_alive();
  continue_expected_ =
      absl::EqualsIgnoreCase(View(parser_->get()[beast_http::field::expect]), "100-continue");
  (*serve_)(std::make_shared<Exchange>(shared_from_this(), MakeRequest(parser_->get())));
}

void HttpSession::Expire(std::chrono::seconds after) {
  timer_.expires_after(after);
  timer_.async_wait([weak = weak_from_this()](error_code error) {
    if (error) return;
    if (auto self = weak.lock()) self->Fail();
  });
}

void HttpSession::ReadBody(BodyDone done) {
  OnStrand([done = std::move(done)](HttpSession& s) mutable { s.ReadBodyHere(std::move(done)); });
}

void HttpSession::ReadBodyHere(BodyDone done) {
  if (closed()) return done(absl::CancelledError("the client is gone"));
  if (std::exchange(continue_expected_, false) && !parser_->is_done()) {
    Write("HTTP/1.1 100 Continue\r\n\r\n", nullptr);
  }
  std::string piece;
  while (!parser_->is_done()) {
    if (buffer_.size() > 0) {
      if (piece.empty()) piece.resize(std::min(kBodyPiece, buffer_.size()));
      auto& body = parser_->get().body();
      body.data = piece.data();
      body.size = piece.size();
      body.more = true;
      error_code error;
      size_t used = parser_->put(buffer_.data(), error);
      buffer_.consume(used);
      if (size_t got = piece.size() - body.size; got > 0) {
        piece.resize(got);
        return done(std::move(piece));
      }
      if (!error || error == beast_http::error::need_buffer) continue;
      if (error != beast_http::error::need_more) {
        CloseAfterAnswer();
        return done(absl::InvalidArgumentError(
            absl::StrCat("the request's body is malformed: ", error.message())));
      }
    }
    if (eof_) {
      Fail();
      return done(absl::CancelledError("the client is gone"));
    }
    resume_ = [this, done = std::move(done)]() mutable { ReadBodyHere(std::move(done)); };
    return Fill();
  }
  done(std::string());
}

// Takes the rest of a body that the handler did not want, so that the connection can go on.
void HttpSession::DrainRest(size_t allowed) {
  if (closed()) return;
  if (parser_->is_done() && keep_alive_) {
    timer_.cancel();
    return NextRequest();
  }
  if (parser_->is_done() || continue_expected_) return CloseGently();
  ReadBodyHere([self = shared_from_this(), allowed](absl::StatusOr<std::string> piece) {
    if (!piece.ok() || piece->size() > allowed) return self->CloseGently();
    self->DrainRest(allowed - piece->size());
  });
}

// --- writing

void HttpSession::Write(std::string bytes, std::function<void(bool)> done) {
  {
    absl::MutexLock lock(&mutex_);
    queued_ += bytes.size();
  }
  OnStrand([out = Outgoing{std::move(bytes), std::move(done)}](HttpSession& s) mutable {
    if (s.closed()) {
      if (out.done) out.done(false);
      return;
    }
    s.out_.push_back(std::move(out));
    s.Pump();
  });
}

void HttpSession::Pump() {
  if (writing_) return;
  if (out_.empty()) {
    if (when_sent_) std::exchange(when_sent_, nullptr)();
    return;
  }
  writing_ = true;
  stream_->Write(asio::buffer(out_.front().bytes),
                 [self = shared_from_this()](error_code error, size_t) { self->Written(error); });
}

void HttpSession::Written(error_code error) {
  writing_ = false;
  if (error || closed()) {
    Fail();
    return out_.clear();
  }
  Outgoing sent = std::move(out_.front());
  out_.pop_front();
  {
    absl::MutexLock lock(&mutex_);
    queued_ -= sent.bytes.size();
  }
  if (sent.done) sent.done(true);
  Pump();
}

void HttpSession::WhenSent(std::function<void()> then) {
  when_sent_ = [self = shared_from_this(), then = std::move(then)] { then(); };
  Pump();
}

bool HttpSession::AwaitRoom() {
  auto room = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return queued_ <= kQueueLimit || closed_; };
  absl::MutexLock lock(&mutex_, absl::Condition(&room));
  return !closed_;
}

void HttpSession::EndAnswer() {
  OnStrand([](HttpSession& s) {
    if (s.closed()) return;
    s.WhenSent([&s] {
      if (!s.keeps_alive()) s.keep_alive_ = false;
      s.Expire(kLingerTime);
      s.DrainRest(kDrainLimit);
    });
  });
}

void HttpSession::Abort() {
  OnStrand([](HttpSession& s) { s.Fail(); });
}

void HttpSession::CloseGently() {
  if (closed()) return;
  keep_alive_ = false;
  stream_->ShutdownWrite();
  Expire(kLingerTime);
  resume_ = [this] {
    if (eof_) return Fail();
    buffer_.consume(buffer_.size());
    CloseGently();
  };
  Fill();
}

void HttpSession::Fail() {
  std::function<void()> on_closed;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    closed_ = true;
    on_closed.swap(on_closed_);
  }
  auto self = shared_from_this();
  timer_.cancel();
  stream_->Close();
  if (peer_) {
    error_code ignored;
    peer_->close(ignored);
  }
  when_sent_ = nullptr;
  std::vector<std::function<void(bool)>> unsent;
  for (Outgoing& out : out_) {
    if (out.done) unsent.push_back(std::move(out.done));
  }
  // The bytes of a write under way belong to it until it says that it has ended.
  if (!writing_) out_.clear();
  for (auto& done : unsent) done(false);
  if (resume_) std::exchange(resume_, nullptr)();
  if (on_closed) on_closed();
  if (spliced_) std::exchange(spliced_, nullptr)();
}

// --- state that other threads ask for

bool HttpSession::Claim() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(claimed_, true);
}

bool HttpSession::keeps_alive() const {
  absl::MutexLock lock(&mutex_);
  return keep_alive_ && !close_after_;
}

void HttpSession::CloseAfterAnswer() {
  absl::MutexLock lock(&mutex_);
  close_after_ = true;
}

bool HttpSession::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

void HttpSession::Watch(std::function<void()> callback) {
  OnStrand([callback = std::move(callback)](HttpSession& s) mutable {
    {
      absl::MutexLock lock(&s.mutex_);
      if (!s.closed_) s.on_closed_ = std::exchange(callback, nullptr);
    }
    if (callback) return callback();
    s.watching_ = true;
    if (s.parser_->is_done()) s.Fill();
  });
}

// --- relay

void HttpSession::Splice(base::UniqueFd peer, bool websocket, std::function<void()> done) {
  OnStrand([fd = std::make_shared<base::UniqueFd>(std::move(peer)), websocket,
            done = std::move(done)](HttpSession& s) mutable {
    if (s.closed()) {
      if (done) done();
      return;
    }
    s.SpliceHere(fd->Release(), websocket, std::move(done));
  });
}

void HttpSession::SpliceHere(int peer, bool websocket, std::function<void()> done) {
  peer_.emplace(stream_->socket().get_executor());
  error_code error;
  peer_->assign(asio::local::stream_protocol(), peer, error);
  spliced_ = std::move(done);
  if (error) {
    ::close(peer);
    return Fail();
  }
  peer_->non_blocking(true, error);
  relaying_ = true;
  watching_ = false;
  if (websocket) websocket_.emplace();
  ClientToPeer();
  PeerToClient();
}

void HttpSession::ClientToPeer() {
  if (closed()) return;
  absl::string_view received(static_cast<const char*>(buffer_.data().data()), buffer_.size());
  if (websocket_) {
    std::string reply;
    bool open = websocket_->Decode(received, &to_peer_, &reply);
    if (!reply.empty()) Write(std::move(reply), nullptr);
    if (!open) eof_ = true;
  } else {
    to_peer_.assign(received.data(), received.size());
  }
  buffer_.consume(buffer_.size());
  if (!to_peer_.empty()) {
    asio::async_write(*peer_, asio::buffer(to_peer_),
                      [self = shared_from_this()](error_code error, size_t) {
                        self->to_peer_.clear();
                        // A program that does not read any more: what else the client sends is
                        // dropped, its output still comes.
                        if (!error) self->ClientToPeer();
                      });
    return;
  }
  if (eof_) {
    error_code ignored;
    peer_->shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
    return;
  }
  to_peer_.shrink_to_fit();
  buffer_.shrink_to_fit();
  resume_ = [this] { ClientToPeer(); };
  Fill();
}

void HttpSession::PeerToClient() {
  peer_->async_wait(asio::socket_base::wait_read, [self = shared_from_this()](error_code error) {
    if (self->closed()) return;
    if (error) return self->PeerEnded();
    std::string bytes(kRelaySize, '\0');
    ssize_t n = recv(self->peer_->native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return self->PeerToClient();
    if (n <= 0) return self->PeerEnded();
    bytes.resize(n);
    if (self->websocket_) bytes = WebSocketFrame(bytes);
    self->Write(std::move(bytes), [self](bool sent) {
      if (sent) self->PeerToClient();
    });
  });
}

void HttpSession::PeerEnded() {
  if (websocket_) Write(WebSocketClose(), nullptr);
  OnStrand([](HttpSession& s) {
    if (s.closed()) return;
    s.WhenSent([&s] {
      error_code ignored;
      s.peer_->close(ignored);
      if (s.spliced_) std::exchange(s.spliced_, nullptr)();
      s.CloseGently();
    });
  });
}

}  // namespace gantry::docker::http
