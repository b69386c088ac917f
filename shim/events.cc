#include "shim/events.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/services/ttrpc/events/v1/events.pb.h"
#include "gantry/ttrpc/v1/ttrpc.pb.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kCallLimit = absl::Seconds(5);
constexpr int kMaxRefusals = 5;

std::string BuildRequest(const std::string& ns, absl::string_view topic,
                         const google::protobuf::MessageLite& event) {
  containerd::services::events::ttrpc::v1::ForwardRequest forward;
  auto* envelope = forward.mutable_envelope();
  base::SetTimestamp(envelope->mutable_timestamp(), absl::Now());
  envelope->set_namespace_(ns);
  envelope->set_topic(std::string(topic));
  envelope->mutable_event()->set_type_url(event.GetTypeName());
  envelope->mutable_event()->set_value(event.SerializeAsString());

  gantry::ttrpc::v1::Request request;
  request.set_service("containerd.services.events.ttrpc.v1.Events");
  request.set_method("Forward");
  request.set_payload(forward.SerializeAsString());
  request.set_timeout_nano(absl::ToInt64Nanoseconds(kCallLimit));
  auto* metadata = request.add_metadata();
  metadata->set_key("containerd-namespace-ttrpc");
  metadata->set_value(ns);
  return request.SerializeAsString();
}

}  // namespace

EventPublisher::EventPublisher(base::EventLoop* loop, std::string address, std::string ns)
    : loop_(loop), ns_(std::move(ns)) {
  if (address.empty()) return;
  if (absl::Status valid = base::ttrpc::ParseUnixAddress(address, &path_); !valid.ok()) {
    base::LogError("events are not sent", {{"error", valid.ToString()}});
    path_.clear();
  }
}

EventPublisher::~EventPublisher() {
  if (socket_) loop_->Remove(socket_.get());
  if (timer_) loop_->Cancel(timer_);
}

void EventPublisher::Publish(absl::string_view topic, const google::protobuf::MessageLite& event) {
  if (path_.empty()) return;
  if (queue_.size() >= kMaxQueued) {
    if (!std::exchange(overflowing_, true))
      base::LogWarn("event queue is full; dropping the oldest", {{"topic", topic}});
    queue_.erase(queue_.begin() + (waiting_ ? 1 : 0));
  }
  queue_.push_back({BuildRequest(ns_, topic, event)});
  if (!timer_) SendNext();
}

bool EventPublisher::EnsureConnected() {
  if (socket_) return true;
  absl::Status connected = base::ttrpc::ConnectUnix(path_, &socket_, /*wait=*/false);
  if (connected.ok())
    connected = loop_->Add(socket_.get(), EPOLLIN, [this](uint32_t events) { OnSocket(events); });
  if (!connected.ok()) {
    socket_.Reset();
    // Said once per outage: the log fifo ends at the same supervisor.
    if (connect_failures_++ == 0)
      base::LogWarn("cannot reach the supervisor's events", {{"error", connected.ToString()}});
    return false;
  }
  connect_failures_ = 0;
  stream_ = 0xffffffffu;  // + 2 = 1
  return true;
}

void EventPublisher::SendNext() {
  if (waiting_ || queue_.empty()) return;
  if (!EnsureConnected()) {
    timer_ = loop_->After(absl::Seconds(std::min(connect_failures_, 5)), [this] {
      timer_ = 0;
      SendNext();
    });
    return;
  }
  waiting_ = true;
  stream_ += 2;
  out_.Append(base::ttrpc::EncodeFrame(stream_, base::ttrpc::kRequest, queue_.front().request));
  timer_ = loop_->After(kCallLimit, [this] {
    timer_ = 0;
    ++queue_.front().refusals;
    Disconnect(absl::ZeroDuration());
  });
  OnSocket(EPOLLOUT);
}

void EventPublisher::OnSocket(uint32_t events) {
  if (!out_.Flush(socket_.get()).ok()) return Disconnect(absl::Milliseconds(50));
  if (loop_->Modify(socket_.get(), out_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT).ok() &&
      !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
    return;
  absl::Status read = in_.ReadFrom(socket_.get());
  while (auto frame = in_.Next()) OnAnswer(*frame);
  if (!read.ok() && socket_) Disconnect(absl::Milliseconds(50));
}

void EventPublisher::OnAnswer(const base::ttrpc::Frame& frame) {
  if (!waiting_ || frame.type != base::ttrpc::kResponse || frame.stream != stream_) return;
  waiting_ = false;
  if (timer_) loop_->Cancel(std::exchange(timer_, 0));
  gantry::ttrpc::v1::Response response;
  bool good = response.ParseFromString(frame.data) && response.status().code() == 0;
  Item& item = queue_.front();
  if (good || ++item.refusals > kMaxRefusals) {
    if (!good)
      base::LogError("event dropped: the supervisor refuses it",
                     {{"error", response.status().message()}});
    queue_.pop_front();
    overflowing_ = false;
    return SendNext();
  }
  timer_ = loop_->After(absl::Seconds(item.refusals), [this] {
    timer_ = 0;
    SendNext();
  });
}

void EventPublisher::Disconnect(absl::Duration delay) {
  if (socket_) loop_->Remove(socket_.get());
  socket_.Reset();
  in_ = {};
  out_ = {};
  if (timer_) loop_->Cancel(std::exchange(timer_, 0));
  if (std::exchange(waiting_, false) && queue_.front().refusals > kMaxRefusals) {
    base::LogError("event dropped: the supervisor does not answer");
    queue_.pop_front();
  }
  if (queue_.empty()) return;
  timer_ = loop_->After(delay, [this] {
    timer_ = 0;
    SendNext();
  });
}

}  // namespace gantry::shim
