#ifndef GANTRY_SERVICES_REGISTRY_PLATFORM_H_
#define GANTRY_SERVICES_REGISTRY_PLATFORM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

// What an image is built for, in the words of the OCI image index.
struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
  std::string os_version;

  bool empty() const { return os.empty() && architecture.empty(); }
  std::string str() const;  // "linux/arm64/v8"
  friend bool operator==(const Platform&, const Platform&) = default;
};

// Common spellings become one: x86_64 is amd64, aarch64 is arm64, amd64/v1 is amd64, arm64/v8 is
// arm64, arm is arm/v7, i386 is 386, macos is darwin.
Platform NormalizePlatform(Platform platform);

// "linux/arm64/v8", "linux/amd64", "linux" or "arm64" (the rest is taken from this machine).
absl::StatusOr<Platform> ParsePlatform(absl::string_view text);

// The platform of this machine.
Platform ThisPlatform();

// How well an image for `have` runs where `want` is asked for: 0 not at all; the higher the better.
// As containerd's: a variant also runs what is made for the lower ones (arm/v7: v6, v5; amd64/v3:
// v2, v1), arm64 runs arm, amd64 runs 386, in this order of preference.
int PlatformScore(const Platform& want, const Platform& have);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_PLATFORM_H_
