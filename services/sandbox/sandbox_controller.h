#ifndef GANTRY_SERVICES_SANDBOX_SANDBOX_CONTROLLER_H_
#define GANTRY_SERVICES_SANDBOX_SANDBOX_CONTROLLER_H_

// Sandboxes (pods, micro-VMs) that a shim makes by containerd's sandbox API
// (containerd.runtime.sandbox.v1.Sandbox over ttrpc). Shims without it answer Unimplemented.

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "containerd/services/sandbox/v1/sandbox.pb.h"

namespace gantry::services {

class EventHub;
class SandboxStore;
class ShimManager;

// As TaskManager: every call returns at once, `done` runs once on some thread and must not block.
class SandboxController {
 public:
  struct Caller {
    std::string ns;
    absl::Time deadline = absl::InfiniteFuture();
  };
  template <typename Response>
  using Done = absl::AnyInvocable<void(absl::StatusOr<Response>)>;

  // The arguments must outlive the controller; `events` may be null in tests.
  static std::unique_ptr<SandboxController> Create(ShimManager* shims, SandboxStore* store,
                                                   EventHub* events);
  virtual ~SandboxController() = default;

  // After a restart: publishes the exits of the sandboxes that run (each sandbox has one
  // /sandboxes/exit, whether anybody waits or not).
  virtual void WatchRunning() = 0;

#define GANTRY_SANDBOX_CALL(Name)                                                         \
  virtual void Name(Caller caller,                                                        \
                    containerd::services::sandbox::v1::Controller##Name##Request request, \
                    Done<containerd::services::sandbox::v1::Controller##Name##Response> done) = 0

  // Errors of all: InvalidArgument without a sandboxer, NotFound for one other than "shim",
  // NotFound for a sandbox without shim, else what the shim says.

  // Starts the shim that the request's sandbox (or its record) names and has it prepare the
  // sandbox. AlreadyExists when it runs; on failure nothing is left. Event /sandboxes/create.
  GANTRY_SANDBOX_CALL(Create);
  // Event /sandboxes/start. If it fails the shim is shut down.
  GANTRY_SANDBOX_CALL(Start);
  GANTRY_SANDBOX_CALL(Platform);
  // OK also when there is no such sandbox any more.
  GANTRY_SANDBOX_CALL(Stop);
  // Lasts as long as the sandbox.
  GANTRY_SANDBOX_CALL(Wait);
  // A sandbox without shim has ended: no error, exited_at is set.
  GANTRY_SANDBOX_CALL(Status);
  // Ends the shim and removes its bundle.
  GANTRY_SANDBOX_CALL(Shutdown);
  GANTRY_SANDBOX_CALL(Metrics);
  // Unimplemented: the shims' API has no such call.
  GANTRY_SANDBOX_CALL(Update);
#undef GANTRY_SANDBOX_CALL
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SANDBOX_SANDBOX_CONTROLLER_H_
