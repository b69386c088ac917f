#include "services/rpc/server_context.h"

#include <string>

namespace gantry::services {
namespace {

std::string FirstHeader(const grpc::ServerContextBase& server, const char* name) {
  const auto& headers = server.client_metadata();
  auto it = headers.find(name);
  if (it == headers.end()) return "";
  return {it->second.data(), it->second.size()};
}

}  // namespace

Context FromServerContext(const grpc::ServerContextBase& server) {
  return {FirstHeader(server, "containerd-namespace"), FirstHeader(server, "containerd-lease")};
}

}  // namespace gantry::services
