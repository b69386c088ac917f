#include "services/registry/registry_service.h"

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "gantry/services/registry/v1/registry.grpc.pb.h"
#include "services/registry/queries.h"
#include "services/rpc/status.h"

namespace gantry::services {
namespace {

namespace api = gantry::services::registry::v1;

constexpr int kMaxRedirects = 10;
constexpr int64_t kMaxConfig = 8 << 20;

class RegistryService final : public api::Registries::Service {
 public:
  explicit RegistryService(std::string hosts_dir) : hosts_dir_(std::move(hosts_dir)) {}

  grpc::Status Login(grpc::ServerContext* context, const api::LoginRequest* request,
                     api::LoginResponse*) override {
    return ToGrpc(CheckLogin(request->host(), Options(context, request->access())));
  }

  grpc::Status Search(grpc::ServerContext* context, const api::SearchRequest* request,
                      api::SearchResponse* response) override {
    auto json = SearchRegistry(request->host(), request->term(), request->limit(),
                               Options(context, request->access()));
    if (json.ok()) response->set_json(*json);
    return ToGrpc(json.status());
  }

  grpc::Status Resolve(grpc::ServerContext* context, const api::ResolveRequest* request,
                       api::ResolveResponse* response) override {
    return ToGrpc(ResolveInto(request->reference(), Options(context, request->access()), response));
  }

  grpc::Status ListTags(grpc::ServerContext* context, const api::ListTagsRequest* request,
                        api::ListTagsResponse* response) override {
    auto tags = services::ListTags(request->repository(), Options(context, request->access()));
    if (!tags.ok()) return ToGrpc(tags.status());
    response->mutable_tags()->Assign(tags->begin(), tags->end());
    return grpc::Status::OK;
  }

  grpc::Status Download(grpc::ServerContext* context, const api::DownloadRequest* request,
                        grpc::ServerWriter<api::DownloadResponse>* writer) override {
    HttpOptions options;
    options.cancelled = [context] { return context->IsCancelled(); };
    HttpClient http(std::move(options));
    std::string url = request->url();
    for (int i = 0; i <= kMaxRedirects; ++i) {
      absl::Status status = DownloadFrom(&http, &url, writer);
      if (!status.ok() || url.empty()) return ToGrpc(status);
    }
    return ToGrpc(absl::FailedPreconditionError("too many redirects"));
  }

 private:
  RegistryOptions Options(grpc::ServerContext* context, const api::Access& access) const {
    RegistryOptions options;
    options.hosts.config_dir = access.hosts_dir().empty() ? hosts_dir_ : access.hosts_dir();
    options.endpoint.retry.attempts = 2;  // somebody waits for the answer
    options.endpoint.cancelled = [context] { return context->IsCancelled(); };
    Credentials credentials;
    if (!access.registry_token().empty()) {
      credentials.header = absl::StrCat("Bearer ", access.registry_token());
    } else if (!access.identity_token().empty()) {
      credentials.secret = access.identity_token();
    } else if (!access.username().empty()) {
      credentials.username = access.username();
      credentials.secret = access.password();
    } else {
      return options;
    }
    options.endpoint.credentials =
        [credentials](const std::string&,
                      const std::vector<std::string>&) -> absl::StatusOr<Credentials> {
      return credentials;
    };
    return options;
  }

  static absl::Status ResolveInto(const std::string& text, const RegistryOptions& options,
                                  api::ResolveResponse* response) {
    GANTRY_ASSIGN_OR_RETURN(Reference reference, ParseReference(text));
    GANTRY_ASSIGN_OR_RETURN(auto client, RegistryClient::Create(reference, options));
    GANTRY_ASSIGN_OR_RETURN(ImageDescriptor root, client->Resolve());
    GANTRY_ASSIGN_OR_RETURN(std::string manifest, client->FetchManifest(root));
    response->set_media_type(root.media_type);
    response->set_digest(root.digest.str());
    response->set_size(root.size);
    response->set_manifest(manifest);
    if (IsIndexType(root.media_type)) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(manifest));
    const base::Json& config = base::JsonAt(document, "config");
    ImageDescriptor blob;
    blob.media_type = base::JsonString(config, "mediaType");
    blob.size = base::JsonInt(config, "size", -1);
    GANTRY_ASSIGN_OR_RETURN(blob.digest, base::Digest::Parse(base::JsonString(config, "digest")));
    if (blob.size < 0 || blob.size > kMaxConfig) {
      return absl::ResourceExhaustedError("the image's configuration is too large");
    }
    return client->FetchBlob(blob, {}, [response](absl::string_view data) {
      response->mutable_config()->append(data.data(), data.size());
      return absl::OkStatus();
    });
  }

  // Leaves in `url` where to go on, or nothing.
  static absl::Status DownloadFrom(HttpClient* http, std::string* url,
                                   grpc::ServerWriter<api::DownloadResponse>* writer) {
    HttpCall call;
    bool first = true;
    HttpResponse response;
    call.accept = [](const HttpResponse& head) { return head.status == 200; };
    call.sink = [&](absl::string_view data) {
      api::DownloadResponse part;
      if (first) part.set_total(response.content_length);
      first = false;
      part.set_data(data.data(), data.size());
      return writer->Write(part) ? absl::OkStatus() : absl::CancelledError("the client is gone");
    };
    const std::string from = *url;
    url->clear();
    GANTRY_RETURN_IF_ERROR(http->Do({"GET", from}, call, &response));
    if (response.status == 200) return absl::OkStatus();
    if (response.status >= 301 && response.status <= 308) {
      *url = ResolveUrl(from, std::string(FindHeader(response.headers, "location")));
      if (!url->empty()) return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat("failed to GET ", from, " with status ", response.status));
  }

  const std::string hosts_dir_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeRegistryService(std::string hosts_dir) {
  return std::make_unique<RegistryService>(std::move(hosts_dir));
}

}  // namespace gantry::services
