#ifndef GANTRY_SHIM_EVENTS_H_
#define GANTRY_SHIM_EVENTS_H_

#include <cstdint>
#include <deque>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/ttrpc/frame.h"
#include "base/unique_fd.h"
#include "google/protobuf/message_lite.h"

namespace gantry::shim {

// Sends task events to the supervisor: one at a time, so that their order is kept. Never blocks.
// While the supervisor cannot be reached the events wait, the oldest kMaxQueued of them gone first;
// an event that it refuses is tried five times. Belongs to the loop's thread.
class EventPublisher {
 public:
  static constexpr size_t kMaxQueued = 2048;

  // `address`: the socket of containerd's ttrpc services ("/path" or "unix:///path"); empty: events
  // are dropped.
  EventPublisher(base::EventLoop* loop, std::string address, std::string ns);
  ~EventPublisher();
  EventPublisher(const EventPublisher&) = delete;
  EventPublisher& operator=(const EventPublisher&) = delete;

  // Queues `event` (a containerd.events message) for `topic` with the time of now.
  void Publish(absl::string_view topic, const google::protobuf::MessageLite& event);

  size_t queued() const { return queue_.size(); }
  // Events wait and nobody listens: waiting for them to leave may take for ever.
  bool stuck() const { return !queue_.empty() && connect_failures_ > 0; }

 private:
  struct Item {
    std::string request;  // a serialized ttrpc Request
    int refusals = 0;
  };

  void SendNext();
  bool EnsureConnected();
  void OnSocket(uint32_t events);
  void OnAnswer(const base::ttrpc::Frame& frame);
  // The call under way failed: drop the connection and try again after `delay`.
  void Disconnect(absl::Duration delay);

  base::EventLoop* loop_;
  std::string path_;
  std::string ns_;
  std::deque<Item> queue_;  // front: the call under way, if waiting_
  bool waiting_ = false;
  uint32_t stream_ = 0;
  base::UniqueFd socket_;
  base::ttrpc::FrameReader in_;
  base::ttrpc::WriteBuffer out_;
  base::EventLoop::TimerId timer_ = 0;  // call timeout or pause before the next try
  int connect_failures_ = 0;
  bool overflowing_ = false;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_EVENTS_H_
