#include "services/tasks/zygote_launcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "gantry/shim/v1/zygote.pb.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxPacket = 64u << 10;
constexpr int kZygoteFd = 3;

absl::Status Broken(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("the shim zygote ", what));
}

}  // namespace

ZygoteLauncher::ZygoteLauncher(Options options) : options_(std::move(options)) {
  std::lock_guard<std::mutex> lock(mutex_);
  absl::Status started = StartLocked();
  if (!started.ok()) base::LogWarn("start the shim zygote", {{"error", started.message()}});
}

ZygoteLauncher::~ZygoteLauncher() {
  std::lock_guard<std::mutex> lock(mutex_);
  StopLocked();
}

absl::Status ZygoteLauncher::StartLocked() {
  if (absl::Now() - started_ < absl::Seconds(1)) return Broken("ended a moment ago");
  started_ = absl::Now();
  StopLocked();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  base::UniqueFd ours(pair[0]);
  base::UniqueFd theirs(pair[1]);
  base::SpawnOptions spawn;
  spawn.argv = {options_.binary, "-zygote"};
  spawn.cwd = std::string("/");
  spawn.fds = {{kZygoteFd, theirs.get()}};
  spawn.new_process_group = true;
  GANTRY_ASSIGN_OR_RETURN(base::Process process, base::Process::Spawn(spawn));
  process_.emplace(std::move(process));
  socket_ = std::move(ours);
  return absl::OkStatus();
}

// It ends when its socket closes; one that does not is killed, so that it can be reaped.
void ZygoteLauncher::StopLocked() {
  socket_.Reset();
  if (!process_.has_value()) return;
  if (!process_->Wait(absl::Milliseconds(500)).ok()) {
    process_->Signal(SIGKILL).IgnoreError();
    process_->Wait(absl::Seconds(5)).IgnoreError();
  }
  process_.reset();
}

absl::Status ZygoteLauncher::SendLocked(const Request& request) {
  gantry::shim::v1::SpawnRequest packet;
  packet.set_namespace_(request.ns);
  packet.set_id(request.id);
  packet.set_group(request.group);
  packet.set_bundle(request.bundle);
  packet.set_grpc_address(options_.grpc_address);
  packet.set_ttrpc_address(options_.ttrpc_address);
  packet.set_socket_dir(options_.socket_dir);
  packet.set_debug(options_.debug);
  std::string bytes = packet.SerializeAsString();
  ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  return Broken("takes no requests");
}

absl::StatusOr<ShimBootstrap> ZygoteLauncher::Receive(int fd) const {
  pollfd poll_fd = {fd, POLLIN, 0};
  int ready;
  do {
    ready = poll(&poll_fd, 1, static_cast<int>(absl::ToInt64Milliseconds(options_.reply_timeout)));
  } while (ready < 0 && errno == EINTR);
  if (ready <= 0) return Broken("does not answer");
  std::string bytes(kMaxPacket, '\0');
  ssize_t n = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n <= 0) return Broken("is gone");
  gantry::shim::v1::SpawnReply reply;
  if (!reply.ParseFromArray(bytes.data(), static_cast<int>(n))) return Broken("talks nonsense");
  if (reply.code() != 0) {
    return absl::Status(static_cast<absl::StatusCode>(reply.code()), reply.error());
  }
  return ShimBootstrap{3, reply.address(), "ttrpc"};
}

absl::StatusOr<ShimBootstrap> ZygoteLauncher::Launch(const Request& request) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!socket_)
    GANTRY_RETURN_IF_ERROR(base::WithCode(StartLocked(), absl::StatusCode::kUnavailable));
  absl::Status sent = SendLocked(request);
  if (!sent.ok()) {
    if (pending_.empty() && !reading_) StopLocked();
    return sent;
  }
  auto ticket = std::make_shared<Ticket>();
  pending_.push_back(ticket);
  while (!ticket->answer.has_value()) {
    if (reading_) {
      answered_.wait(lock);
      continue;
    }
    reading_ = true;
    int fd = socket_.get();
    lock.unlock();
    absl::StatusOr<ShimBootstrap> answer = Receive(fd);
    lock.lock();
    reading_ = false;
    if (absl::IsUnavailable(answer.status())) {
      // Nobody can know any more whose answer would be next.
      for (const auto& waiting : pending_) waiting->answer = answer.status();
      pending_.clear();
      StopLocked();
    } else {
      pending_.front()->answer = std::move(answer);
      pending_.pop_front();
    }
    answered_.notify_all();
  }
  return *std::move(ticket->answer);
}

}  // namespace gantry::services
