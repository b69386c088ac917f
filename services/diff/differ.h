#ifndef GANTRY_SERVICES_DIFF_DIFFER_H_
#define GANTRY_SERVICES_DIFF_DIFFER_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mount.h"
#include "services/content/descriptor.h"

namespace gantry::services {

struct Context;
class ContentStore;

struct CompareOptions {
  // Of the blob to make; empty: OCI layer tar+gzip. Unimplemented when it is none that we write.
  std::string media_type;
  std::string ref;  // of the upload; empty: a random one
  std::map<std::string, std::string> labels;
  // Clamps times of entries to at most this. Whiteouts always have 0, as since containerd 2.0.
  std::optional<absl::Time> source_date_epoch;
};

// Layers to directories and back. Thread-safe; calls block for as long as the layer takes.
class Differ {
 public:
  // `content` must outlive it; `temp_dir` is a directory of ours for temporary mount points.
  Differ(ContentStore* content, std::string temp_dir);

  // Unpacks the blob `layer` onto `mounts` (of an active snapshot) and returns a descriptor of the
  // tar: media type "application/vnd.oci.image.layer.v1.tar", digest = diff id, size. NotFound
  // without the blob, Unimplemented for a media type that is no layer, FailedPrecondition when the
  // blob is not what its digest says. `sync_fs`: written to the disk before the return.
  absl::StatusOr<Descriptor> Apply(const Context& ctx, const Descriptor& layer,
                                   const std::vector<base::Mount>& mounts, bool sync_fs = false);

  // Writes what makes `upper` out of `lower` as a blob with the label containerd.io/uncompressed,
  // and returns its descriptor. An empty `lower` is an empty tree. AlreadyExists is no error: the
  // existing blob is returned.
  absl::StatusOr<Descriptor> Compare(const Context& ctx, const std::vector<base::Mount>& lower,
                                     const std::vector<base::Mount>& upper,
                                     const CompareOptions& options);

 private:
  ContentStore* content_;
  std::string temp_dir_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_DIFFER_H_
