#include "docker/images/registry_errors.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::docker {
namespace {

constexpr char kUnauthorized[] = "unauthorized: authentication required";
constexpr char kDenied[] = "denied: requested access to the resource is denied";

}  // namespace

absl::Status PullError(const absl::Status& status, const ImageReference& reference,
                       const Platform& platform, bool authenticated) {
  const absl::string_view text = status.message();
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      if (absl::StrContains(text, "NAME_UNKNOWN")) {
        return absl::NotFoundError(
            absl::StrCat("repository ", reference.FamiliarRepository(),
                         " not found: name unknown: repository name not known to registry"));
      }
      if (absl::StrContains(text, "platform")) {
        return absl::NotFoundError(absl::StrCat(
            "no matching manifest for ", platform.str(),
            " in the manifest list entries: no match for platform in manifest: not found"));
      }
      return absl::NotFoundError(absl::StrCat("manifest for ", reference.Familiar(),
                                              " not found: manifest unknown: manifest unknown"));
    case absl::StatusCode::kUnauthenticated:
      if (reference.domain != "docker.io") {
        if (authenticated) return absl::InternalError(kUnauthorized);
        return absl::InternalError(
            absl::StrCat("Head \"https://", reference.domain, "/v2/", reference.path, "/manifests/",
                         reference.digest.empty() ? reference.tag : reference.digest.str(),
                         "\": no basic auth credentials"));
      }
      [[fallthrough]];
    case absl::StatusCode::kPermissionDenied:
      return absl::NotFoundError(
          absl::StrCat("pull access denied for ", reference.FamiliarRepository(),
                       ", repository does not exist or may require 'docker login': ", kDenied));
    default:
      return status;
  }
}

absl::Status PushError(const absl::Status& status, bool authenticated) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
      return absl::UnauthenticatedError(authenticated ? kUnauthorized
                                                      : "no basic auth credentials");
    case absl::StatusCode::kPermissionDenied:
      return absl::PermissionDeniedError(kDenied);
    default:
      return status;
  }
}

}  // namespace gantry::docker
