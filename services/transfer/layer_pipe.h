#ifndef GANTRY_SERVICES_TRANSFER_LAYER_PIPE_H_
#define GANTRY_SERVICES_TRANSFER_LAYER_PIPE_H_

#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "services/diff/layer_applier.h"

namespace gantry::services {

// Feeds a LayerApplier on a thread of its own through a bounded queue, so that receiving and
// storing a layer overlaps with hashing, inflating and unpacking it. Write() and Finish() by one
// thread. Destroying it without Finish() stops the thread.
class LayerPipe {
 public:
  explicit LayerPipe(std::unique_ptr<LayerApplier> applier);
  ~LayerPipe();
  LayerPipe(const LayerPipe&) = delete;
  LayerPipe& operator=(const LayerPipe&) = delete;

  // Blocks while the queue is full. A failure of the applier comes back from a later call.
  absl::Status Write(absl::string_view data);
  absl::StatusOr<LayerResult> Finish();

 private:
  void Push(std::string chunk);
  void Run();
  void Join(bool abandon);

  std::unique_ptr<LayerApplier> applier_;
  std::string pending_;  // small pieces are put together before they cost a hand-over
  absl::Mutex mu_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_LAYER_PIPE_H_
