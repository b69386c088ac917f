// Health checks: a command in the container, now and then.

#include "services/lifecycle/health.h"
#include "services/lifecycle/manager.h"

namespace gantry::services::lifecycle {

void Manager::BeginHealthChecks(const EntryPtr& entry) { (void)entry; }

}  // namespace gantry::services::lifecycle
