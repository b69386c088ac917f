#include "services/metadata/context.h"

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::services {

absl::Status RequireNamespace(const Context& ctx) {
  if (ctx.ns.empty())
    return absl::FailedPreconditionError("namespace is required: failed precondition");
  return base::Annotate(base::ValidateIdentifier(ctx.ns), "namespace validation");
}

}  // namespace gantry::services
