#include "docker/images/registry_errors.h"

#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

TEST(RegistryErrorsTest, PullsFailInDockersWords) {
  const struct {
    absl::Status status;
    const char* reference;
    bool authenticated;
    absl::StatusCode code;
    const char* message;
  } cases[] = {
      {absl::NotFoundError("resolve: the registry answered 404: not found"), "busybox:nosuch",
       false, absl::StatusCode::kNotFound,
       "manifest for busybox:nosuch not found: manifest unknown: manifest unknown"},
      {absl::NotFoundError("x (NAME_UNKNOWN: y): not found"), "r.io/a:1", false,
       absl::StatusCode::kNotFound,
       "repository r.io/a not found: name unknown: repository name not known to registry"},
      {absl::UnauthenticatedError("401"), "nosuch:latest", false, absl::StatusCode::kNotFound,
       "pull access denied for nosuch, repository does not exist or may require 'docker login': "
       "denied: requested access to the resource is denied"},
      {absl::PermissionDeniedError("403"), "r.io/a:1", true, absl::StatusCode::kNotFound,
       "pull access denied for r.io/a, repository does not exist or may require 'docker login': "
       "denied: requested access to the resource is denied"},
      {absl::UnauthenticatedError("401"), "r.io/a:1", false, absl::StatusCode::kInternal,
       "Head \"https://r.io/v2/a/manifests/1\": no basic auth credentials"},
      {absl::UnauthenticatedError("401"), "r.io/a:1", true, absl::StatusCode::kInternal,
       "unauthorized: authentication required"},
      {absl::UnavailableError("connection refused"), "r.io/a:1", true,
       absl::StatusCode::kUnavailable, "connection refused"},
  };
  for (const auto& c : cases) {
    absl::Status error = PullError(c.status, *ParseImageReference(c.reference),
                                   Platform::OfThisMachine(), c.authenticated);
    EXPECT_EQ(error.code(), c.code) << error;
    EXPECT_EQ(error.message(), c.message);
  }
}

TEST(RegistryErrorsTest, PushesFailInDockersWords) {
  EXPECT_EQ(PushError(absl::PermissionDeniedError("x"), true).message(),
            "denied: requested access to the resource is denied");
  EXPECT_EQ(PushError(absl::UnauthenticatedError("x"), false).message(),
            "no basic auth credentials");
  EXPECT_EQ(PushError(absl::UnauthenticatedError("x"), true).message(),
            "unauthorized: authentication required");
}

}  // namespace
}  // namespace gantry::docker
