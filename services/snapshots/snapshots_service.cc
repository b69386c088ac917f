#include "services/snapshots/snapshots_service.h"

#include <utility>

#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"
#include "services/snapshots/snapshots.h"
#include "services/snapshots/wire.h"

namespace gantry::services {
namespace {

namespace v1 = containerd::services::snapshots::v1;
using google::protobuf::Empty;
using grpc::ServerContext;

template <typename Request>
SnapshotLabels LabelsOf(const Request& request) {
  return SnapshotLabels(request.labels().begin(), request.labels().end());
}

class SnapshotsService : public v1::Snapshots::Service {
 public:
  explicit SnapshotsService(Snapshots* snapshots) : snapshots_(snapshots) {}

  grpc::Status Prepare(ServerContext* server, const v1::PrepareSnapshotRequest* request,
                       v1::PrepareSnapshotResponse* response) override {
    return AnswerMounts(snapshots_->Prepare(FromServerContext(*server), request->snapshotter(),
                                            request->key(), request->parent(), LabelsOf(*request)),
                        response);
  }

  grpc::Status View(ServerContext* server, const v1::ViewSnapshotRequest* request,
                    v1::ViewSnapshotResponse* response) override {
    return AnswerMounts(snapshots_->View(FromServerContext(*server), request->snapshotter(),
                                         request->key(), request->parent(), LabelsOf(*request)),
                        response);
  }

  grpc::Status Mounts(ServerContext* server, const v1::MountsRequest* request,
                      v1::MountsResponse* response) override {
    return AnswerMounts(
        snapshots_->Mounts(FromServerContext(*server), request->snapshotter(), request->key()),
        response);
  }

  grpc::Status Commit(ServerContext* server, const v1::CommitSnapshotRequest* request,
                      Empty*) override {
    CommitOptions options;
    options.labels = LabelsOf(*request);
    return ToGrpc(snapshots_->Commit(FromServerContext(*server), request->snapshotter(),
                                     request->name(), request->key(), options));
  }

  grpc::Status Remove(ServerContext* server, const v1::RemoveSnapshotRequest* request,
                      Empty*) override {
    return ToGrpc(
        snapshots_->Remove(FromServerContext(*server), request->snapshotter(), request->key()));
  }

  grpc::Status Stat(ServerContext* server, const v1::StatSnapshotRequest* request,
                    v1::StatSnapshotResponse* response) override {
    return AnswerInfo(
        snapshots_->Stat(FromServerContext(*server), request->snapshotter(), request->key()),
        response);
  }

  grpc::Status Update(ServerContext* server, const v1::UpdateSnapshotRequest* request,
                      v1::UpdateSnapshotResponse* response) override {
    const auto& paths = request->update_mask().paths();
    return AnswerInfo(
        snapshots_->Update(FromServerContext(*server), request->snapshotter(),
                           InfoFromWire(request->info()), {paths.begin(), paths.end()}),
        response);
  }

  grpc::Status List(ServerContext* server, const v1::ListSnapshotsRequest* request,
                    grpc::ServerWriter<v1::ListSnapshotsResponse>* writer) override {
    constexpr int kBlock = 100;
    v1::ListSnapshotsResponse block;
    auto send = [&](const SnapshotInfo& info) {
      InfoToWire(info, block.add_info());
      if (block.info_size() < kBlock) return true;
      bool sent = writer->Write(block);
      block.Clear();
      return sent;
    };
    absl::Status walked =
        snapshots_->Walk(FromServerContext(*server), request->snapshotter(),
                         {request->filters().begin(), request->filters().end()}, send);
    if (walked.ok() && block.info_size() > 0) writer->Write(block);
    return ToGrpc(walked);
  }

  grpc::Status Usage(ServerContext* server, const v1::UsageRequest* request,
                     v1::UsageResponse* response) override {
    absl::StatusOr<SnapshotUsage> usage =
        snapshots_->Usage(FromServerContext(*server), request->snapshotter(), request->key());
    if (!usage.ok()) return ToGrpc(usage.status());
    response->set_size(usage->size);
    response->set_inodes(usage->inodes);
    return grpc::Status::OK;
  }

  grpc::Status Cleanup(ServerContext* server, const v1::CleanupRequest* request, Empty*) override {
    return ToGrpc(snapshots_->Cleanup(FromServerContext(*server), request->snapshotter()));
  }

 private:
  template <typename Response>
  static grpc::Status AnswerMounts(const absl::StatusOr<std::vector<base::Mount>>& mounts,
                                   Response* response) {
    if (mounts.ok()) MountsToWire(*mounts, response->mutable_mounts());
    return ToGrpc(mounts.status());
  }

  template <typename Response>
  static grpc::Status AnswerInfo(const absl::StatusOr<SnapshotInfo>& info, Response* response) {
    if (info.ok()) InfoToWire(*info, response->mutable_info());
    return ToGrpc(info.status());
  }

  Snapshots* const snapshots_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeSnapshotsService(Snapshots* snapshots) {
  return std::make_unique<SnapshotsService>(snapshots);
}

}  // namespace gantry::services
