#ifndef GANTRY_DOCKER_IMAGES_REFERENCE_H_
#define GANTRY_DOCKER_IMAGES_REFERENCE_H_

// Names of images as people type them to Docker, and as they are stored.

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace gantry::docker {

struct ImageReference {
  std::string domain;  // "docker.io", "127.0.0.1:5000"
  std::string path;    // "library/busybox"
  std::string tag;     // empty: none was given
  base::Digest digest;

  // "docker.io/library/busybox".
  std::string Repository() const;
  // "busybox": what is shown.
  std::string FamiliarRepository() const;
  // With tag and digest as they are: "docker.io/library/busybox:1"; the name of a stored image.
  std::string str() const;
  std::string Familiar() const;
  // The same with the tag "latest" when it has neither tag nor digest.
  ImageReference WithDefaultTag() const;
  // An image is stored under a tag or a digest; Docker drops the tag of name:tag@digest.
  ImageReference WithoutTagIfDigested() const;
};

// "busybox" is docker.io/library/busybox. InvalidArgument "invalid reference format[: …]" with
// Docker's reasons, also for 64 hex digits, which could only be an id.
absl::StatusOr<ImageReference> ParseImageReference(absl::string_view text);

// A whole tag. InvalidArgument "invalid tag format".
absl::Status CheckTag(absl::string_view tag);

// The name under which an image is kept that has no name of its own, and back.
std::string DanglingName(const base::Digest& target);
bool IsDanglingName(absl::string_view name);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_REFERENCE_H_
