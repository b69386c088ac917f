#ifndef GANTRY_DOCKER_HTTP_BYTE_STREAM_H_
#define GANTRY_DOCKER_HTTP_BYTE_STREAM_H_

// A connected socket with or without TLS, so that the rest is no template. Only the .cc files that
// do I/O include this.

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/system/error_code.hpp>
#include <functional>
#include <memory>

namespace gantry::docker::http {

using Socket = boost::asio::generic::stream_protocol::socket;

// Everything runs on the executor (a strand) of the socket; one read and one write at a time.
class ByteStream {
 public:
  using Done = std::function<void(boost::system::error_code, size_t)>;
  virtual ~ByteStream() = default;
  virtual void Handshake(std::function<void(boost::system::error_code)> done) = 0;
  virtual void ReadSome(boost::asio::mutable_buffer to, Done done) = 0;
  // All of it.
  virtual void Write(boost::asio::const_buffer from, Done done) = 0;
  // Once there is something to read, so that an idle connection needs no buffer.
  virtual void WaitReadable(std::function<void(boost::system::error_code)> done) = 0;
  // The client reads the end of the stream after what was written.
  virtual void ShutdownWrite() = 0;
  virtual void Close() = 0;
  virtual Socket& socket() = 0;
};

std::unique_ptr<ByteStream> MakePlainStream(Socket socket);
std::unique_ptr<ByteStream> MakeTlsStream(Socket socket, boost::asio::ssl::context& context);

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_BYTE_STREAM_H_
