#ifndef GANTRY_DOCKER_IMAGES_PROGRESS_H_
#define GANTRY_DOCKER_IMAGES_PROGRESS_H_

// What `docker pull` and `docker push` show, made of what gantryd reports.

#include <functional>
#include <map>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "client/transfer.h"

namespace gantry::docker {

using EmitLine = std::function<void(const base::OrderedJson&)>;

// {"status":…,"id":…} without what is empty.
base::OrderedJson StatusLine(absl::string_view status, absl::string_view id = {});
// With progressDetail and the bar that old clients print.
base::OrderedJson ProgressLine(absl::string_view status, absl::string_view id, int64_t current,
                               int64_t total);
// The last line of a stream that failed.
base::OrderedJson ErrorLine(absl::string_view message);

// One pull. Layers only: manifests and configurations do not show in Docker. Not thread-safe.
class PullProgress {
 public:
  explicit PullProgress(EmitLine emit) : emit_(std::move(emit)) {}

  void On(const client::Progress& report);
  // A layer was fetched (and not found to be here).
  bool fetched() const { return fetched_; }

 private:
  enum class State { kNew, kWaiting, kLoading, kDone };

  EmitLine emit_;
  std::map<std::string, State> layers_;  // by digest
  bool fetched_ = false;
};

// One push.
class PushProgress {
 public:
  explicit PushProgress(EmitLine emit) : emit_(std::move(emit)) {}
  void On(const client::Progress& report);

 private:
  EmitLine emit_;
  std::map<std::string, int> layers_;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_PROGRESS_H_
