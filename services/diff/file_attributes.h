#ifndef GANTRY_SERVICES_DIFF_FILE_ATTRIBUTES_H_
#define GANTRY_SERVICES_DIFF_FILE_ATTRIBUTES_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

inline constexpr absl::string_view kWhiteoutPrefix = ".wh.";
inline constexpr absl::string_view kWhiteoutMetaPrefix = ".wh..wh.";
inline constexpr absl::string_view kOpaqueMark = ".wh..wh..opq";
inline constexpr char kOverlayOpaqueXattr[] = "trusted.overlay.opaque";

// An extended attribute that a layer may set and a diff shows. Those that steer overlayfs itself
// are not: they could redirect a directory to any path of the host.
bool IsLayerXattr(absl::string_view name);

// By descriptor (O_PATH too, then of the link itself).
absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd);
// Sets those that IsLayerXattr() allows. File systems without xattrs, and kinds of files that
// cannot have user.* ones, are no error: as containerd does, they are left out.
absl::Status WriteXattrs(int fd, const std::map<std::string, std::string>& xattrs);

// The path by which calls without an *at form reach a descriptor.
std::string FdPath(int fd);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_FILE_ATTRIBUTES_H_
