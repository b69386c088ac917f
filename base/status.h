#ifndef GANTRY_BASE_STATUS_H_
#define GANTRY_BASE_STATUS_H_

// Errors are values: absl::Status with the code that the wire asks for (the sixteen codes of gRPC)
// and a message that names the operation, the object and the cause: "mount overlay on /x: no such
// device".

#include <string>
#include <utility>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gantry::base {

// A status for `error_number` (errno at the call, which the caller must save first): "WHAT:
// strerror". ENOENT → NotFound, EEXIST → AlreadyExists, EACCES/EPERM → PermissionDenied, EINVAL →
// InvalidArgument, ENOSPC/EDQUOT/EMFILE/ENFILE/ENOMEM/EAGAIN → ResourceExhausted, EBUSY/ENOTEMPTY →
// FailedPrecondition, ETIMEDOUT → DeadlineExceeded, ENOSYS/EOPNOTSUPP → Unimplemented,
// ECONNREFUSED/ECONNRESET/EPIPE → Unavailable, every other → Unknown. The errno itself stays
// readable through ErrnoOf().
absl::Status ErrnoStatus(int error_number, absl::string_view what);

// The errno that ErrnoStatus() was given, through any number of Annotate(); 0 if there was none.
int ErrnoOf(const absl::Status& status);

// The same code and payloads, with "WHAT: " before the message. An OK status stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view what);

// The same message and payloads under another code. An OK status stays OK.
absl::Status WithCode(const absl::Status& status, absl::StatusCode code);

}  // namespace gantry::base

#define GANTRY_CONCAT_INNER_(a, b) a##b
#define GANTRY_CONCAT_(a, b) GANTRY_CONCAT_INNER_(a, b)

// Returns from the enclosing function when `expr` is not OK.
#define GANTRY_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status gantry_status_ = (expr); !gantry_status_.ok()) return gantry_status_; \
  } while (false)

// GANTRY_ASSIGN_OR_RETURN(auto x, F()): assigns the value or returns the status.
#define GANTRY_ASSIGN_OR_RETURN(lhs, expr) \
  GANTRY_ASSIGN_OR_RETURN_IMPL_(GANTRY_CONCAT_(gantry_result_, __LINE__), lhs, expr)
#define GANTRY_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                  \
  if (!result.ok()) return std::move(result).status();   \
  lhs = *std::move(result)

#endif  // GANTRY_BASE_STATUS_H_
