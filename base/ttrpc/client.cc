#include "base/ttrpc/client.h"

#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/frame.h"
#include "gantry/ttrpc/v1/ttrpc.pb.h"

namespace gantry::base::ttrpc {
namespace {

using ::gantry::ttrpc::v1::Request;
using ::gantry::ttrpc::v1::Response;

// Requests that the peer has not taken yet, per connection.
constexpr size_t kMaxUnsent = 32u << 20;

// The one reader thread. Never destroyed: clients in static storage may outlive everything.
class Reactor {
 public:
  static Reactor& Get() {
    static Reactor* reactor = new Reactor;
    return *reactor;
  }
  EventLoop& loop() { return loop_; }
  bool OnThread() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  Reactor() {
    // The thread takes no signals; the program's own threads do.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] {
      if (absl::Status status = loop_.Run(); !status.ok())
        LogError("ttrpc: the reader thread ended", {{"error", status.ToString()}});
    });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  EventLoop loop_;
  std::thread thread_;
};

absl::Status ClosedError() { return absl::UnavailableError("ttrpc: closed"); }

absl::StatusOr<std::string> Unwrap(const std::string& data) {
  Response response;
  if (!response.ParseFromString(data))
    return absl::InternalError("ttrpc: the peer sent a malformed response");
  if (response.status().code() == 0) return std::move(*response.mutable_payload());
  int code = response.status().code();
  if (code < 0 || code > 16) code = static_cast<int>(absl::StatusCode::kUnknown);
  return absl::Status(static_cast<absl::StatusCode>(code), response.status().message());
}

// What the client and the reader thread share. The client's destruction only closes it.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(UniqueFd fd, absl::AnyInvocable<void()> on_disconnect)
      : fd_(std::move(fd)), on_disconnect_(std::move(on_disconnect)) {}

  void Start() {
    Reactor::Get().loop().Post([self = shared_from_this()] { self->Watch(); });
  }

  void Send(Request request, absl::Duration timeout, Client::Callback done);
  // `silent`: the owner closes, so it is not told.
  void Close(bool silent);
  bool connected() {
    std::lock_guard lock(mutex_);
    return !closed_;
  }

 private:
  struct Pending {
    Client::Callback done;
    absl::Time deadline;
  };

  absl::Status SendLocked(const Request& request, Pending* pending, bool* rearm);
  void Watch();
  void OnEvents(uint32_t events);
  void OnFrame(Frame frame);
  void FlushOrClose();
  void Rearm();
  void Expire();

  std::mutex mutex_;
  UniqueFd fd_;  // reset on the reader thread only
  bool closed_ = false;
  uint32_t next_stream_ = 1;
  std::unordered_map<uint32_t, Pending> pending_;
  absl::Time armed_ = absl::InfiniteFuture();  // when the timer fires
  WriteBuffer out_;

  // Reader thread only.
  bool watching_ = false;
  FrameReader in_;
  EventLoop::TimerId timer_ = 0;
  absl::AnyInvocable<void()> on_disconnect_;
};

absl::Status Link::SendLocked(const Request& request, Pending* pending, bool* rearm) {
  if (closed_) return ClosedError();
  if (request.ByteSizeLong() > kMaxMessage)
    return absl::ResourceExhaustedError(
        absl::StrCat(request.method(), ": the request is longer than 4 MiB"));
  if (out_.size() > kMaxUnsent)
    return absl::ResourceExhaustedError(
        absl::StrCat(request.method(), ": the peer takes no requests"));
  if (next_stream_ > 0xfffffffdu)
    return absl::ResourceExhaustedError("ttrpc: out of stream ids; connect again");
  uint32_t stream = next_stream_;
  next_stream_ += 2;
  bool was_empty = out_.empty();
  out_.Append(EncodeFrame(stream, kRequest, request.SerializeAsString()));
  if (pending->deadline < armed_) {
    armed_ = pending->deadline;
    *rearm = true;
  }
  pending_.emplace(stream, std::move(*pending));
  // Usually the socket takes it at once, and the reader thread need not be woken for that.
  if (was_empty && out_.Flush(fd_.get()).ok() && out_.empty()) return absl::OkStatus();
  if (was_empty) Reactor::Get().loop().Post([self = shared_from_this()] { self->FlushOrClose(); });
  return absl::OkStatus();
}

void Link::Send(Request request, absl::Duration timeout, Client::Callback done) {
  Pending pending{std::move(done), absl::InfiniteFuture()};
  if (timeout < absl::InfiniteDuration()) {
    request.set_timeout_nano(std::max<int64_t>(1, absl::ToInt64Nanoseconds(timeout)));
    pending.deadline = absl::Now() + timeout;
  }
  bool rearm = false;
  absl::Status sent;
  {
    std::lock_guard lock(mutex_);
    sent = SendLocked(request, &pending, &rearm);
  }
  if (rearm) Reactor::Get().loop().Post([self = shared_from_this()] { self->Rearm(); });
  if (sent.ok()) return;
  // On the reader thread as every answer, so that a caller may hold its own locks here.
  Reactor::Get().loop().Post([done = std::make_shared<Client::Callback>(std::move(pending.done)),
                              sent] { (*done)(sent); });
}

void Link::Watch() {
  if (!fd_ || watching_) return;
  absl::Status added = Reactor::Get().loop().Add(
      fd_.get(), EPOLLIN, [self = shared_from_this()](uint32_t events) { self->OnEvents(events); });
  watching_ = added.ok();
  if (!watching_) {
    LogError("ttrpc: cannot watch a connection", {{"error", added.ToString()}});
    Close(false);
  }
}

