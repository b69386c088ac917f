#ifndef GANTRY_SHIM_PUMP_H_
#define GANTRY_SHIM_PUMP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace gantry::shim {

// Where a Pump puts bytes. Either a descriptor that may be full for a while (fd() >= 0), or
// something that takes all it is given at once and says when that should be nothing.
class Sink {
 public:
  virtual ~Sink() = default;
  // Non-blocking and pollable, or -1.
  virtual int fd() const { return -1; }
  // For sinks without a descriptor. Errors (a full disk) are the sink's own affair: the program
  // that writes must not suffer from them.
  virtual void Write(absl::string_view /*data*/) {}
  // For sinks without a descriptor: nothing more should be written before WhenRoom() has run its
  // function, which it does once, from the loop.
  virtual bool full() const { return false; }
  virtual void WhenRoom(std::function<void()> /*function*/) {}
  // The stream has ended.
  virtual void Finish() {}
};

class FdSink final : public Sink {
 public:
  // `keep` is held open as long as `fd` (the read side of a fifo: without a reader a write would
  // fail).
  explicit FdSink(base::UniqueFd fd, base::UniqueFd keep = {})
      : fd_(std::move(fd)), keep_(std::move(keep)) {}
  int fd() const override { return fd_.get(); }
  void Finish() override {
    fd_.Reset();
    keep_.Reset();
  }

 private:
  base::UniqueFd fd_;
  base::UniqueFd keep_;
};

// Gives two sinks without a descriptor the same bytes; full when either is.
class TeeSink final : public Sink {
 public:
  TeeSink(std::shared_ptr<Sink> first, std::shared_ptr<Sink> second)
      : first_(std::move(first)), second_(std::move(second)) {}
  void Write(absl::string_view data) override {
    first_->Write(data);
    second_->Write(data);
  }
  bool full() const override { return first_->full() || second_->full(); }
  // The pump looks again then, and waits for the other one if need be.
  void WhenRoom(std::function<void()> function) override {
    (first_->full() ? first_ : second_)->WhenRoom(std::move(function));
  }
  void Finish() override {
    first_->Finish();
    second_->Finish();
  }

 private:
  std::shared_ptr<Sink> first_, second_;
};

// Copies one stream until its end: by splice(2) between pipes, else through a buffer that all pumps
// share. While the sink is full nothing is read, so at most one buffer is held per stream. Belongs
// to the loop's thread.
class Pump {
 public:
  // `source` must be non-blocking and pollable. `done` runs once, from the loop, when the source
  // has ended (or either side broke) and everything was handed on; it may destroy the pump.
  Pump(base::EventLoop* loop, base::UniqueFd source, std::shared_ptr<Sink> sink,
       std::function<void()> done);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Copies what is there now without waiting for the loop.
  void Poke() { Run(); }
  // The sink takes nothing more for now; what the source holds stays there.
  bool stalled() const { return stalled_; }

 private:
  enum class Step { kMore, kSourceEmpty, kSinkFull, kEnd };
  Step Splice();
  Step ReadWrite();
  Step FlushPending();
  void Run();
  void Watch(Step why);
  void AwaitRoom();
  void End();

  base::EventLoop* loop_;
  base::UniqueFd source_;
  std::shared_ptr<Sink> sink_;
  std::function<void()> done_;
  bool splice_;
  std::string pending_;  // read and not written yet
  int watched_ = -1;     // the descriptor in the loop
  bool stalled_ = false;
  bool awaits_room_ = false;                                     // of a sink without a descriptor
  std::shared_ptr<Pump*> self_ = std::make_shared<Pump*>(this);  // held weakly by sinks
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PUMP_H_
