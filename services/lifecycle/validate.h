#ifndef GANTRY_SERVICES_LIFECYCLE_VALIDATE_H_
#define GANTRY_SERVICES_LIFECYCLE_VALIDATE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::services::lifecycle {

// Docker's rule: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 255; empty is none. InvalidArgument.
absl::Status CheckName(absl::string_view name);
absl::Status CheckPolicy(const v1::Policy& policy);
absl::Status CheckCreate(const v1::CreateRequest& request);

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_VALIDATE_H_
