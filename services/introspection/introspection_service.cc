#include "services/introspection/introspection_service.h"

#include <utility>

#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "services/introspection/plugins.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::introspection::v1;

class IntrospectionService final : public api::Introspection::Service {
 public:
  explicit IntrospectionService(const Introspection* introspection)
      : introspection_(introspection) {}

  grpc::Status Plugins(grpc::ServerContext*, const api::PluginsRequest* request,
                       api::PluginsResponse* response) override {
    auto plugins = introspection_->Plugins({request->filters().begin(), request->filters().end()});
    if (!plugins.ok()) return ToGrpc(plugins.status());
    for (Plugin& plugin : *plugins) *response->add_plugins() = std::move(plugin);
    return grpc::Status::OK;
  }

  grpc::Status Server(grpc::ServerContext*, const google::protobuf::Empty*,
                      api::ServerResponse* response) override {
    return Answer(introspection_->Server(), response);
  }

  grpc::Status PluginInfo(grpc::ServerContext*, const api::PluginInfoRequest* request,
                          api::PluginInfoResponse* response) override {
    return Answer(introspection_->PluginInfo(*request), response);
  }

 private:
  template <typename Response>
  static grpc::Status Answer(absl::StatusOr<Response> result, Response* response) {
    if (result.ok()) *response = *std::move(result);
    return ToGrpc(result.status());
  }

  const Introspection* const introspection_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeIntrospectionService(const Introspection* introspection) {
  return std::make_unique<IntrospectionService>(introspection);
}

}  // namespace gantry::services
