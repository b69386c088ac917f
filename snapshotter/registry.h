#ifndef GANTRY_SNAPSHOTTER_REGISTRY_H_
#define GANTRY_SNAPSHOTTER_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/driver.h"

namespace gantry::snapshotter {

// Names of all drivers that are built in.
std::vector<std::string> DriverNames();

// Opens (and makes, if new) the driver's store in `config.root`. NotFound for an unknown name,
// FailedPrecondition with the reason if the kernel or the file system cannot do it.
absl::StatusOr<std::unique_ptr<Driver>> OpenDriver(absl::string_view name,
                                                   const DriverConfig& config);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_REGISTRY_H_
