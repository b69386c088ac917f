#include "services/diff/layer_applier.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/archive/decompress.h"
#include "base/archive/tar_reader.h"
#include "base/status.h"
#include "services/diff/unpacker.h"

namespace gantry::services {
namespace {

constexpr size_t kBlockBytes = 1 << 20;
// So much waits between the threads at most.
constexpr size_t kMaxBlocks = 8;
// Smaller layers are done before a second thread would be of use.
constexpr int64_t kThreadAfterBytes = 4 << 20;

// The second half of the pipeline, a thread that takes blocks of the tar in their order.
class BlockWorker {
 public:
  using Consume = std::function<absl::Status(absl::string_view)>;
  explicit BlockWorker(Consume consume)
      : consume_(std::move(consume)), thread_([this] { Run(); }) {}

  ~BlockWorker() {
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      closed_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  // Copies `data`; waits while the queue is full. The status is that of the consumer so far.
  absl::Status Push(absl::string_view data) {
    while (!data.empty()) {
      if (!has_block_) GANTRY_RETURN_IF_ERROR(TakeEmpty());
      size_t take = std::min(data.size(), kBlockBytes - filling_.size());
      filling_.append(data.data(), take);
      data.remove_prefix(take);
      if (filling_.size() == kBlockBytes) Enqueue();
    }
    return absl::OkStatus();
  }

  // Waits until everything is consumed.
  absl::Status Finish() {
    if (has_block_) Enqueue();
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    changed_.notify_all();
    thread_.join();
    return status_;
  }

 private:
  void Enqueue() {
    {
      std::lock_guard lock(mutex_);
      full_.push_back(std::move(filling_));
    }
    has_block_ = false;
    changed_.notify_all();
  }

  // An empty block to fill, when there may be one more.
  absl::Status TakeEmpty() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return full_.size() < kMaxBlocks || !status_.ok(); });
    GANTRY_RETURN_IF_ERROR(status_);
    has_block_ = true;
    if (empty_.empty()) {
      filling_ = std::string();
      filling_.reserve(kBlockBytes);
    } else {
      filling_ = std::move(empty_.back());
      empty_.pop_back();
    }
    return absl::OkStatus();
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closed_ || !full_.empty(); });
      if (cancelled_ || full_.empty()) return;
      std::string block = std::move(full_.front());
      full_.pop_front();
      lock.unlock();
      absl::Status status = consume_(block);
      block.clear();
      lock.lock();
      empty_.push_back(std::move(block));
      if (!status.ok()) status_ = status;
      changed_.notify_all();
      if (!status.ok()) return;
    }
  }

  const Consume consume_;
  std::string filling_;  // the producer's, while has_block_
  bool has_block_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> full_;    // guarded by mutex_
  std::vector<std::string> empty_;  // guarded by mutex_
  absl::Status status_;             // guarded by mutex_
  bool closed_ = false;             // guarded by mutex_
  bool cancelled_ = false;          // guarded by mutex_
  std::thread thread_;
};

class PipelinedApplier : public LayerApplier {
 public:
  PipelinedApplier(base::UniqueFd root, const LayerApplierOptions& options)
      : options_(options),
        unpacker_(std::move(root), options),
        tar_(&unpacker_),
        stream_(archive::Decompressor::Detect(
            [this](absl::string_view data) { return TakeTar(data); })) {}

  absl::Status Init() { return unpacker_.Init(); }

  absl::Status Write(absl::string_view data) override {
    GANTRY_RETURN_IF_ERROR(failed_);
    if (options_.hash_blob) blob_hasher_.Update(data);
    result_.blob_size += static_cast<int64_t>(data.size());
    failed_ = stream_->Write(data);
    return failed_;
  }

  absl::StatusOr<LayerResult> Finish() override {
    GANTRY_RETURN_IF_ERROR(failed_);
    failed_ = absl::FailedPreconditionError("layer is finished");
    GANTRY_RETURN_IF_ERROR(stream_->Finish());
    if (worker_ != nullptr) {
      absl::Status written = worker_->Finish();
      GANTRY_RETURN_IF_ERROR(written);
    }
    GANTRY_RETURN_IF_ERROR(tar_.Finish());
    GANTRY_ASSIGN_OR_RETURN(EntryUnpacker::Usage usage, unpacker_.Finish());
    result_.usage_bytes = usage.bytes;
    result_.usage_inodes = usage.inodes;
    result_.implicit_dirs = unpacker_.implicit_dirs();
    result_.diff_id = tar_hasher_.Finish();
    if (options_.hash_blob) result_.blob_digest = blob_hasher_.Finish();
    return result_;
  }

 private:
  absl::Status TakeTar(absl::string_view data) {
    tar_hasher_.Update(data);
    result_.size += static_cast<int64_t>(data.size());
    if (result_.size > options_.max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("layer has more than ", options_.max_bytes, " bytes"));
    }
    if (worker_ == nullptr && WantsThread()) {
      worker_ = std::make_unique<BlockWorker>(
          [this](absl::string_view block) { return tar_.Write(block); });
    }
    return worker_ != nullptr ? worker_->Push(data) : tar_.Write(data);
  }

  bool WantsThread() const {
    switch (options_.threads) {
      case LayerApplierOptions::Threads::kOne:
        return false;
      case LayerApplierOptions::Threads::kTwo:
        return true;
      case LayerApplierOptions::Threads::kAuto:
        break;
    }
    return result_.size > kThreadAfterBytes;
  }

  const LayerApplierOptions options_;
  EntryUnpacker unpacker_;
  archive::TarReader tar_;
  std::unique_ptr<archive::Decompressor> stream_;
  base::Hasher blob_hasher_;
  base::Hasher tar_hasher_;
  LayerResult result_;
  absl::Status failed_;
  std::unique_ptr<BlockWorker> worker_;  // last: stops before what it uses goes
};

}  // namespace

absl::StatusOr<std::unique_ptr<LayerApplier>> LayerApplier::Create(
    base::UniqueFd root, const LayerApplierOptions& options) {
  auto applier = std::make_unique<PipelinedApplier>(std::move(root), options);
  GANTRY_RETURN_IF_ERROR(base::Annotate(applier->Init(), "open layer directory"));
  return std::unique_ptr<LayerApplier>(std::move(applier));
}

}  // namespace gantry::services
