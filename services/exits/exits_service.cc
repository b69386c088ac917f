#include "services/exits/exits_service.h"

#include <utility>

#include "gantry/services/exits/v1/exits.grpc.pb.h"
#include "services/exits/exit_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace pb = gantry::services::exits::v1;

class ExitsService final : public pb::Exits::Service {
 public:
  explicit ExitsService(const ExitStore* store) : store_(store) {}

  grpc::Status List(grpc::ServerContext* context, const pb::ListExitsRequest* request,
                    pb::ListExitsResponse* response) override {
    auto found = store_->List(FromServerContext(*context), request->container(), request->limit());
    if (!found.ok()) return ToGrpc(found.status());
    for (pb::KeptExit& exit : *found) *response->add_exits() = std::move(exit);
    return grpc::Status::OK;
  }

 private:
  const ExitStore* const store_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeExitsService(const ExitStore* store) {
  return std::make_unique<ExitsService>(store);
}

}  // namespace gantry::services
