#include "services/namespaces/namespaces_service.h"

#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "services/metadata/namespace_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::namespaces::v1;

class NamespacesService final : public api::Namespaces::Service {
 public:
  explicit NamespacesService(NamespaceStore* store) : store_(store) {}

  grpc::Status Get(grpc::ServerContext*, const api::GetNamespaceRequest* request,
                   api::GetNamespaceResponse* response) override {
    absl::StatusOr<api::Namespace> found = store_->Get(request->name());
    if (found.ok()) *response->mutable_namespace_() = *std::move(found);
    return ToGrpc(found.status());
  }

  // containerd takes a filter here and does not look at it.
  grpc::Status List(grpc::ServerContext*, const api::ListNamespacesRequest*,
                    api::ListNamespacesResponse* response) override {
    absl::StatusOr<std::vector<api::Namespace>> list = store_->List();
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Namespace& ns : *list) *response->add_namespaces() = std::move(ns);
    return grpc::Status::OK;
  }

  grpc::Status Create(grpc::ServerContext* server, const api::CreateNamespaceRequest* request,
                      api::CreateNamespaceResponse* response) override {
    absl::Status status =
        store_->Create(FromServerContext(*server), request->namespace_()).status();
    if (status.ok()) *response->mutable_namespace_() = request->namespace_();
    return ToGrpc(status);
  }

  grpc::Status Update(grpc::ServerContext* server, const api::UpdateNamespaceRequest* request,
                      api::UpdateNamespaceResponse* response) override {
    const auto& paths = request->update_mask().paths();
    absl::StatusOr<api::Namespace> updated = store_->Update(
        FromServerContext(*server), request->namespace_(), {paths.begin(), paths.end()});
    if (updated.ok()) *response->mutable_namespace_() = *std::move(updated);
    return ToGrpc(updated.status());
  }

  grpc::Status Delete(grpc::ServerContext*, const api::DeleteNamespaceRequest* request,
                      google::protobuf::Empty*) override {
    return ToGrpc(store_->Delete(request->name()));
  }

 private:
  NamespaceStore* store_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeNamespacesService(NamespaceStore* store) {
  return std::make_unique<NamespacesService>(store);
}

}  // namespace gantry::services
