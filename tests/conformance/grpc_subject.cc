#include "tests/conformance/grpc_subject.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace gantry::testing {
namespace {

namespace v1 = containerd::services::snapshots::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;
using google::protobuf::Empty;
using snapshotter::Usage;
using snapshotter::testing::Info;
using snapshotter::testing::Labels;

absl::Status FromWire(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

Info FromWire(const v1::Info& wire) {
  Info info{wire.name(),
            wire.parent(),
            "unknown",
            base::GetTimestamp(wire.created_at()),
            base::GetTimestamp(wire.updated_at()),
            {wire.labels().begin(), wire.labels().end()}};
  if (wire.kind() == v1::ACTIVE) info.kind = "active";
  if (wire.kind() == v1::VIEW) info.kind = "view";
  if (wire.kind() == v1::COMMITTED) info.kind = "committed";
  return info;
}

template <typename Response>
std::vector<base::Mount> MountsOf(const Response& response) {
  std::vector<base::Mount> mounts;
  for (const containerd::types::Mount& wire : response.mounts()) {
    mounts.push_back({wire.type(),
                      wire.source(),
                      wire.target(),
                      {wire.options().begin(), wire.options().end()}});
  }
  return mounts;
}

class GrpcSubject : public snapshotter::testing::Subject {
 public:
  GrpcSubject(std::shared_ptr<grpc::Channel> channel, std::string name)
      : name_(std::move(name)),
        namespace_(absl::StrCat("suite-", base::RandomHex(6))),
        stub_(v1::Snapshots::NewStub(channel)),
        namespaces_(namespaces::Namespaces::NewStub(channel)),
        leases_(leases::Leases::NewStub(channel)) {
    grpc::ClientContext context, lease_context;
    Prepare(&context);
    namespaces::CreateNamespaceRequest request;
    request.mutable_namespace_()->set_name(namespace_);
    namespaces::CreateNamespaceResponse response;
    namespaces_->Create(&context, request, &response);
    Prepare(&lease_context);
    leases::CreateRequest lease;
    lease.set_id("suite");
    leases::CreateResponse created;
    if (leases_->Create(&lease_context, lease, &created).ok()) lease_ = created.lease().id();
  }

  ~GrpcSubject() override {
    grpc::ClientContext context, lease_context;
    Prepare(&lease_context);
    leases::DeleteRequest lease;
    lease.set_id(lease_);
    lease.set_sync(true);
    Empty response;
    leases_->Delete(&lease_context, lease, &response);
    lease_.clear();
    Prepare(&context);
    namespaces::DeleteNamespaceRequest request;
    request.set_name(namespace_);
    namespaces_->Delete(&context, request, &response);
  }

  absl::StatusOr<Mounts> Prepare(const std::string& key, const std::string& parent,
                                 const Labels& labels) override {
    v1::PrepareSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    request.mutable_labels()->insert(labels.begin(), labels.end());
    v1::PrepareSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Prepare, &request, &response));
    return MountsOf(response);
  }

  absl::StatusOr<Mounts> View(const std::string& key, const std::string& parent) override {
    v1::ViewSnapshotRequest request;
    request.set_key(key);
    request.set_parent(parent);
    v1::ViewSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::View, &request, &response));
    return MountsOf(response);
  }

  absl::StatusOr<Mounts> GetMounts(const std::string& key) override {
    v1::MountsRequest request;
    request.set_key(key);
    v1::MountsResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Mounts, &request, &response));
    return MountsOf(response);
  }

  absl::Status Commit(const std::string& name, const std::string& key,
                      const Labels& labels) override {
    v1::CommitSnapshotRequest request;
    request.set_name(name);
    request.set_key(key);
    request.mutable_labels()->insert(labels.begin(), labels.end());
    Empty response;
    return Call(&v1::Snapshots::Stub::Commit, &request, &response);
  }

  absl::Status Remove(const std::string& key) override {
    v1::RemoveSnapshotRequest request;
    request.set_key(key);
    Empty response;
    return Call(&v1::Snapshots::Stub::Remove, &request, &response);
  }

  absl::StatusOr<Info> Stat(const std::string& key) override {
    v1::StatSnapshotRequest request;
    request.set_key(key);
    v1::StatSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Stat, &request, &response));
    return FromWire(response.info());
  }

  absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& paths) override {
    v1::UpdateSnapshotRequest request;
    request.mutable_info()->set_name(info.name);
    request.mutable_info()->mutable_labels()->insert(info.labels.begin(), info.labels.end());
    for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
    v1::UpdateSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Update, &request, &response));
    return FromWire(response.info());
  }

  absl::StatusOr<Usage> GetUsage(const std::string& key) override {
    v1::UsageRequest request;
    request.set_key(key);
    v1::UsageResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Usage, &request, &response));
    return Usage{response.size(), response.inodes()};
  }

  absl::StatusOr<std::vector<Info>> Walk(const std::vector<std::string>& filters) override {
    grpc::ClientContext context;
    Prepare(&context);
    v1::ListSnapshotsRequest request;
    request.set_snapshotter(name_);
    for (const std::string& filter : filters) request.add_filters(filter);
    auto reader = stub_->List(&context, request);
    std::vector<Info> infos;
    v1::ListSnapshotsResponse block;
    while (reader->Read(&block)) {
      for (const v1::Info& info : block.info()) infos.push_back(FromWire(info));
    }
    GANTRY_RETURN_IF_ERROR(FromWire(reader->Finish()));
    return infos;
  }

 private:
  void Prepare(grpc::ClientContext* context) const {
    context->AddMetadata("containerd-namespace", namespace_);
    if (!lease_.empty()) context->AddMetadata("containerd-lease", lease_);
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::Snapshots::Stub::*method)(grpc::ClientContext*,
                                                                const Request&, Response*),
                    Request* request, Response* response) const {
    grpc::ClientContext context;
    Prepare(&context);
    request->set_snapshotter(name_);
    return FromWire((stub_.get()->*method)(&context, *request, response));
  }

  const std::string name_;
  const std::string namespace_;
  std::unique_ptr<v1::Snapshots::Stub> stub_;
  std::unique_ptr<namespaces::Namespaces::Stub> namespaces_;
  std::unique_ptr<leases::Leases::Stub> leases_;
  std::string lease_;
};

}  // namespace

std::unique_ptr<snapshotter::testing::Subject> MakeGrpcSubject(
    std::shared_ptr<grpc::Channel> channel, const std::string& name) {
  return std::make_unique<GrpcSubject>(std::move(channel), name);
}

}  // namespace gantry::testing
