#ifndef GANTRY_DOCKER_HTTP_SESSION_H_
#define GANTRY_DOCKER_HTTP_SESSION_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace gantry::docker::http {

// What exchange.h needs of a connection. All methods may be called from any thread and return at
// once, but for AwaitRoom(); callbacks run on an I/O thread.
class Session {
 public:
  virtual ~Session() = default;

  // The next piece of the request's body; empty at its end.
  virtual void ReadBody(std::function<void(absl::StatusOr<std::string>)> done) = 0;
  // Queues bytes for the client; `done` (may be null) hears when the kernel has them.
  virtual void Write(std::string bytes, std::function<void(bool)> done) = 0;
  // Blocks while much is queued. False when the client is gone.
  virtual bool AwaitRoom() = 0;
  // The answer is complete: goes on with the next request once all is sent, or closes.
  virtual void EndAnswer() = 0;
  // Closes without sending what is queued.
  virtual void Abort() = 0;
  // Whether an answer was begun; the first caller gets false.
  virtual bool Claim() = 0;
  // Whether the connection serves more requests after this one.
  virtual bool keeps_alive() const = 0;
  virtual void CloseAfterAnswer() = 0;
  // Whether the answer that is under way is sent in chunks.
  bool chunked() const { return chunked_; }
  void set_chunked(bool chunked) { chunked_ = chunked; }

  virtual void Splice(base::UniqueFd peer, bool websocket, std::function<void()> done) = 0;
  virtual void Watch(std::function<void()> callback) = 0;
  virtual bool closed() const = 0;

 private:
  bool chunked_ = false;
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_SESSION_H_
