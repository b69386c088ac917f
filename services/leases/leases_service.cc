#include "services/leases/leases_service.h"

#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "services/metadata/gc.h"
#include "services/metadata/lease_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::leases::v1;

class LeasesService final : public api::Leases::Service {
 public:
  LeasesService(LeaseStore* store, GcRunner* gc) : store_(store), gc_(gc) {}

  grpc::Status Create(grpc::ServerContext* server, const api::CreateRequest* request,
                      api::CreateResponse* response) override {
    absl::StatusOr<api::Lease> lease =
        store_->Create(FromServerContext(*server), request->id(), request->labels());
    if (lease.ok()) *response->mutable_lease() = *std::move(lease);
    return ToGrpc(lease.status());
  }

  grpc::Status Delete(grpc::ServerContext* server, const api::DeleteRequest* request,
                      google::protobuf::Empty*) override {
    absl::Status status = store_->Delete(FromServerContext(*server), request->id());
    if (status.ok() && request->sync()) status = gc_->RunNow();
    return ToGrpc(status);
  }

  grpc::Status List(grpc::ServerContext* server, const api::ListRequest* request,
                    api::ListResponse* response) override {
    absl::StatusOr<std::vector<api::Lease>> list = store_->List(
        FromServerContext(*server), {request->filters().begin(), request->filters().end()});
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Lease& lease : *list) *response->add_leases() = std::move(lease);
    return grpc::Status::OK;
  }

  grpc::Status AddResource(grpc::ServerContext* server, const api::AddResourceRequest* request,
                           google::protobuf::Empty*) override {
    return ToGrpc(
        store_->AddResource(FromServerContext(*server), request->id(), request->resource()));
  }

  grpc::Status DeleteResource(grpc::ServerContext* server,
                              const api::DeleteResourceRequest* request,
                              google::protobuf::Empty*) override {
    return ToGrpc(
        store_->DeleteResource(FromServerContext(*server), request->id(), request->resource()));
  }

  grpc::Status ListResources(grpc::ServerContext* server, const api::ListResourcesRequest* request,
                             api::ListResourcesResponse* response) override {
    absl::StatusOr<std::vector<api::Resource>> list =
        store_->ListResources(FromServerContext(*server), request->id());
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Resource& resource : *list) *response->add_resources() = std::move(resource);
    return grpc::Status::OK;
  }

 private:
  LeaseStore* store_;
  GcRunner* gc_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeLeasesService(LeaseStore* store, GcRunner* gc) {
  return std::make_unique<LeasesService>(store, gc);
}

}  // namespace gantry::services
