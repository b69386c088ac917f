#include "shim/attach_input.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.h"

namespace gantry::shim {

void AttachInput::Open(base::UniqueFd target) {
  if (given_up_) return;
  target_ = std::move(target);
  Flush();
  if (!stalled()) resume_();
}

void AttachInput::Write(absl::string_view data) {
  if (given_up_ || ending_) return;
  pending_.append(data.data(), data.size());
  Flush();
}

void AttachInput::End() {
  ending_ = true;
  if (target_) Flush();
}

void AttachInput::Drop() {
  Watch(false);
  target_.Reset();
  std::string().swap(pending_);
  given_up_ = true;
}

void AttachInput::Flush() {
  while (target_ && !pending_.empty()) {
    ssize_t n = ::write(target_.get(), pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return Watch(true);
    if (n < 0) return Drop();  // EPIPE: the program has closed its stdin
    pending_.erase(0, static_cast<size_t>(n));
  }
  if (!target_) return;
  Watch(false);
  std::string().swap(pending_);
  if (ending_) Drop();
}

void AttachInput::Watch(bool wanted) {
  if (wanted == watched_) return;
  watched_ = wanted;
  if (!wanted) return loop_->Remove(target_.get());
  absl::Status added = loop_->Add(target_.get(), EPOLLOUT, [this](uint32_t) {
    Flush();
    if (!stalled()) resume_();
  });
  if (added.ok()) return;
  watched_ = false;
  base::LogError("stdin is lost: cannot watch it", {{"error", added.ToString()}});
  Drop();
}

}  // namespace gantry::shim
