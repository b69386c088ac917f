#include "shim/pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace gantry::shim {
namespace {

// Steps before other descriptors get their turn.
constexpr int kBurst = 16;
constexpr size_t kSpliceSize = 1u << 20;

// Shared by all pumps and untouched until the first copy: an idle shim does not pay for it.
char g_buffer[16 * 1024];

}  // namespace

Pump::Pump(base::EventLoop* loop, base::UniqueFd source, std::shared_ptr<Sink> sink,
           std::function<void()> done)
    : loop_(loop),
      source_(std::move(source)),
      sink_(std::move(sink)),
      done_(std::move(done)),
      splice_(sink_->fd() >= 0) {
  Watch(Step::kSourceEmpty);
}

Pump::~Pump() {
  if (watched_ >= 0) loop_->Remove(watched_);
}

Pump::Step Pump::Splice() {
  ssize_t n = splice(source_.get(), nullptr, sink_->fd(), nullptr, kSpliceSize,
                     SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (n > 0) return Step::kMore;
  if (n == 0) return Step::kEnd;
  if (errno == EINTR) return Step::kMore;
  if (errno == EAGAIN) {
    // Which side? The sink has room unless poll says otherwise.
    pollfd room{sink_->fd(), POLLOUT, 0};
    bool full = poll(&room, 1, 0) >= 0 && !(room.revents & (POLLOUT | POLLERR));
    if (!full) return Step::kSourceEmpty;
    return Step::kSinkFull;
  }
  if (errno == EINVAL) {  // not both are pipes
    splice_ = false;
    return Step::kMore;
  }
  return Step::kEnd;  // EPIPE: the program has closed its stdin
}

Pump::Step Pump::FlushPending() {
  while (!pending_.empty()) {
    ssize_t n = ::write(sink_->fd(), pending_.data(), pending_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? Step::kSinkFull : Step::kEnd;
    pending_.erase(0, static_cast<size_t>(n));
  }
  std::string().swap(pending_);
  return Step::kMore;
}

Pump::Step Pump::ReadWrite() {
  if (sink_->fd() < 0 && sink_->full()) return Step::kSinkFull;
  ssize_t n = ::read(source_.get(), g_buffer, sizeof g_buffer);
  if (n < 0 && errno == EINTR) return Step::kMore;
  if (n < 0 && errno == EAGAIN) return Step::kSourceEmpty;
  // A pty's master gives EIO when the last slave is closed.
  if (n <= 0) return Step::kEnd;
  if (sink_->fd() < 0) {
    sink_->Write({g_buffer, static_cast<size_t>(n)});
    return Step::kMore;
  }
  pending_.assign(g_buffer, static_cast<size_t>(n));
  return Step::kMore;
}

void Pump::Run() {
  for (int i = 0; i < kBurst; ++i) {
    Step step = FlushPending();
    if (step == Step::kMore) step = splice_ ? Splice() : ReadWrite();
    if (step == Step::kMore) continue;
    if (step == Step::kEnd) return End();
    return Watch(step);
  }
  Watch(pending_.empty() ? Step::kSourceEmpty : Step::kSinkFull);
}

// Exactly one side is in the loop at a time: a source whose writers have gone would report EPOLLHUP
// for ever while the sink is full.
void Pump::Watch(Step why) {
  stalled_ = why == Step::kSinkFull;
  int wanted = stalled_ ? sink_->fd() : source_.get();
  if (stalled_ && wanted < 0) AwaitRoom();
  if (wanted == watched_) return;
  if (watched_ >= 0) loop_->Remove(watched_);
  watched_ = wanted;
  if (wanted < 0) return;
  uint32_t events = why == Step::kSinkFull ? EPOLLOUT : EPOLLIN;
  absl::Status added = loop_->Add(wanted, events, [this](uint32_t) { Run(); });
  if (!added.ok()) {
    watched_ = -1;
    base::LogError("stdio is lost: cannot watch it", {{"error", added.ToString()}});
    loop_->After(absl::ZeroDuration(), [done = std::exchange(done_, nullptr)] {
      if (done) done();
    });
  }
}

void Pump::AwaitRoom() {
  if (std::exchange(awaits_room_, true)) return;
  sink_->WhenRoom([weak = std::weak_ptr<Pump*>(self_)] {
    auto self = weak.lock();
    if (!self) return;
    (*self)->awaits_room_ = false;
    (*self)->Run();
  });
}

void Pump::End() {
  stalled_ = false;
  if (watched_ >= 0) loop_->Remove(std::exchange(watched_, -1));
  source_.Reset();
  sink_->Finish();
  if (auto done = std::exchange(done_, nullptr)) done();
}

}  // namespace gantry::shim
