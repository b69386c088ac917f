#ifndef GANTRY_DOCKER_IMAGES_IMAGE_JSON_H_
#define GANTRY_DOCKER_IMAGES_IMAGE_JSON_H_

// Images as the API shows them. Pure functions.

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "docker/images/image_store.h"
#include "docker/system/filters.h"

namespace gantry::docker {

// What the shape of an answer depends on.
struct ImageJsonOptions {
  int minor_version = 51;  // of API 1.x
};

// One line of GET /images/json. `containers`: -1 when it was not counted.
base::OrderedJson ImageSummary(const LocalImage& image, int64_t size, int64_t containers,
                               int64_t shared_size, const ImageJsonOptions& options);
// GET /images/{name}/json.
base::OrderedJson ImageInspect(const LocalImage& image, int64_t size, absl::string_view driver,
                               const ImageJsonOptions& options);
// GET /images/{name}/history: newest first. `sizes`: of the layers.
base::OrderedJson ImageHistory(const LocalImage& image, const std::vector<int64_t>& sizes);

std::map<std::string, std::string> ImageLabels(const ImageContent& content);

// The configuration of a container or of a new image (Docker's Config) from that of an image: every
// key that Docker has, with its nulls.
base::OrderedJson DockerConfig(const base::Json& config);

// Those of `all` that GET /images/json lists. Tags and digests that a reference filter does not
// match are taken out. NotFound when the image of "before" or "since" does not exist.
absl::StatusOr<std::vector<LocalImage>> FilterImages(const std::vector<LocalImage>& all,
                                                     const Filters& filters, bool with_parents,
                                                     absl::Time now);
// "busybox", "busybox:*", "*/x": Docker's pattern over the short form.
bool MatchesPattern(const ImageReference& reference, const std::string& pattern);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_IMAGE_JSON_H_
