#ifndef GANTRY_DOCKER_CONTAINERS_VIEWS_H_
#define GANTRY_DOCKER_CONTAINERS_VIEWS_H_

// Containers as Docker's API shows them.

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "docker/containers/lookup.h"
#include "gantry/services/networks/v1/networks.pb.h"

namespace gantry::docker {

// "Less than a second", "About a minute", "3 hours", … as Docker's clients print ages.
std::string HumanDuration(absl::Duration duration);
// "Up 2 minutes (healthy)", "Exited (0) 3 days ago", "Created", … of `docker ps`.
std::string StatusText(const gantry::services::lifecycle::v1::State& state, absl::Time now);

base::OrderedJson StateJson(const gantry::services::lifecycle::v1::State& state);
// {"bridge": {…}, …}: of the sandbox when there is one, else what is wanted.
base::OrderedJson NetworksJson(const gantry::services::lifecycle::v1::Container& container);
base::OrderedJson NetworkSettingsJson(const FoundContainer& found);
// {"80/tcp": [{"HostIp":…, "HostPort":…}], "81/tcp": null}
base::OrderedJson PortMapJson(const gantry::services::lifecycle::v1::Container& container,
                              const StringList& exposed);
// [{"IP":…, "PrivatePort":…, "PublicPort":…, "Type":…}] of `docker ps`.
base::OrderedJson PortListJson(const gantry::services::lifecycle::v1::Container& container,
                               const StringList& exposed);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_VIEWS_H_
