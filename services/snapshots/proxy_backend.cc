#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "services/rpc/status.h"
#include "services/snapshots/backend.h"
#include "services/snapshots/wire.h"

namespace gantry::services {
namespace {

namespace v1 = containerd::services::snapshots::v1;
using google::protobuf::Empty;

// A remote snapshotter may pull a layer inside Prepare; the others have only metadata to touch.
constexpr std::chrono::minutes kSlow(30);
constexpr std::chrono::minutes kQuick(2);
// The other side wants some namespace; ours are part of the keys.
constexpr char kNamespace[] = "gantry";

class ProxyBackend : public Backend {
 public:
  ProxyBackend(const std::string& address, const std::string& name)
      : address_(absl::StartsWith(address, "/") ? absl::StrCat("unix://", address) : address),
        name_(name),
        stub_(v1::Snapshots::NewStub(
            grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()))) {}

  std::set<std::string> capabilities() const override { return {}; }
  bool local() const override { return false; }

  absl::StatusOr<std::set<std::string>> Reconcile(const std::set<std::string>& known) override {
    // The other process may not even run yet, and may serve others as well: nothing is judged
    // here. Only the sequence numbers must not be given out twice.
    for (const std::string& id : known) {
      std::vector<absl::string_view> parts = absl::StrSplit(id, absl::MaxSplits('/', 2));
      uint64_t number = 0;
      if (parts.size() == 3 && absl::SimpleAtoi(parts[1], &number))
        next_ = std::max(next_.load(), number + 1);
    }
    return std::set<std::string>();
  }

  std::string NewId(absl::string_view ns, absl::string_view key) override {
    return absl::StrCat(ns, "/", next_.fetch_add(1, std::memory_order_relaxed), "/", key);
  }

  absl::StatusOr<std::vector<base::Mount>> Create(const Spec& spec) override {
    if (spec.kind == snapshotter::Kind::kView)
      return CreateBy<v1::ViewSnapshotRequest, v1::ViewSnapshotResponse>(
          spec, &v1::Snapshots::Stub::View);
    return CreateBy<v1::PrepareSnapshotRequest, v1::PrepareSnapshotResponse>(
        spec, &v1::Snapshots::Stub::Prepare);
  }

  absl::StatusOr<Target> FindTarget(absl::string_view target,
                                    absl::string_view parent_id) const override {
    grpc::ClientContext context;
    Prepare(&context, kQuick);
    v1::ListSnapshotsRequest request;
    request.set_snapshotter(name_);
    auto reader = stub_->List(&context, request);
    std::optional<Target> found;
    v1::ListSnapshotsResponse block;
    while (reader->Read(&block)) {
      for (const v1::Info& info : block.info()) {
        auto ref = info.labels().find("containerd.io/snapshot.ref");
        if (found.has_value() || info.kind() != v1::COMMITTED || info.parent() != parent_id ||
            ref == info.labels().end() || ref->second != target) {
          continue;
        }
        found = Target{info.name(), {info.labels().begin(), info.labels().end()}};
      }
    }
    GANTRY_RETURN_IF_ERROR(Result(reader->Finish()));
    if (found.has_value()) return *std::move(found);
    return absl::NotFoundError(
        absl::StrCat("target snapshot \"", target, "\" in backend: not found"));
  }

  absl::StatusOr<std::vector<base::Mount>> Mounts(const Spec& spec) const override {
    v1::MountsRequest request;
    request.set_key(spec.id);
    v1::MountsResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Mounts, &request, &response));
    return MountsFromWire(response.mounts());
  }

  absl::StatusOr<Committed> Commit(const std::string& id, const std::string& new_id,
                                   const SnapshotLabels& labels,
                                   std::optional<SnapshotUsage>) override {
    v1::CommitSnapshotRequest request;
    request.set_name(new_id);
    request.set_key(id);
    request.mutable_labels()->insert(labels.begin(), labels.end());
    Empty response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Commit, &request, &response, kSlow));
    return Committed{new_id, {}};
  }

  absl::StatusOr<SnapshotUsage> GetUsage(const std::string& id) const override {
    v1::UsageRequest request;
    request.set_key(id);
    v1::UsageResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Usage, &request, &response, kSlow));
    return SnapshotUsage{response.size(), response.inodes()};
  }

  absl::Status Remove(const std::string& id) override {
    v1::RemoveSnapshotRequest request;
    request.set_key(id);
    Empty response;
    absl::Status removed = Call(&v1::Snapshots::Stub::Remove, &request, &response);
    return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
  }

  absl::StatusOr<SnapshotLabels> Labels(const std::string& id) const override {
    v1::StatSnapshotRequest request;
    request.set_key(id);
    v1::StatSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&v1::Snapshots::Stub::Stat, &request, &response));
    return SnapshotLabels(response.info().labels().begin(), response.info().labels().end());
  }

  absl::Status UpdateLabels(const std::string& id, const SnapshotLabels& labels,
                            const std::vector<std::string>& fieldpaths) override {
    v1::UpdateSnapshotRequest request;
    request.mutable_info()->set_name(id);
    request.mutable_info()->mutable_labels()->insert(labels.begin(), labels.end());
    for (const std::string& path : fieldpaths) request.mutable_update_mask()->add_paths(path);
    v1::UpdateSnapshotResponse response;
    return Call(&v1::Snapshots::Stub::Update, &request, &response);
  }

  absl::StatusOr<std::string> LayerDir(const std::string&) const override {
    return absl::UnimplementedError(
        absl::StrCat("layer directory: snapshotter ", name_, " is another process"));
  }

  absl::Status Sync() override { return absl::OkStatus(); }

  absl::Status Cleanup() override {
    v1::CleanupRequest request;
    Empty response;
    absl::Status cleaned = Call(&v1::Snapshots::Stub::Cleanup, &request, &response, kSlow);
    return absl::IsUnimplemented(cleaned) ? absl::OkStatus() : cleaned;
  }

 private:
  static void Prepare(grpc::ClientContext* context, std::chrono::minutes limit) {
    context->AddMetadata("containerd-namespace", kNamespace);
    context->set_deadline(std::chrono::system_clock::now() + limit);
  }

  absl::Status Result(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    absl::Status failed = FromGrpc(status);
    if (!absl::IsUnavailable(failed)) return failed;
    return base::Annotate(failed, absl::StrCat("snapshotter ", name_, " at ", address_,
                                               " does not answer; check that it runs"));
  }

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::Snapshots::Stub::*)(grpc::ClientContext*, const Request&,
                                                       Response*);

  template <typename Request, typename Response>
  absl::Status Call(Method<Request, Response> method, Request* request, Response* response,
                    std::chrono::minutes limit = kQuick) const {
    grpc::ClientContext context;
    Prepare(&context, limit);
    request->set_snapshotter(name_);
    return Result((stub_.get()->*method)(&context, *request, response));
  }

  template <typename Request, typename Response>
  absl::StatusOr<std::vector<base::Mount>> CreateBy(const Spec& spec,
                                                    Method<Request, Response> method) {
    Request request;
    request.set_key(spec.id);
    if (!spec.parents.empty()) request.set_parent(spec.parents.front());
    request.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
    Response response;
    GANTRY_RETURN_IF_ERROR(Call(method, &request, &response, kSlow));
    return MountsFromWire(response.mounts());
  }

  const std::string address_;
  const std::string name_;
  std::unique_ptr<v1::Snapshots::Stub> stub_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace

std::unique_ptr<Backend> MakeProxyBackend(const std::string& address, const std::string& name) {
  return std::make_unique<ProxyBackend>(address, name);
}

}  // namespace gantry::services
