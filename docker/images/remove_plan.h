#ifndef GANTRY_DOCKER_IMAGES_REMOVE_PLAN_H_
#define GANTRY_DOCKER_IMAGES_REMOVE_PLAN_H_

// What `docker rmi` does: which names go, which images, and why not. A pure function, because the
// rules are many.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "docker/images/image_store.h"

namespace gantry::docker {

// A container and the image it was made from.
struct ImageUser {
  std::string container_id;
  base::Digest image;
  bool running = false;
};

struct RemovePlan {
  // One line of the answer, in order.
  struct Line {
    bool deleted = false;  // else untagged
    std::string what;      // the short name, or an id
  };
  std::vector<Line> lines;
  // Names of records to delete, and images that lose their last name but stay.
  std::vector<std::string> names;
  std::vector<base::Digest> keep;
  // What follows in the event stream: {"untag"|"delete", id}.
  std::vector<std::pair<std::string, std::string>> events;
  // Why no more is done: what stands in the plan happens all the same.
  absl::Status conflict;
};

struct RemoveOptions {
  bool force = false;
  bool prune = true;  // parents without a name, too
};

// `typed` is what `target` was found by. FailedPrecondition in `conflict`, in Docker's words.
RemovePlan PlanRemoval(const std::vector<LocalImage>& all, const std::vector<ImageUser>& users,
                       const LocalImage& target, absl::string_view typed,
                       const RemoveOptions& options);

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_REMOVE_PLAN_H_
