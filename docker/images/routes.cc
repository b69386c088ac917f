#include "docker/images/routes.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "docker/images/image_api.h"
#include "docker/images/image_json.h"
#include "docker/system/publish.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;

constexpr char kHostsDir[] = "/run/gantry/docker-hosts";
// What docker/containers keeps in a container's record.
constexpr char kDocument[] = "docker";

absl::StatusOr<base::Digest> ImageIdOf(const lifecycle::ListResponse::Item& item) {
  auto found = item.extensions().find(kDocument);
  if (found == item.extensions().end()) return base::Digest::Parse(item.container().image());
  GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(found->second));
  return base::Digest::Parse(base::JsonString(document, "ImageId"));
}

}  // namespace

ImageApi::ImageApi(const Context& c)
    : context(c), store(c.images), hosts(c.config, kHostsDir, c.options.certs_dirs) {}

absl::StatusOr<client::TransferOptions> ImageApi::Transfer(const RegistryAuth& auth,
                                                           absl::string_view registry) const {
  client::TransferOptions options;
  options.identity_token = auth.identity_token;
  options.registry_token = auth.registry_token;
  if (!auth.username.empty()) {
    options.credentials = absl::StrCat(auth.username, ":", auth.password);
  }
  GANTRY_ASSIGN_OR_RETURN(options.hosts_dir, hosts.DirFor(registry));
  return options;
}

absl::StatusOr<std::vector<ImageUser>> ImageApi::Users() {
  lifecycle::ListRequest request;
  request.set_all(true);
  request.add_extensions(kDocument);
  lifecycle::ListResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(lifecycle::LifecycleMethods::kList, request, &response));
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, store.List());
  std::vector<ImageUser> users;
  for (const auto& item : response.containers()) {
    const lifecycle::Container& container = item.container();
    ImageUser user;
    user.container_id = container.id();
    const std::string& status = container.state().status();
    user.running = status == "running" || status == "paused" || status == "restarting";
    if (auto id = ImageIdOf(item); id.ok()) {
      user.image = *id;
    } else if (auto image = FindAmong(all, container.image()); image.ok()) {
      user.image = image->id();
    } else {
      continue;
    }
    users.push_back(std::move(user));
  }
  return users;
}

void ImageApi::Publish(const std::string& action, const std::string& id, const std::string& name,
                       const ImageContent* content) {
  std::map<std::string, std::string> attributes;
  if (content != nullptr) attributes = ImageLabels(*content);
  attributes["name"] = name;
  PublishEvent(context.gantryd, "image", action, id, attributes);
}

void AddImageRoutes(http::Router& router, const Context& context) {
  auto api = std::make_shared<ImageApi>(context);
  AddImageArchiveRoutes(router, api);  // /images/get before what matches any name
  AddRegistryRoutes(router, api);
  AddImageTransferRoutes(router, api);
  AddImageQueryRoutes(router, api);
  AddImageChangeRoutes(router, api);
}

}  // namespace gantry::docker
