#ifndef GANTRY_DOCKER_HTTP_SERVER_H_
#define GANTRY_DOCKER_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "docker/http/router.h"
#include "docker/http/worker_pool.h"

namespace gantry::docker::http {

struct TlsSettings {
  std::string ca;    // PEM file of those who sign clients' certificates
  std::string cert;  // PEM file of ours
  std::string key;
  bool verify = false;  // whether a client must have one
};

struct ListenSettings {
  // Owner of unix sockets: root and this group, mode 0660. Without the group (empty, or it does not
  // exist) root alone.
  std::string group = "gantry";
  // Of tcp addresses; without it they are plain.
  std::unique_ptr<TlsSettings> tls;
};

// Listens on sockets and serves what comes by the routes: I/O on a few threads, handlers on the
// workers. `router` and `workers` must outlive it.
class Server {
 public:
  Server(const Router& router, WorkerPool& workers);
  ~Server();

  // "unix:///path" (a socket of an earlier run is replaced), "tcp://address:port" (numbers, or
  // "localhost"), "fd://" (those of systemd). Before Run(). InvalidArgument for other addresses.
  absl::Status Listen(const std::string& address, const ListenSettings& settings);

  // Serves until Stop(). Removes the unix sockets at the end.
  void Run(int threads = 2);
  void Stop();  // any thread, and safe in a signal handler's stead: it only posts

  // Runs `function` on an I/O thread after a while; it must not block.
  void After(absl::Duration delay, std::function<void()> function);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_SERVER_H_
