#include "services/diff/diff_service.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "services/diff/differ.h"
#include "services/metadata/context.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::diff::v1;

template <typename Mounts>
std::vector<base::Mount> FromApi(const Mounts& mounts) {
  std::vector<base::Mount> out;
  for (const auto& mount : mounts) {
    out.push_back({mount.type(),
                   mount.source(),
                   mount.target(),
                   {mount.options().begin(), mount.options().end()}});
  }
  return out;
}

void ToApi(const Descriptor& from, containerd::types::Descriptor* to) {
  to->set_media_type(from.media_type);
  to->set_digest(from.digest.str());
  to->set_size(from.size);
  to->mutable_annotations()->insert(from.annotations.begin(), from.annotations.end());
}

class DiffService final : public api::Diff::Service {
 public:
  explicit DiffService(Differ* differ) : differ_(differ) {}

  grpc::Status Apply(grpc::ServerContext* server, const api::ApplyRequest* request,
                     api::ApplyResponse* response) override {
    return ToGrpc([&]() -> absl::Status {
      Context ctx = FromServerContext(*server);
      GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
      Descriptor layer;
      layer.media_type = request->diff().media_type();
      layer.size = request->diff().size();
      GANTRY_ASSIGN_OR_RETURN(layer.digest, base::Digest::Parse(request->diff().digest()));
      GANTRY_ASSIGN_OR_RETURN(
          Descriptor applied,
          differ_->Apply(ctx, layer, FromApi(request->mounts()), request->sync_fs()));
      ToApi(applied, response->mutable_applied());
      return absl::OkStatus();
    }());
  }

  grpc::Status Diff(grpc::ServerContext* server, const api::DiffRequest* request,
                    api::DiffResponse* response) override {
    return ToGrpc([&]() -> absl::Status {
      CompareOptions options;
      options.media_type = request->media_type();
      options.ref = request->ref();
      options.labels.insert(request->labels().begin(), request->labels().end());
      if (request->has_source_date_epoch())
        options.source_date_epoch = base::GetTimestamp(request->source_date_epoch());
      GANTRY_ASSIGN_OR_RETURN(Descriptor made,
                              differ_->Compare(FromServerContext(*server), FromApi(request->left()),
                                               FromApi(request->right()), options));
      ToApi(made, response->mutable_diff());
      return absl::OkStatus();
    }());
  }

 private:
  Differ* differ_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeDiffService(Differ* differ) {
  return std::make_unique<DiffService>(differ);
}

}  // namespace gantry::services
