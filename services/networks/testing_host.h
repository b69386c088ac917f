#ifndef GANTRY_SERVICES_NETWORKS_TESTING_HOST_H_
#define GANTRY_SERVICES_NETWORKS_TESTING_HOST_H_

// For tests: a host of its own (a network namespace that the test's process moves into, with a
// second one beside it that is the outside world), and traffic between namespaces over real
// sockets.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "services/metadata/db.h"
#include "services/networks/network_manager.h"

namespace gantry::services::testing {

// A server in a namespace that answers everyone with a line: "NAME ADDRESS-OF-THE-PEER".
class Greeter {
 public:
  Greeter(int netns, const std::string& name, const std::string& address, int port,
          bool udp = false);
  ~Greeter();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What the server at that address says; "refused", "timeout" or another error otherwise.
std::string Ask(int netns, const std::string& address, int port, bool udp = false,
                absl::Duration patience = absl::Milliseconds(700), const std::string& from = "");

// Runs a program in a namespace and returns what it prints; fails the test when it fails, if
// `must` is set.
std::string RunIn(int netns, const std::vector<std::string>& argv, bool must = true);

// Lines of `text` that contain `part`.
int CountLines(const std::string& text, const std::string& part);

class HostTest : public ::testing::Test {
 protected:
  // All tests of a process share the host; each gets fresh directories and leaves no device.
  static void SetUpTestSuite();
  void SetUp() override;
  void TearDown() override;

  // Ends the manager as a crash would, and opens another one.
  void Reopen(bool alive = true);
  networks::Sandbox MakeContainer(const std::string& id, const std::string& network,
                                  std::vector<networks::PortBinding> ports = {});
  base::UniqueFd Netns(const std::string& id);
  std::string AddressOf(const networks::Sandbox& sandbox, int endpoint = 0);
  networks::Network MakeNetwork(const std::string& name, const std::string& subnet = "",
                                bool internal = false);
  static networks::PortBinding Port(const std::string& host_ip, uint32_t host, uint32_t container,
                                    const std::string& protocol = "tcp");

  static int host() { return host_; }        // the namespace of gantryd
  static int outside() { return outside_; }  // reaches it as 10.99.0.1 and fd99::1

  NetworkManager::Options options_;
  std::string dir_;
  std::unique_ptr<Db> db_;
  std::unique_ptr<NetworkManager> manager_;
  static constexpr char kNs[] = "test";

 private:
  static int host_;
  static int outside_;
};

}  // namespace gantry::services::testing

#endif  // GANTRY_SERVICES_NETWORKS_TESTING_HOST_H_
