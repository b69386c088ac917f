#include "docker/containers/attach.h"

#include <utility>

#include "base/log.h"

namespace gantry::docker {
namespace {

// The version that began to tell the two kinds of streams apart.
constexpr http::ApiVersion kMultiplexedSince{1, 42};

}  // namespace

const char* StreamType(const http::Request& request, bool terminal) {
  return !terminal && request.version >= kMultiplexedSince ? kMultiplexedStream : kRawStream;
}

void EarlyClients::Add(const std::string& id, std::shared_ptr<http::RawStream> client,
                       const AttachStreams& streams) {
  absl::MutexLock lock(&mutex_);
  clients_[id].push_back({std::move(client), streams});
}

bool EarlyClients::Any(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  return clients_.contains(id);
}

std::vector<EarlyClients::Client> EarlyClients::Take(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  auto found = clients_.find(id);
  if (found == clients_.end()) return {};
  std::vector<Client> clients = std::move(found->second);
  clients_.erase(found);
  return clients;
}

void EarlyClients::Started(const std::string& id, const std::string& attach_path) {
  for (Client& client : Take(id)) {
    auto fd = client::Attach(attach_path, client.streams);
    if (fd.ok()) {
      client.stream->Splice(*std::move(fd));
    } else {
      base::LogWarn("cannot attach a client", {{"id", id}, {"error", fd.status().message()}});
    }
  }
}

void EarlyClients::Drop(const std::string& id) { Take(id); }

}  // namespace gantry::docker
