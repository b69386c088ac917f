#ifndef GANTRY_DOCKER_CONTAINERS_LOOKUP_H_
#define GANTRY_DOCKER_CONTAINERS_LOOKUP_H_

#include <string>

#include "absl/status/statusor.h"
#include "docker/containers/document.h"
#include "docker/engine/context.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::docker {

// A container with everything that is known of it.
struct FoundContainer {
  gantry::services::lifecycle::v1::Container container;
  std::string spec;  // OCI specification
  ContainerDocument document;

  const std::string& id() const { return container.id(); }
  const std::string& name() const { return container.policy().name(); }
  const gantry::services::lifecycle::v1::State& state() const { return container.state(); }
  // Paused counts.
  bool running() const;
};

// By id, name or unique beginning of an id. NotFound "No such container: x".
absl::StatusOr<FoundContainer> FindContainer(const Context& context, const std::string& name);

// The id alone, which needs no document.
absl::StatusOr<gantry::services::lifecycle::v1::Container> FindRecord(const Context& context,
                                                                      const std::string& name);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_LOOKUP_H_
