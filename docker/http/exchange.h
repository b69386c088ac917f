#ifndef GANTRY_DOCKER_HTTP_EXCHANGE_H_
#define GANTRY_DOCKER_HTTP_EXCHANGE_H_

// One request and its answer. A handler gets it on a worker thread and may block there; to answer
// later it keeps the pointer and returns. Nothing here depends on the library that does the I/O.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/json.h"
#include "base/unique_fd.h"
#include "docker/http/request.h"

namespace gantry::docker::http {

class Session;

// An answer that is written piece by piece (chunked). Thread-safe. Destroyed before Finish(), the
// connection is cut, so that the client sees that the answer is not whole.
class ResponseStream {
 public:
  explicit ResponseStream(std::shared_ptr<Session> session);
  ResponseStream(const ResponseStream&) = delete;
  ~ResponseStream();

  // Sends `data`; blocks while more than 1 MiB waits for the client. False when it is gone. Not on
  // an I/O thread.
  bool Write(std::string data);
  // The same without blocking: `done` is called on an I/O thread when all of it was given to the
  // kernel (false: the client is gone); one at a time.
  void WriteAsync(std::string data, std::function<void(bool)> done);
  void Finish();

 private:
  std::shared_ptr<Session> session_;
  bool finished_ = false;
};

// A connection that is no longer HTTP: bytes in both directions. Destroyed, it is closed once what
// was written has been sent.
class RawStream {
 public:
  RawStream(std::shared_ptr<Session> session, bool websocket);
  RawStream(const RawStream&) = delete;
  ~RawStream();

  // Blocks as ResponseStream::Write() does.
  bool Write(std::string data);
  // Copies between the client and `peer` (a connected stream socket) without a thread until the
  // peer has ended and all of it was sent; the end of the client's input shuts down the sending
  // side of `peer`. `done` (may be null) is called once, on an I/O thread, when it is over. Call it
  // once, and nothing else afterwards.
  void Splice(base::UniqueFd peer, std::function<void()> done = nullptr);

 private:
  std::shared_ptr<Session> session_;
  const bool websocket_;
  bool taken_ = false;
};

// What the header "Server" says.
inline constexpr char kServerName[] = "Gantry/" GANTRY_VERSION " (linux)";

// Thread-safe but for the body, which belongs to one thread at a time. Destroyed without an answer,
// the client gets status 500.
class Exchange {
 public:
  Exchange(std::shared_ptr<Session> session, Request request);
  Exchange(const Exchange&) = delete;
  ~Exchange();

  const Request& request() const { return request_; }
  Request& mutable_request() { return request_; }
  const Query& query() const { return request_.query; }
  const std::string& Var(absl::string_view name) const { return request_.Var(name); }

  // --- body: blocks, so not on an I/O thread

  // All of it. InvalidArgument "http: request body too large" beyond `limit` bytes; Cancelled when
  // the client is gone.
  absl::StatusOr<std::string> ReadBody(size_t limit = 16u << 20);
  // The next piece (at most 256 KiB), as the client sends it; empty at the end.
  absl::StatusOr<std::string> ReadBodySome();
  // The body as JSON. An empty one is null. InvalidArgument with Docker's words: "invalid JSON: …",
  // or the "unsupported Content-Type header" of a body that says it is something else.
  absl::StatusOr<base::Json> ReadJson(size_t limit = 16u << 20);
  // Whether the request says that it has a body.
  bool HasBody() const;

  // --- the answer: exactly one of these, once; later ones are dropped

  void SetHeader(std::string name, std::string value);  // before the answer
  void Reply(int status, std::string body, absl::string_view content_type);
  void ReplyEmpty(int status);  // 200, 204, 304, …
  // As Go's encoder prints it, with a newline. Bytes that are no UTF-8 become U+FFFD.
  void ReplyJson(int status, const base::Json& json);
  void ReplyJson(int status, const base::OrderedJson& json);
  // {"message": …} with the status of errors.h.
  void ReplyError(const absl::Status& error);

  std::shared_ptr<ResponseStream> StartStream(int status, absl::string_view content_type);
  // Leaves HTTP: 101 UPGRADED when the client asks for it ("Upgrade: tcp"), else 200; both with
  // `content_type` (the raw stream's, or the multiplexed one's). The body must have been read.
  // Null when the client is gone.
  std::shared_ptr<RawStream> Hijack(absl::string_view content_type);
  // The same for a websocket (RFC 6455): what is spliced goes in binary messages. Null and a reply
  // when the client did not ask for one properly.
  std::shared_ptr<RawStream> AcceptWebSocket();

  // Watches for the client to vanish and calls `callback` then, once, on an I/O thread (it must not
  // block). Also when it is gone already. Not together with Hijack().
  void OnClosed(std::function<void()> callback);
  bool closed() const;

 private:
  std::string Head(int status, absl::string_view content_type, int64_t length, bool chunked);
  bool Claim();
  void Send(int status, std::string body, absl::string_view content_type);

  std::shared_ptr<Session> session_;
  Request request_;
  std::vector<std::pair<std::string, std::string>> extra_headers_;
  // Of this exchange: the session's is the next request's by the time we are destroyed.
  std::atomic<bool> claimed_{false};
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_EXCHANGE_H_
