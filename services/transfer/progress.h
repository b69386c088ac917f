#ifndef GANTRY_SERVICES_TRANSFER_PROGRESS_H_
#define GANTRY_SERVICES_TRANSFER_PROGRESS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "containerd/types/descriptor.pb.h"
#include "services/registry/image.h"
#include "services/streaming/stream.h"

namespace gantry::services {

containerd::types::Descriptor ToProto(const ImageDescriptor& descriptor);
absl::StatusOr<ImageDescriptor> FromProto(const containerd::types::Descriptor& descriptor);

// "layer-sha256:…", "manifest-…", "index-…", "config-…": the name of a blob in progress reports and
// of its upload in the content store, the same that containerd's clients use, so that two pulls of
// one blob meet.
std::string RefKeyOf(const ImageDescriptor& descriptor);

// Reports what a transfer does, as containerd.types.transfer.Progress messages with the events that
// containerd sends: free text for the whole; "waiting", "downloading" or "uploading", "already
// exists", "complete" for each blob. Never blocks; a client that does not read loses reports of how
// far a blob is, and none of the others.
// Thread-safe. Without a stream it does nothing.
class Progress {
 public:
  explicit Progress(std::shared_ptr<Stream> stream) : stream_(std::move(stream)) {}

  void Say(absl::string_view event, absl::string_view name = {});
  void SayFor(absl::string_view event, absl::string_view name, const ImageDescriptor& descriptor);

  // What blobs without a parent of their own hang on: the image's name.
  void SetRoot(const std::string& name, const std::string& active_event);
  void AddChildren(const ImageDescriptor& parent, const std::vector<ImageDescriptor>& children);
  void Add(const ImageDescriptor& blob);
  // At most a few a second are sent on.
  void Advance(const ImageDescriptor& blob, int64_t offset);
  void Exists(const ImageDescriptor& blob);
  void Complete(const ImageDescriptor& blob);

 private:
  struct Job {
    std::vector<std::string> parents;
    absl::Time last_sent;
    bool added = false;
    bool done = false;
  };
  void Send(absl::string_view event, const ImageDescriptor& blob, const Job& job, int64_t offset)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<Stream> stream_;
  absl::Mutex mu_;
  std::string root_ ABSL_GUARDED_BY(mu_);
  std::string active_event_ ABSL_GUARDED_BY(mu_);
  std::map<base::Digest, Job> jobs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_PROGRESS_H_
