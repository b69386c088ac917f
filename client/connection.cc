#include "client/connection.h"

#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace gantry::client {
namespace {

constexpr char kNamespaceHeader[] = "containerd-namespace";
constexpr char kLeaseHeader[] = "containerd-lease";

}  // namespace

Connection::Connection(std::shared_ptr<rpc::Channel> channel, std::string ns)
    : channel_(std::move(channel)), ns_(std::move(ns)) {}

Connection Connection::ToSocket(absl::string_view address, std::string ns) {
  std::string path(absl::StripPrefix(address, "unix://"));
  Connection connection(std::make_shared<rpc::Channel>(path), std::move(ns));
  connection.address_ = path;
  return connection;
}

Connection Connection::WithLease(std::string lease) const {
  Connection copy = *this;
  copy.lease_ = std::move(lease);
  return copy;
}

Connection Connection::WithNamespace(std::string ns) const {
  Connection copy = *this;
  copy.ns_ = std::move(ns);
  return copy;
}

rpc::Call Connection::Start(const char* path, const google::protobuf::MessageLite* only,
                            absl::Duration timeout) const {
  rpc::CallHead head;
  head.path = path;
  if (!ns_.empty()) head.metadata.emplace_back(kNamespaceHeader, ns_);
  if (!lease_.empty()) head.metadata.emplace_back(kLeaseHeader, lease_);
  if (timeout != absl::InfiniteDuration()) head.deadline = absl::Now() + timeout;
  return channel_->Start(head, only);
}

}  // namespace gantry::client
