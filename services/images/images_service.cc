#include "services/images/images_service.h"

#include "base/clock.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "services/metadata/gc.h"
#include "services/metadata/image_store.h"
#include "services/rpc/server_context.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::images::v1;

grpc::Status NameRequired() { return {grpc::StatusCode::INVALID_ARGUMENT, "Image.Name required"}; }

// The moment that a reproducible build asks for instead of now.
template <typename Request>
std::optional<absl::Time> SourceDateEpoch(const Request& request) {
  if (!request.has_source_date_epoch()) return std::nullopt;
  return base::GetTimestamp(request.source_date_epoch());
}

class ImagesService final : public api::Images::Service {
 public:
  ImagesService(ImageStore* store, GcRunner* gc) : store_(store), gc_(gc) {}

  grpc::Status Get(grpc::ServerContext* server, const api::GetImageRequest* request,
                   api::GetImageResponse* response) override {
    absl::StatusOr<api::Image> image = store_->Get(FromServerContext(*server), request->name());
    if (image.ok()) *response->mutable_image() = *std::move(image);
    return ToGrpc(image.status());
  }

  grpc::Status List(grpc::ServerContext* server, const api::ListImagesRequest* request,
                    api::ListImagesResponse* response) override {
    absl::StatusOr<std::vector<api::Image>> list = store_->List(
        FromServerContext(*server), {request->filters().begin(), request->filters().end()});
    if (!list.ok()) return ToGrpc(list.status());
    for (api::Image& image : *list) *response->add_images() = std::move(image);
    return grpc::Status::OK;
  }

  grpc::Status Create(grpc::ServerContext* server, const api::CreateImageRequest* request,
                      api::CreateImageResponse* response) override {
    if (request->image().name().empty()) return NameRequired();
    absl::StatusOr<api::Image> image =
        store_->Create(FromServerContext(*server), request->image(), SourceDateEpoch(*request));
    if (image.ok()) *response->mutable_image() = *std::move(image);
    return ToGrpc(image.status());
  }

  grpc::Status Update(grpc::ServerContext* server, const api::UpdateImageRequest* request,
                      api::UpdateImageResponse* response) override {
    if (request->image().name().empty()) return NameRequired();
    const auto& paths = request->update_mask().paths();
    absl::StatusOr<api::Image> image =
        store_->Update(FromServerContext(*server), request->image(), {paths.begin(), paths.end()},
                       SourceDateEpoch(*request));
    if (image.ok()) *response->mutable_image() = *std::move(image);
    return ToGrpc(image.status());
  }

  grpc::Status Delete(grpc::ServerContext* server, const api::DeleteImageRequest* request,
                      google::protobuf::Empty*) override {
    std::optional<std::string> target;
    if (request->has_target()) target = request->target().digest();
    absl::Status status = store_->Delete(FromServerContext(*server), request->name(), target);
    if (status.ok() && request->sync()) status = gc_->RunNow();
    return ToGrpc(status);
  }

 private:
  ImageStore* store_;
  GcRunner* gc_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeImagesService(ImageStore* store, GcRunner* gc) {
  return std::make_unique<ImagesService>(store, gc);
}

}  // namespace gantry::services
