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
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/time/time.h"
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

  // Number of connected clients.
  int connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::base::ttrpc

#endif  // GANTRY_BASE_TTRPC_SERVER_H_
