#ifndef GANTRY_SERVICES_LIFECYCLE_CONTAINER_FILES_H_
#define GANTRY_SERVICES_LIFECYCLE_CONTAINER_FILES_H_

// The directory of a container, ROOT/containers/NS/ID, and the files in it that the container sees
// mounted: hostname, hosts, resolv.conf. The directory is 0711 and ROOT 0700; the files are 0644,
// because processes of any user in the container read them. Blocks on the disk.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::services::lifecycle {

class ContainerFiles {
 public:
  explicit ContainerFiles(std::string root) : base_(std::move(root) + "/containers") {}

  std::string Directory(absl::string_view ns, absl::string_view id) const;

  // AlreadyExists when it is there. Makes it and the managed files; what the mode of the network
  // leaves to others (SetUp of networks) stays empty until then.
  absl::Status Create(absl::string_view ns, absl::string_view id, const v1::Policy& policy) const;
  // Before each start: the managed files of modes without networks anew. `of_other` is the
  // directory of the container whose network is joined, or empty.
  absl::Status Refresh(absl::string_view ns, absl::string_view id, const v1::Policy& policy,
                       const std::string& of_other) const;
  // What is missing is fine.
  absl::Status Remove(absl::string_view ns, absl::string_view id) const;
  // All that exist: namespace and id.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> List() const;

 private:
  std::string base_;
};

// The absolute path in a log URI of a scheme that has a file; empty for others.
std::string LogPath(absl::string_view uri);
// `uri` with `key`=`value` in its query, percent-encoded.
std::string WithQuery(absl::string_view uri, absl::string_view key, absl::string_view value);

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_CONTAINER_FILES_H_
