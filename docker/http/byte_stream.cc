#include "docker/http/byte_stream.h"

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace gantry::docker::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(Socket socket) : socket_(std::move(socket)) {}

  void Handshake(std::function<void(error_code)> done) override { done({}); }
  void ReadSome(asio::mutable_buffer to, Done done) override {
    socket_.async_read_some(to, std::move(done));
  }
  void Write(asio::const_buffer from, Done done) override {
    asio::async_write(socket_, from, std::move(done));
  }
  void WaitReadable(std::function<void(error_code)> done) override {
    socket_.async_wait(Socket::wait_read, std::move(done));
  }
  void ShutdownWrite() override {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  void Close() override {
    error_code ignored;
    socket_.close(ignored);
  }
  Socket& socket() override { return socket_; }

 private:
  Socket socket_;
};

class TlsStream : public ByteStream {
 public:
  TlsStream(Socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  void Handshake(std::function<void(error_code)> done) override {
    stream_.async_handshake(asio::ssl::stream_base::server, std::move(done));
  }
  void ReadSome(asio::mutable_buffer to, Done done) override {
    stream_.async_read_some(to, std::move(done));
  }
  void Write(asio::const_buffer from, Done done) override {
    asio::async_write(stream_, from, std::move(done));
  }
  // Bytes may be inside of the TLS layer, which the socket does not tell: reading is the way to
  // wait.
  void WaitReadable(std::function<void(error_code)> done) override { done({}); }
  // SSL_shutdown sends close_notify at once; the answer to it is not waited for.
  void ShutdownWrite() override {
    stream_.async_shutdown([](error_code) {});
  }
  void Close() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }
  Socket& socket() override { return stream_.next_layer(); }

 private:
  asio::ssl::stream<Socket> stream_;
};

}  // namespace

std::unique_ptr<ByteStream> MakePlainStream(Socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}
std::unique_ptr<ByteStream> MakeTlsStream(Socket socket, asio::ssl::context& context) {
  return std::make_unique<TlsStream>(std::move(socket), context);
}

}  // namespace gantry::docker::http
