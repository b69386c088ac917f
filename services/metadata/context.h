#ifndef GANTRY_SERVICES_METADATA_CONTEXT_H_
#define GANTRY_SERVICES_METADATA_CONTEXT_H_

#include <string>

#include "absl/status/status.h"

namespace gantry::services {

// On whose behalf a call runs. Every store takes it first, so that nothing is ever done outside of
// a namespace by accident.
struct Context {
  // From the header containerd-namespace; empty when the client sent none.
  std::string ns;
  // From the header containerd-lease: what the call creates belongs to this lease. Usually empty.
  std::string lease;
};

// FailedPrecondition "namespace is required" when there is none, InvalidArgument when the name is
// not a valid identifier.
absl::Status RequireNamespace(const Context& ctx);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_CONTEXT_H_
