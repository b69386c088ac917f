#ifndef GANTRY_BASE_TTRPC_SERVER_H_
#define GANTRY_BASE_TTRPC_SERVER_H_

// The server side of ttrpc (unary calls only), for one thread and one epoll loop: the shim's whole
// life. Wire: 10-byte header {length u32 BE, stream u32 BE, type u8, flags u8},
// gantry.ttrpc.v1.Request or Response behind it; at most 4 MiB (longer: discarded,
// ResourceExhausted on that stream).

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace gantry::base::ttrpc {

// One call. The handler answers now or later (Wait may take days), exactly once, on the loop's
// thread. When the client has gone the answer is dropped.
class Call {
 public:
  virtual ~Call() = default;
  virtual absl::string_view service() const = 0;
  virtual absl::string_view method() const = 0;
  virtual absl::string_view payload() const = 0;
  // Metadata value, empty if absent; "containerd-namespace-ttrpc" carries the namespace.
  virtual absl::string_view metadata(absl::string_view key) const = 0;
  virtual void Reply(std::string payload) = 0;
  virtual void Fail(const absl::Status& status) = 0;
  // Answered already, or the client's deadline has passed, or the client has gone: an answer would
  // reach nobody. Who keeps calls for long (Wait) drops those.
  virtual bool finished() const = 0;
};

// Called for every request of a known service; Fail(Unimplemented) for a method it does not have.
using Handler = std::function<void(std::shared_ptr<Call>)>;

class Server {
 public:
  explicit Server(EventLoop* loop);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Requests for other services are answered Unimplemented (containerd's downgrade depends on it).
  void Register(std::string service, Handler handler);

  // Takes a listening unix stream socket. Peers whose uid is neither ours nor 0 are disconnected
  // (SO_PEERCRED; CVE-2020-15257). May be called for several sockets.
  absl::Status Listen(UniqueFd listener);

  // Stops accepting and closes the listening sockets; connected clients stay.
  void StopListening();

  // Number of connected clients.
  int connections() const;
  // Answers given to clients that their sockets have not taken yet, in bytes. A program that wants
  // to end right after an answer waits until this is 0.
  size_t unsent_bytes() const;

  // A client that takes no answers is not read from any longer beyond the first limit, and is
  // disconnected beyond the second.
  static constexpr size_t kPauseReadingAt = 1u << 20;
  static constexpr size_t kDisconnectAt = 64u << 20;
  // Calls under way on one connection; more are answered ResourceExhausted.
  static constexpr size_t kMaxCalls = 16384;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::base::ttrpc

#endif  // GANTRY_BASE_TTRPC_SERVER_H_
