#include "docker/containers/lookup.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;

absl::StatusOr<lifecycle::GetResponse> Find(const Context& context, const std::string& name) {
  lifecycle::FindRequest request;
  request.set_name(name);
  lifecycle::GetResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(lifecycle::LifecycleMethods::kFind, request, &response));
  return response;
}

}  // namespace

bool FoundContainer::running() const {
  return state().status() == "running" || state().status() == "paused";
}

absl::StatusOr<FoundContainer> FindContainer(const Context& context, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::GetResponse found, Find(context, name));
  FoundContainer result;
  result.container = std::move(*found.mutable_container());
  result.spec = std::move(*found.mutable_spec());
  auto extension = found.extensions().find(kDocumentExtension);
  if (extension != found.extensions().end()) {
    GANTRY_ASSIGN_OR_RETURN(result.document, ContainerDocument::Parse(extension->second));
  } else {
    // Made by another door: what the record says must do.
    result.document.host = CompleteHostConfig(base::Json());
    result.document.config.image = result.container.image();
  }
  return result;
}

absl::StatusOr<lifecycle::Container> FindRecord(const Context& context, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::GetResponse found, Find(context, name));
  return std::move(*found.mutable_container());
}

}  // namespace gantry::docker
