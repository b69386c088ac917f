#ifndef GANTRY_SHIM_SANDBOX_SERVICE_H_
#define GANTRY_SHIM_SANDBOX_SERVICE_H_

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/ttrpc/server.h"
#include "containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "shim/pause.h"

namespace gantry::shim {

namespace sandbox_api = ::containerd::runtime::sandbox::v1;

// What BUNDLE/config.json asks for: `linux.namespaces` (without any: ipc, uts, net and pid are
// new), `hostname`, `linux.sysctl`. A bundle without config.json has the defaults. `netns_path`
// replaces the network namespace. Unimplemented for user and time namespaces.
absl::StatusOr<PausePlan> PlanSandbox(const std::string& bundle, const std::string& netns_path);

// The service containerd.runtime.sandbox.v1.Sandbox: one sandbox per shim. Its namespaces are held
// by a pause process from Start on; containers come by the task service of the same shim and join
// them by /proc/PID/ns. Belongs to the loop's thread.
class SandboxService {
 public:
  // `containers` counts those of the task service; `on_shutdown` runs when a client has shut the
  // sandbox down and the answer was queued.
  SandboxService(base::EventLoop* loop, std::function<size_t()> containers,
                 std::function<void()> on_shutdown);

  void Handle(const std::shared_ptr<base::ttrpc::Call>& call);
  // A child of the shim ended. True if it was the pause process.
  bool OnChildExit(pid_t pid, int wait_status, absl::Time at);
  // There is a sandbox that was not shut down: the shim has to stay.
  bool present() const { return state_ != State::kNone; }

 private:
  using CallPtr = std::shared_ptr<base::ttrpc::Call>;
  enum class State { kNone, kCreated, kReady, kExited };

  absl::Status Check(const std::string& id) const;
  absl::Status Create(const sandbox_api::CreateSandboxRequest& request,
                      sandbox_api::CreateSandboxResponse* response);
  absl::Status Start(const sandbox_api::StartSandboxRequest& request,
                     sandbox_api::StartSandboxResponse* response);
  absl::Status Platform(const sandbox_api::PlatformRequest& request,
                        sandbox_api::PlatformResponse* response);
  absl::Status Status(const sandbox_api::SandboxStatusRequest& request,
                      sandbox_api::SandboxStatusResponse* response);
  absl::Status Ping(const sandbox_api::PingRequest& request, sandbox_api::PingResponse* response);
  absl::Status Metrics(const sandbox_api::SandboxMetricsRequest& request,
                       sandbox_api::SandboxMetricsResponse* response);
  void Stop(const CallPtr& call);
  void Wait(const CallPtr& call);
  void Shutdown(const CallPtr& call);

  template <typename Request>
  bool Parse(const CallPtr& call, Request* request) const;
  template <typename Request, typename Response>
  void Unary(const CallPtr& call,
             absl::Status (SandboxService::*method)(const Request&, Response*));
  void End();
  // Runs `function` when the pause process has ended: at once if there is none.
  void WhenEnded(std::function<void()> function);

  base::EventLoop* loop_;
  std::function<size_t()> containers_;
  std::function<void()> on_shutdown_;
  std::map<absl::string_view, std::function<void(const CallPtr&)>> methods_;

  State state_ = State::kNone;
  std::string id_;
  PausePlan plan_;
  PauseProcess pause_;
  absl::Time created_at_, exited_at_;
  uint32_t exit_status_ = 0;
  std::vector<std::function<void()>> ended_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SANDBOX_SERVICE_H_
