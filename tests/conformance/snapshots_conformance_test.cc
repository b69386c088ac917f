// The suite of snapshotters over the wire. GANTRY_CONFORMANCE_ADDRESS names the socket of the
// server to judge (gantryd, or containerd for a baseline), GANTRY_CONFORMANCE_SNAPSHOTTER the
// snapshotter. Without an address the service is served by this process, directly and through a
// proxy.
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "services/metadata/test_db.h"
#include "services/snapshots/snapshots.h"
#include "services/snapshots/snapshots_service.h"
#include "snapshotter/registry.h"
#include "snapshotter/testing/suite.h"
#include "tests/conformance/grpc_subject.h"

namespace gantry::testing {
namespace {

using services::Backend;
using services::Snapshots;
using snapshotter::testing::Subject;

std::string FromEnvironment(const char* name, const char* fallback) {
  const char* value = getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  return grpc::CreateChannel("unix://" + socket, grpc::InsecureChannelCredentials());
}

// A snapshots service on a socket.
struct Server {
  services::TestDb db;
  std::unique_ptr<Snapshots> snapshots;
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;

  absl::Status Start(const std::string& socket, const std::string& name,
                     std::unique_ptr<Backend> backend) {
    std::map<std::string, std::unique_ptr<Backend>> backends;
    backends.emplace(name, std::move(backend));
    GANTRY_ASSIGN_OR_RETURN(snapshots, Snapshots::Open(db.get(), std::move(backends)));
    service = services::MakeSnapshotsService(snapshots.get());
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix://" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(service.get());
    server = builder.BuildAndStart();
    if (server == nullptr) return absl::InternalError("cannot listen on " + socket);
    return absl::OkStatus();
  }
};

// A subject that owns the servers behind it.
class Served : public Subject {
 public:
  std::vector<std::unique_ptr<Server>> servers;  // destroyed after the subject
  std::unique_ptr<Subject> inner;

  ~Served() override {
    inner.reset();
    while (!servers.empty()) {
      servers.back()->server->Shutdown();
      servers.pop_back();
    }
  }
  absl::StatusOr<Mounts> Prepare(const std::string& k, const std::string& p,
                                 const snapshotter::testing::Labels& l) override {
    return inner->Prepare(k, p, l);
  }
  absl::StatusOr<Mounts> View(const std::string& k, const std::string& p) override {
    return inner->View(k, p);
  }
  absl::StatusOr<Mounts> GetMounts(const std::string& k) override { return inner->GetMounts(k); }
  absl::Status Commit(const std::string& n, const std::string& k,
                      const snapshotter::testing::Labels& l) override {
    return inner->Commit(n, k, l);
  }
  absl::Status Remove(const std::string& k) override { return inner->Remove(k); }
  absl::StatusOr<snapshotter::testing::Info> Stat(const std::string& k) override {
    return inner->Stat(k);
  }
  absl::StatusOr<snapshotter::testing::Info> Update(
      const snapshotter::testing::Info& info, const std::vector<std::string>& paths) override {
    return inner->Update(info, paths);
  }
  absl::StatusOr<snapshotter::Usage> GetUsage(const std::string& k) override {
    return inner->GetUsage(k);
  }
  absl::StatusOr<std::vector<snapshotter::testing::Info>> Walk(
      const std::vector<std::string>& filters) override {
    return inner->Walk(filters);
  }
};

absl::StatusOr<std::unique_ptr<Subject>> ServeHere(const std::string& root,
                                                   const std::string& driver_name, bool proxy) {
  auto served = std::make_unique<Served>();
  GANTRY_ASSIGN_OR_RETURN(auto driver, snapshotter::OpenDriver(driver_name, {root}));
  std::string socket = root + "/snapshots.sock", name = driver_name;
  served->servers.push_back(std::make_unique<Server>());
  GANTRY_RETURN_IF_ERROR(
      served->servers.back()->Start(socket, name, services::MakeLocalBackend(std::move(driver))));
  if (proxy) {
    auto backend = services::MakeProxyBackend(socket, name);
    socket = root + "/proxy.sock", name = "elsewhere";
    served->servers.push_back(std::make_unique<Server>());
    GANTRY_RETURN_IF_ERROR(served->servers.back()->Start(socket, name, std::move(backend)));
  }
  served->inner = MakeGrpcSubject(Connect(socket), name);
  return std::unique_ptr<Subject>(std::move(served));
}

int Register() {
  using snapshotter::testing::RegisterSnapshotterSuite;
  std::string address = FromEnvironment("GANTRY_CONFORMANCE_ADDRESS", "");
  if (!address.empty()) {
    std::string name = FromEnvironment("GANTRY_CONFORMANCE_SNAPSHOTTER", "overlayfs");
    return RegisterSnapshotterSuite(
        "Socket", [address, name](const std::string&) -> absl::StatusOr<std::unique_ptr<Subject>> {
          return MakeGrpcSubject(Connect(address), name);
        });
  }
  auto serve = [](const char* driver, bool proxy) {
    return [driver, proxy](const std::string& root) { return ServeHere(root, driver, proxy); };
  };
  return RegisterSnapshotterSuite("Overlayfs", serve("overlayfs", false)) +
         RegisterSnapshotterSuite("Native", serve("native", false)) +
         RegisterSnapshotterSuite("Proxy", serve("overlayfs", true));
}

const int registered = Register();

}  // namespace
}  // namespace gantry::testing
