// gantry-docker: the Docker Engine API in front of gantryd. It translates, and keeps no state:
// killed at any moment, it goes on where it was.

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "docker/config.h"
#include "docker/engine/context.h"
#include "docker/http/server.h"
#include "docker/http/worker_pool.h"
#include "docker/options.h"
#include "docker/routes.h"

namespace gantry::docker {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "gantry-docker: " << status.message() << "\n";
  return 1;
}

http::ListenSettings Listening(const Options& options) {
  http::ListenSettings settings;
  settings.group = options.group;
  if (options.tls || options.tls_verify) {
    settings.tls = std::make_unique<http::TlsSettings>(
        http::TlsSettings{options.tls_ca, options.tls_cert, options.tls_key, options.tls_verify});
  }
  return settings;
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Blocked in all threads but the one that waits for them.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

int Main(int argc, char** argv) {
  ParsedOptions parsed = ParseOptions(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  const Options& options = parsed.options;
  if (options.debug) base::SetLogLevel(base::LogLevel::kDebug);

  auto config = LoadDaemonConfig(options.config_file);
  if (absl::IsNotFound(config.status())) config = DaemonConfig();
  if (!config.ok()) return Fail(config.status());
  http::Router router;
  http::WorkerPool workers;
  http::Server server(router, workers);
  client::Connection gantryd = client::Connection::ToSocket(options.gantryd, options.ns);
  ImageStore images(gantryd, options.snapshotter);
  FileWatch files;
  // A connection of its own: whoever waits for an answer reads for everybody.
  RpcLoop rpc(client::Connection::ToSocket(options.gantryd, options.ns));
  Context context{options, *config, gantryd, workers, server, rpc, images, files};
  Services services(context);
  AddAllRoutes(router, context, services);
  if (options.print_routes) {
    std::cout << router.Table();
    return 0;
  }

  sigset_t signals = BlockSignals();
  RaiseDescriptorLimit();
  http::ListenSettings settings = Listening(options);
  for (const std::string& host : options.hosts) {
    if (absl::Status status = server.Listen(host, settings); !status.ok()) return Fail(status);
    base::LogInfo("listening", {{"address", host}});
  }
  std::thread([&server, signals] {
    int number = 0;
    sigwait(&signals, &number);
    server.Stop();
  }).detach();
  server.Run();
  // There is nothing to save, and handlers may still block.
  _exit(0);
}

}  // namespace
}  // namespace gantry::docker

int main(int argc, char** argv) {
  // Handlers come and go on many threads: two arenas keep what they leave behind small.
  mallopt(M_ARENA_MAX, 2);
  // Deadlock detection costs memory for every mutex.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return gantry::docker::Main(argc, argv);
}