void Link::OnEvents(uint32_t events) {
  if (events & EPOLLOUT) FlushOrClose();
  if (!fd_ || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  absl::Status read = in_.ReadFrom(fd_.get());
  while (std::optional<Frame> frame = in_.Next()) OnFrame(*std::move(frame));
  if (!read.ok()) Close(false);
}

void Link::OnFrame(Frame frame) {
  if (frame.type != kResponse) return;
  Client::Callback done;
  {
    std::lock_guard lock(mutex_);
    auto found = pending_.find(frame.stream);
    if (found == pending_.end()) return;  // timed out earlier
    done = std::move(found->second.done);
    pending_.erase(found);
  }
  if (frame.oversize) {
    done(absl::ResourceExhaustedError("ttrpc: the answer is longer than 4 MiB"));
  } else {
    done(Unwrap(frame.data));
  }
}

void Link::FlushOrClose() {
  bool broken = false;
  {
    std::lock_guard lock(mutex_);
    if (!fd_ || !watching_) return;
    broken = !out_.Flush(fd_.get()).ok();
    uint32_t wanted = EPOLLIN;
    if (!out_.empty()) wanted |= EPOLLOUT;
    if (!broken) (void)Reactor::Get().loop().Modify(fd_.get(), wanted);
  }
  if (broken) Close(false);
}

void Link::Rearm() {
  absl::Time next = absl::InfiniteFuture();
  {
    std::lock_guard lock(mutex_);
    for (const auto& [stream, pending] : pending_) next = std::min(next, pending.deadline);
    armed_ = next;
  }
  EventLoop& loop = Reactor::Get().loop();
  if (timer_) loop.Cancel(std::exchange(timer_, 0));
  if (next < absl::InfiniteFuture())
    timer_ = loop.After(next - absl::Now(), [self = shared_from_this()] { self->Expire(); });
}

void Link::Expire() {
  timer_ = 0;
  std::vector<Client::Callback> late;
  {
    std::lock_guard lock(mutex_);
    absl::Time now = absl::Now();
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (it->second.deadline <= now) {
        late.push_back(std::move(it->second.done));
        it = pending_.erase(it);
      } else {
        ++it;
      }
    }
  }
  for (Client::Callback& done : late)
    done(absl::DeadlineExceededError("ttrpc: context deadline exceeded"));
  Rearm();
}

void Link::Close(bool silent) {
  std::unordered_map<uint32_t, Pending> orphans;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    orphans.swap(pending_);
  }
  auto finish = [self = shared_from_this(), silent,
                 orphans = std::make_shared<decltype(orphans)>(std::move(orphans))] {
    EventLoop& loop = Reactor::Get().loop();
    if (self->watching_) loop.Remove(self->fd_.get());
    self->watching_ = false;
    if (self->timer_) loop.Cancel(std::exchange(self->timer_, 0));
    {
      std::lock_guard lock(self->mutex_);
      self->fd_.Reset();
    }
    for (auto& [stream, pending] : *orphans) pending.done(ClosedError());
    auto notify = std::exchange(self->on_disconnect_, nullptr);
    if (notify && !silent) notify();
  };
  if (Reactor::Get().OnThread()) {
    finish();
  } else {
    Reactor::Get().loop().Post(std::move(finish));
  }
}

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  ~ClientImpl() override { link_->Close(/*silent=*/true); }

  void CallAsync(absl::string_view service, absl::string_view method, std::string payload,
                 const Metadata& metadata, absl::Duration timeout, Callback done) override {
    Request request;
    request.set_service(std::string(service));
    request.set_method(std::string(method));
    request.set_payload(std::move(payload));
    for (const auto& [key, value] : metadata) {
      auto* entry = request.add_metadata();
      entry->set_key(key);
      entry->set_value(value);
    }
    link_->Send(std::move(request), timeout, std::move(done));
  }

  void Close() override { link_->Close(/*silent=*/true); }
  bool connected() const override { return link_->connected(); }

 private:
  std::shared_ptr<Link> link_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Client>> Client::Connect(absl::string_view address,
                                                        absl::AnyInvocable<void()> on_disconnect) {
  std::string path;
  GANTRY_RETURN_IF_ERROR(ParseUnixAddress(address, &path));
  UniqueFd fd;
  GANTRY_RETURN_IF_ERROR(ConnectUnix(path, &fd));
  auto link = std::make_shared<Link>(std::move(fd), std::move(on_disconnect));
  link->Start();
  return std::make_shared<ClientImpl>(std::move(link));
}

absl::Status Client::Call(absl::string_view service, absl::string_view method,
                          const google::protobuf::MessageLite& request,
                          google::protobuf::MessageLite* response, const Metadata& metadata,
                          absl::Duration timeout) {
  if (Reactor::Get().OnThread())
    return absl::InternalError("ttrpc: Call() on the reader thread would wait for itself");
  struct Outcome {
    absl::Notification done;
    absl::StatusOr<std::string> result = absl::UnknownError("no answer");
  };
  auto outcome = std::make_shared<Outcome>();
  CallAsync(service, method, request.SerializeAsString(), metadata, timeout,
            [outcome](absl::StatusOr<std::string> result) {
              outcome->result = std::move(result);
              outcome->done.Notify();
            });
  outcome->done.WaitForNotification();
  if (!outcome->result.ok()) return outcome->result.status();
  if (response && !response->ParseFromString(*outcome->result))
    return absl::InternalError(absl::StrCat(method, ": the peer sent a malformed answer"));
  return absl::OkStatus();
}

}  // namespace gantry::base::ttrpc
