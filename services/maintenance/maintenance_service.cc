#include "services/maintenance/maintenance_service.h"

#include "gantry/services/maintenance/v1/maintenance.grpc.pb.h"
#include "services/maintenance/fsck.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace pb = gantry::services::maintenance::v1;

class MaintenanceService final : public pb::Maintenance::Service {
 public:
  explicit MaintenanceService(const Fsck* fsck) : fsck_(fsck) {}

  grpc::Status Check(grpc::ServerContext*, const pb::CheckRequest* request,
                     pb::CheckResponse* response) override {
    auto report = fsck_->Check(*request);
    if (!report.ok()) return ToGrpc(report.status());
    *response = *std::move(report);
    return grpc::Status::OK;
  }

 private:
  const Fsck* fsck_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeMaintenanceService(const Fsck* fsck) {
  return std::make_unique<MaintenanceService>(fsck);
}

}  // namespace gantry::services
