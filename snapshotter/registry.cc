#include "snapshotter/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "snapshotter/native.h"
#include "snapshotter/overlayfs.h"

namespace gantry::snapshotter {
namespace {

struct Entry {
  const char* name;
  absl::StatusOr<std::unique_ptr<Driver>> (*open)(const DriverConfig&);
};

// A table and not static objects that register themselves: those vanish from static libraries.
constexpr Entry kDrivers[] = {
    {"native", NativeDriver::Open},
    {"overlayfs", OverlayDriver::Open},
};

}  // namespace

std::vector<std::string> DriverNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kDrivers) names.emplace_back(entry.name);
  return names;
}

absl::StatusOr<std::unique_ptr<Driver>> OpenDriver(absl::string_view name,
                                                   const DriverConfig& config) {
  for (const Entry& entry : kDrivers) {
    if (name == entry.name) return entry.open(config);
  }
  return absl::NotFoundError(
      absl::StrCat("snapshotter \"", name, "\": not one of ", absl::StrJoin(DriverNames(), ", ")));
}

}  // namespace gantry::snapshotter
