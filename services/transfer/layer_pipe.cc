#include "services/transfer/layer_pipe.h"

#include <utility>

#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kChunk = 256u << 10;
constexpr size_t kMaxQueued = 16;

}  // namespace

LayerPipe::LayerPipe(std::unique_ptr<LayerApplier> applier) : applier_(std::move(applier)) {
  thread_ = std::thread([this] { Run(); });
}

LayerPipe::~LayerPipe() { Join(true); }

void LayerPipe::Join(bool abandon) {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
    abandoned_ = abandoned_ || abandon;
  }
  if (thread_.joinable()) thread_.join();
}

void LayerPipe::Run() {
  while (true) {
    std::string chunk;
    {
      absl::MutexLock lock(&mu_);
      auto ready = [this]()
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !queue_.empty() || ended_; };
      mu_.Await(absl::Condition(&ready));
      if (abandoned_ || queue_.empty()) return;
      chunk = std::move(queue_.front());
      queue_.pop_front();
    }
    absl::Status status = applier_->Write(chunk);
    if (status.ok()) continue;
    absl::MutexLock lock(&mu_);
    status_ = status;
    queue_.clear();
    return;
  }
}

void LayerPipe::Push(std::string chunk) {
  absl::MutexLock lock(&mu_);
  auto room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return queue_.size() < kMaxQueued || !status_.ok();
  };
  mu_.Await(absl::Condition(&room));
  if (status_.ok()) queue_.push_back(std::move(chunk));
}

absl::Status LayerPipe::Write(absl::string_view data) {
  pending_.append(data.data(), data.size());
  if (pending_.size() >= kChunk) {
    Push(std::exchange(pending_, std::string()));
    pending_.reserve(2 * kChunk);
  }
  absl::MutexLock lock(&mu_);
  return status_;
}

absl::StatusOr<LayerResult> LayerPipe::Finish() {
  if (!pending_.empty()) Push(std::exchange(pending_, std::string()));
  Join(false);
  {
    absl::MutexLock lock(&mu_);
    GANTRY_RETURN_IF_ERROR(status_);
  }
  return applier_->Finish();
}

}  // namespace gantry::services
