#include "docker/engine/rpc_loop.h"

#include <poll.h>
#include <sys/eventfd.h>

namespace gantry::docker {

RpcLoop::RpcLoop(client::Connection connection)
    : connection_(std::move(connection)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

RpcLoop::~RpcLoop() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  Post(nullptr);
  thread_.join();
}

void RpcLoop::Post(std::function<void()> function) {
  if (function) {
    absl::MutexLock lock(&mutex_);
    posted_.push_back(std::move(function));
  }
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(wake_.get(), &one, sizeof one);
}

RpcLoop::CallId RpcLoop::StartAny(Starter starter,
                                  std::shared_ptr<google::protobuf::MessageLite> response,
                                  std::function<void(const absl::Status&)> done) {
  CallId id;
  {
    absl::MutexLock lock(&mutex_);
    id = next_++;
  }
  Post([this, id, starter = std::move(starter), response = std::move(response),
        done = std::move(done)]() mutable {
    pending_.emplace(id, Pending{starter(connection_), std::move(response), std::move(done)});
  });
  return id;
}

void RpcLoop::Cancel(CallId call) {
  Post([this, call] {
    auto found = pending_.find(call);
    if (found != pending_.end()) found->second.call.Cancel();
  });
}

void RpcLoop::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (ending_) return pending_.clear();
    }
    RunPosted();
    FinishEnded();
    AwaitAnything();
  }
}

void RpcLoop::RunPosted() {
  std::vector<std::function<void()>> functions;
  {
    absl::MutexLock lock(&mutex_);
    functions.swap(posted_);
  }
  for (auto& function : functions) function();
}

void RpcLoop::FinishEnded() {
  for (auto it = pending_.begin(); it != pending_.end();) {
    if (!it->second.call.finished()) {
      ++it;
      continue;
    }
    Pending ended = std::move(it->second);
    it = pending_.erase(it);
    // Does not block: the call has ended.
    ended.done(ended.call.FinishUnary(ended.response.get()));
  }
}

void RpcLoop::AwaitAnything() {
  std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}};
  std::vector<client::rpc::Call*> callers = {nullptr};
  for (auto& [id, pending] : pending_) {
    pollfd descriptor = pending.call.descriptor();
    if (descriptor.fd < 0) return;  // it has ended meanwhile
    // All calls of a connection have the same one; a second is there after gantryd came back.
    bool known = false;
    for (pollfd& other : polled) known = known || other.fd == descriptor.fd;
    if (known) continue;
    polled.push_back(descriptor);
    callers.push_back(&pending.call);
  }
  if (poll(polled.data(), polled.size(), -1) <= 0) return;
  uint64_t count = 0;
  [[maybe_unused]] ssize_t n = read(wake_.get(), &count, sizeof count);
  for (size_t i = 1; i < polled.size(); ++i) {
    if (polled[i].revents != 0) callers[i]->Process();
  }
}

}  // namespace gantry::docker
