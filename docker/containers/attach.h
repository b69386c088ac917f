#ifndef GANTRY_DOCKER_CONTAINERS_ATTACH_H_
#define GANTRY_DOCKER_CONTAINERS_ATTACH_H_

// The streams of processes: clients' connections, spliced to the sockets that shims offer
// (proto/gantry/shim/v1/attach.proto). Nothing is looked at on the way, and no thread is held.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/attach.h"
#include "docker/http/exchange.h"

namespace gantry::docker {

inline constexpr char kRawStream[] = "application/vnd.docker.raw-stream";
inline constexpr char kMultiplexedStream[] = "application/vnd.docker.multiplexed-stream";

using client::AttachStreams;

// The header for a stream with or without a terminal, as the client's version of the API has it.
const char* StreamType(const http::Request& request, bool terminal);

// Clients that have attached to containers before their start. Thread-safe. They are of this
// process alone: a client whose frontend ends is gone itself.
class EarlyClients {
 public:
  void Add(const std::string& id, std::shared_ptr<http::RawStream> client,
           const AttachStreams& streams);
  bool Any(const std::string& id);
  // The container runs: all of its clients get its streams. Blocks a little.
  void Started(const std::string& id, const std::string& attach_path);
  // It will not run: its clients see the end.
  void Drop(const std::string& id);

 private:
  struct Client {
    std::shared_ptr<http::RawStream> stream;
    AttachStreams streams;
  };
  std::vector<Client> Take(const std::string& id);

  absl::Mutex mutex_;
  std::map<std::string, std::vector<Client>> clients_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_ATTACH_H_
