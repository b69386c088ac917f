#include "services/transfer/progress.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "containerd/types/transfer/progress.pb.h"

namespace gantry::services {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(200);

}  // namespace

containerd::types::Descriptor ToProto(const ImageDescriptor& d) {
  containerd::types::Descriptor out;
  out.set_media_type(d.media_type);
  out.set_digest(d.digest.str());
  out.set_size(d.size);
  for (const auto& [key, value] : d.annotations) (*out.mutable_annotations())[key] = value;
  return out;
}

absl::StatusOr<ImageDescriptor> FromProto(const containerd::types::Descriptor& d) {
  ImageDescriptor out;
  out.media_type = d.media_type();
  GANTRY_ASSIGN_OR_RETURN(out.digest, base::Digest::Parse(d.digest()));
  out.size = d.size();
  for (const auto& [key, value] : d.annotations()) out.annotations[key] = value;
  return out;
}

std::string RefKeyOf(const ImageDescriptor& d) {
  const char* kind = IsManifestType(d.media_type) ? "manifest-"
                     : IsIndexType(d.media_type)  ? "index-"
                     : IsLayerType(d.media_type)  ? "layer-"
                     : IsConfigType(d.media_type) ? "config-"
                                                  : "unknown-";
  return kind + d.digest.str();
}

void Progress::Say(absl::string_view event, absl::string_view name) {
  if (stream_ == nullptr) return;
  containerd::types::transfer::Progress p;
  p.set_event(event.data(), event.size());
  p.set_name(name.data(), name.size());
  stream_->Post(PackBare(p));
}

void Progress::SayFor(absl::string_view event, absl::string_view name, const ImageDescriptor& d) {
  if (stream_ == nullptr) return;
  containerd::types::transfer::Progress p;
  p.set_event(event.data(), event.size());
  p.set_name(name.data(), name.size());
  *p.mutable_desc() = ToProto(d);
  stream_->Post(PackBare(p));
}

void Progress::SetRoot(const std::string& name, const std::string& active_event) {
  absl::MutexLock lock(&mu_);
  root_ = name;
  active_event_ = active_event;
}

void Progress::AddChildren(const ImageDescriptor& parent,
                           const std::vector<ImageDescriptor>& children) {
  if (stream_ == nullptr) return;
  absl::MutexLock lock(&mu_);
  for (const ImageDescriptor& child : children) {
    jobs_[child.digest].parents.push_back(RefKeyOf(parent));
  }
}

void Progress::Send(absl::string_view event, const ImageDescriptor& blob, const Job& job,
                    int64_t offset) {
  containerd::types::transfer::Progress p;
  p.set_event(event.data(), event.size());
  p.set_name(RefKeyOf(blob));
  for (const std::string& parent : job.parents) p.add_parents(parent);
  p.set_progress(offset);
  p.set_total(blob.size);
  *p.mutable_desc() = ToProto(blob);
  if (event == active_event_) {
    stream_->SendOrDrop(PackBare(p));
  } else {
    stream_->Post(PackBare(p));
  }
}

void Progress::Add(const ImageDescriptor& blob) {
  if (stream_ == nullptr) return;
  absl::MutexLock lock(&mu_);
  Job& job = jobs_[blob.digest];
  if (job.added) return;
  job.added = true;
  if (job.parents.empty()) job.parents.push_back(root_);
  Send("waiting", blob, job, 0);
}

void Progress::Advance(const ImageDescriptor& blob, int64_t offset) {
  if (stream_ == nullptr) return;
  absl::MutexLock lock(&mu_);
  Job& job = jobs_[blob.digest];
  absl::Time now = absl::Now();
  if (job.done || now - job.last_sent < kInterval) return;
  job.last_sent = now;
  Send(active_event_, blob, job, offset);
}

void Progress::Exists(const ImageDescriptor& blob) {
  if (stream_ == nullptr) return;
  Add(blob);
  absl::MutexLock lock(&mu_);
  Job& job = jobs_[blob.digest];
  if (!job.done) Send("already exists", blob, job, blob.size);
  job.done = true;
}

void Progress::Complete(const ImageDescriptor& blob) {
  if (stream_ == nullptr) return;
  absl::MutexLock lock(&mu_);
  Job& job = jobs_[blob.digest];
  if (!job.done) Send("complete", blob, job, blob.size);
  job.done = true;
}

}  // namespace gantry::services
