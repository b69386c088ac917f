#ifndef GANTRY_SHIM_ATTACH_INPUT_H_
#define GANTRY_SHIM_ATTACH_INPUT_H_

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace gantry::shim {

// The stdin of a program that several clients feed. Holds at most what one Write() brought: while
// that has not gone into the program, stalled() says that nobody should read on. Belongs to the
// loop's thread.
class AttachInput {
 public:
  // `resume` runs from the loop when stalled() is over.
  AttachInput(base::EventLoop* loop, std::function<void()> resume)
      : loop_(loop), resume_(std::move(resume)) {}
  ~AttachInput() { Drop(); }
  AttachInput(const AttachInput&) = delete;
  AttachInput& operator=(const AttachInput&) = delete;

  // Where the bytes go: non-blocking. Until then the input is stalled.
  void Open(base::UniqueFd target);
  bool stalled() const { return !given_up_ && (!target_ || !pending_.empty()); }
  // Bytes that come after the end, or for a program that has closed its stdin, go nowhere.
  void Write(absl::string_view data);
  // The program sees the end of its stdin after what was written.
  void End();
  // Nobody will read any more.
  void Drop();

 private:
  void Flush();
  void Watch(bool wanted);

  base::EventLoop* loop_;
  std::function<void()> resume_;
  base::UniqueFd target_;
  std::string pending_;
  bool watched_ = false;
  bool ending_ = false;
  bool given_up_ = false;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_ATTACH_INPUT_H_
