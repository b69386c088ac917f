#ifndef GANTRY_DOCKER_HTTP_HTTP_SESSION_H_
#define GANTRY_DOCKER_HTTP_HTTP_SESSION_H_

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "docker/http/byte_stream.h"
#include "docker/http/exchange.h"
#include "docker/http/session.h"
#include "docker/http/websocket.h"

namespace gantry::docker::http {

// One connection: reads requests one after the other and hands each to `serve`. It lives as long as
// an operation is pending or an exchange holds it. Everything private runs on the socket's strand.
class HttpSession : public Session, public std::enable_shared_from_this<HttpSession> {
 public:
  // Called on an I/O thread; must not block.
  using Serve = std::function<void(std::shared_ptr<Exchange>)>;

  HttpSession(std::unique_ptr<ByteStream> stream, std::shared_ptr<const Serve> serve);
  void Start();

  void ReadBody(std::function<void(absl::StatusOr<std::string>)> done) override;
  void Write(std::string bytes, std::function<void(bool)> done) override;
  bool AwaitRoom() override;
  void EndAnswer() override;
  void Abort() override;
  bool Claim() override;
  bool keeps_alive() const override;
  void CloseAfterAnswer() override;
  void Splice(base::UniqueFd peer, bool websocket, std::function<void()> done) override;
  void Watch(std::function<void()> callback) override;
  bool closed() const override;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  using BodyDone = std::function<void(absl::StatusOr<std::string>)>;
  struct Outgoing {
    std::string bytes;
    std::function<void(bool)> done;
  };

  template <typename Function>
  void OnStrand(Function function);

  // Reads more into buffer_, then runs resume_ (or what watches for the end of the client).
  void Fill();
  void Filled(boost::system::error_code error, size_t size);

  void NextRequest();
  void ParseHead();
  void Dispatch();
  void RefuseHead(int status);
  void Expire(std::chrono::seconds after);

  void ReadBodyHere(BodyDone done);
  void DrainRest(size_t allowed);

  void Pump();
  void Written(boost::system::error_code error);
  void WhenSent(std::function<void()> then);
  // Sends the end of the stream, takes what the client still sends for a moment, and closes.
  void CloseGently();
  void Fail();

  // The relay.
  void SpliceHere(int peer, bool websocket, std::function<void()> done);
  void ClientToPeer();
  void PeerToClient();
  void PeerEnded();

  std::unique_ptr<ByteStream> stream_;
  std::shared_ptr<const Serve> serve_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  boost::asio::steady_timer timer_;
  std::function<void()> resume_;
  bool reading_ = false;
  bool eof_ = false;
  bool continue_expected_ = false;
  bool relaying_ = false;
  bool watching_ = false;
  bool keep_alive_ = true;

  std::deque<Outgoing> out_;
  bool writing_ = false;
  std::function<void()> when_sent_;

  std::optional<boost::asio::local::stream_protocol::socket> peer_;
  std::optional<WebSocketDecoder> websocket_;
  std::string to_peer_;
  std::function<void()> spliced_;

  mutable absl::Mutex mutex_;
  size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool claimed_ ABSL_GUARDED_BY(mutex_) = false;
  bool close_after_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> on_closed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_HTTP_SESSION_H_
