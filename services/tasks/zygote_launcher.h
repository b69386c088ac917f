#ifndef GANTRY_SERVICES_TASKS_ZYGOTE_LAUNCHER_H_
#define GANTRY_SERVICES_TASKS_ZYGOTE_LAUNCHER_H_

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "services/tasks/shim_manager.h"

namespace gantry::services {

// Shims forked from a zygote: one `gantry-shim -zygote`, started ahead, forks a ready shim for each
// request (proto/gantry/shim/v1/zygote.proto), which costs a fraction of executing the binary.
// The shims are detached from it and from us; it ends with us, however we end.
//
// Thread-safe. Requests are sent as they come and answered in order; nobody waits for another's
// shim longer than the zygote does.
class ZygoteLauncher final : public ShimLauncher {
 public:
  struct Options {
    std::string binary;  // gantry-shim
    std::string grpc_address;
    std::string ttrpc_address;
    std::string socket_dir;  // empty: the shim's default
    bool debug = false;
    absl::Duration reply_timeout = absl::Seconds(5);
  };

  // Starts the zygote; if that fails the first Launch() tries again.
  explicit ZygoteLauncher(Options options);
  ~ZygoteLauncher() override;

  // Unavailable when there is no zygote that answers (it is started again, at most once a second):
  // execute the binary then. What the zygote says otherwise.
  absl::StatusOr<ShimBootstrap> Launch(const Request& request) override;

 private:
  struct Ticket {
    std::optional<absl::StatusOr<ShimBootstrap>> answer;
  };

  absl::Status StartLocked();
  void StopLocked();
  absl::Status SendLocked(const Request& request);
  absl::StatusOr<ShimBootstrap> Receive(int fd) const;

  const Options options_;
  std::mutex mutex_;
  std::condition_variable answered_;
  base::UniqueFd socket_;
  std::optional<base::Process> process_;
  absl::Time started_ = absl::InfinitePast();
  bool reading_ = false;  // one of the waiting threads reads for all
  std::deque<std::shared_ptr<Ticket>> pending_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_ZYGOTE_LAUNCHER_H_
