#ifndef GANTRY_SERVICES_NETWORKS_DNS_SERVER_H_
#define GANTRY_SERVICES_NETWORKS_DNS_SERVER_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "base/event_loop.h"
#include "services/networks/dns_names.h"

namespace gantry::services {

// Answers at 127.0.0.11:53 in the namespaces of containers: names of containers itself, everything
// else by asking the host's servers or those that the container was given. One thread for all
// containers; what a container can make it keep is bounded.
//
// The sockets are bound to another port, to which a rule in the container's namespace leads, so
// that a DNS server in the container can have port 53.
class DnsServer {
 public:
  DnsServer() = default;
  ~DnsServer();

  // `key` names the container. The namespace is entered by the calling thread for a moment. Again
  // for one that is served: with new sockets.
  absl::Status Serve(const std::string& key, int netns, DnsScope scope);
  // Nothing happens for one that is not served.
  void Update(const std::string& key, DnsScope scope);
  void Stop(const std::string& key);

  DnsNames* names() { return &names_; }

 private:
  class Client;

  DnsNames names_;
  base::EventLoop loop_;
  std::mutex mutex_;
  std::thread thread_;
  std::map<std::string, std::shared_ptr<Client>> clients_;  // guarded by mutex_
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DNS_SERVER_H_
