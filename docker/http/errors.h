#ifndef GANTRY_DOCKER_HTTP_ERRORS_H_
#define GANTRY_DOCKER_HTTP_ERRORS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::docker::http {

// The one place where a status becomes a number of HTTP, as Docker's errors do: InvalidArgument and
// OutOfRange 400, Unauthenticated 401, PermissionDenied 403, NotFound 404, AlreadyExists,
// FailedPrecondition and Aborted 409, Unimplemented 501, Unavailable 503, all others 500.
int HttpStatus(const absl::Status& status);

// "Not Found" for 404.
absl::string_view ReasonPhrase(int status);

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_ERRORS_H_
