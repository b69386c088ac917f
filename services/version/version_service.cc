#include "services/version/version_service.h"

#include <string>

#include "containerd/services/version/v1/version.grpc.pb.h"
#include "services/version/version.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::version::v1;

class VersionService final : public api::Version::Service {
 public:
  grpc::Status Version(grpc::ServerContext*, const google::protobuf::Empty*,
                       api::VersionResponse* response) override {
    response->set_version(std::string(ApiVersion()));
    response->set_revision(std::string(Revision()));
    return grpc::Status::OK;
  }
};

}  // namespace

std::unique_ptr<grpc::Service> MakeVersionService() { return std::make_unique<VersionService>(); }

}  // namespace gantry::services
