#include "client/rpc/channel.h"

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::client::rpc {
namespace {

absl::Status Explain(const std::string& path, const absl::Status& status) {
  switch (base::ErrnoOf(status)) {
    case ENOENT:
      return absl::UnavailableError(
          absl::StrCat("no daemon at ", path,
                       ": the socket does not exist; start it (systemctl start gantryd, or run "
                       "gantryd as root), or name another socket with --address"));
    case ECONNREFUSED:
      return absl::UnavailableError(
          absl::StrCat("the daemon of ", path,
                       " is not running (the socket is a leftover); start it: systemctl start "
                       "gantryd, or run gantryd as root"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat("no permission to use ", path, ": run this command as root"));
    case EAGAIN:
      return absl::UnavailableError(
          absl::StrCat("the daemon of ", path, " accepts no connections; does it hang?"));
    default:
      return status;
  }
}

}  // namespace

Channel::Channel(base::UniqueFd connected)
    : transport_(std::make_shared<Transport>(std::move(connected))) {}

absl::StatusOr<std::shared_ptr<Transport>> Channel::Connected() {
  absl::MutexLock lock(&mutex_);
  // A lost connection that cannot be made anew tells its calls so by itself.
  if (transport_ != nullptr && (path_.empty() || transport_->Usable())) return transport_;
  auto made = Transport::Connect(path_);
  if (!made.ok()) return Explain(path_, made.status());
  transport_ = *std::move(made);
  return transport_;
}

Call Channel::Start(const CallHead& head, const google::protobuf::MessageLite* only) {
  auto transport = Connected();
  return transport.ok() ? Call(*std::move(transport), head, only) : Call(transport.status());
}

}  // namespace gantry::client::rpc
