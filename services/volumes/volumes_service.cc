#include "services/volumes/volumes_service.h"

#include <string>
#include <utility>
#include <vector>

#include "gantry/services/volumes/v1/volumes.grpc.pb.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/volumes/volume_manager.h"

namespace gantry::services {
namespace {

class VolumesService final : public volumes::Volumes::Service {
 public:
  explicit VolumesService(VolumeManager* manager) : manager_(manager) {}

  grpc::Status Create(grpc::ServerContext* context, const volumes::CreateVolumeRequest* request,
                      volumes::CreateVolumeResponse* response) override {
    return Answer(manager_->Create(Namespace(*context), request->volume()), response);
  }
  grpc::Status Get(grpc::ServerContext* context, const volumes::GetVolumeRequest* request,
                   volumes::GetVolumeResponse* response) override {
    return Answer(manager_->Get(Namespace(*context), request->name()), response->mutable_volume());
  }
  grpc::Status List(grpc::ServerContext* context, const volumes::ListVolumesRequest* request,
                    volumes::ListVolumesResponse* response) override {
    auto found = manager_->List(Namespace(*context), request->with_usage());
    if (!found.ok()) return ToGrpc(found.status());
    for (volumes::VolumeInfo& info : *found) *response->add_volumes() = std::move(info);
    return grpc::Status::OK;
  }
  grpc::Status Delete(grpc::ServerContext* context, const volumes::DeleteVolumeRequest* request,
                      google::protobuf::Empty*) override {
    return ToGrpc(manager_->Delete(Namespace(*context), request->name(), request->force()));
  }
  grpc::Status Acquire(grpc::ServerContext* context, const volumes::AcquireVolumesRequest* request,
                       volumes::AcquireVolumesResponse* response) override {
    std::vector<std::string> names(request->volumes().begin(), request->volumes().end());
    auto found = manager_->Acquire(Namespace(*context), request->container_id(), names);
    if (!found.ok()) return ToGrpc(found.status());
    for (volumes::Volume& volume : *found) *response->add_volumes() = std::move(volume);
    return grpc::Status::OK;
  }
  grpc::Status Release(grpc::ServerContext* context, const volumes::ReleaseVolumesRequest* request,
                       google::protobuf::Empty*) override {
    return ToGrpc(manager_->Release(Namespace(*context), request->container_id(),
                                    request->remove_anonymous()));
  }
  grpc::Status Mount(grpc::ServerContext* context, const volumes::MountVolumesRequest* request,
                     google::protobuf::Empty*) override {
    return ToGrpc(manager_->Mount(Namespace(*context), request->container_id()));
  }
  grpc::Status Unmount(grpc::ServerContext* context, const volumes::UnmountVolumesRequest* request,
                       google::protobuf::Empty*) override {
    return ToGrpc(manager_->Unmount(Namespace(*context), request->container_id()));
  }
  grpc::Status Populate(grpc::ServerContext* context, const volumes::PopulateVolumeRequest* request,
                        google::protobuf::Empty*) override {
    return ToGrpc(manager_->Populate(Namespace(*context), *request));
  }

 private:
  static std::string Namespace(const grpc::ServerContext& context) {
    return FromServerContext(context).ns;
  }
  template <typename Message>
  static grpc::Status Answer(absl::StatusOr<Message> result, Message* response) {
    if (!result.ok()) return ToGrpc(result.status());
    *response = *std::move(result);
    return grpc::Status::OK;
  }

  VolumeManager* const manager_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeVolumesService(VolumeManager* manager) {
  return std::make_unique<VolumesService>(manager);
}

}  // namespace gantry::services
