#ifndef GANTRY_DOCKER_ENGINE_CONTEXT_H_
#define GANTRY_DOCKER_ENGINE_CONTEXT_H_

#include "client/connection.h"
#include "docker/config.h"
#include "docker/engine/file_watch.h"
#include "docker/engine/rpc_loop.h"
#include "docker/http/server.h"
#include "docker/http/worker_pool.h"
#include "docker/images/image_store.h"
#include "docker/options.h"

namespace gantry::docker {

// What every handler may use. One for the program; all members are thread-safe and outlive the
// handlers.
struct Context {
  const Options& options;
  const DaemonConfig& config;
  client::Connection gantryd;  // its requests belong to the namespace of the options
  http::WorkerPool& workers;
  http::Server& server;
  RpcLoop& rpc;  // calls that last
  ImageStore& images;
  FileWatch& files;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_ENGINE_CONTEXT_H_
