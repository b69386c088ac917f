#ifndef GANTRY_SERVICES_TASKS_SHIM_MANAGER_H_
#define GANTRY_SERVICES_TASKS_SHIM_MANAGER_H_

// The processes that hold the containers: started by the binary protocol of containerd's runtime
// v2, found again after a restart of the supervisor, cleaned up after when they die.
//
// A bundle <state>/<ns>/<id> (0700) holds config.json, rootfs/, the fifo `log`, bootstrap.json,
// shim-binary-path and, for shims that are not ours, work -> <root>/<ns>/<id>: all that a restart
// needs. Nothing of it is synced; a reboot ends containers anyway.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "containerd/types/introspection.pb.h"
#include "google/protobuf/any.pb.h"
#include "services/tasks/shim.h"

namespace gantry::services {

struct ShimManagerOptions {
  std::string root;            // persistent, <root>/io.containerd.runtime.v2.task
  std::string state;           // gone after a reboot, <state>/io.containerd.runtime.v2.task
  std::string grpc_address;    // path of our gRPC socket, handed to shims
  std::string ttrpc_address;   // where shims send events; empty: grpc_address + ".ttrpc"
  std::string publish_binary;  // argument -publish-binary; empty: our own executable
  // Where shims of the launchers listen: LoadAll() ends those that no bundle knows. Empty: nowhere.
  std::string socket_dir;
  // Our own shim. A shim of this binary needs no `delete` action after a task that ended normally,
  // and may come from a pool. Empty: there is none, everything is foreign.
  std::string gantry_shim;
  // Fork shims of gantry_shim from a zygote that is started ahead, instead of executing it for
  // each.
  bool zygote = true;
  // Runtime name → absolute path of a binary, or another runtime name. Clients send
  // "io.containerd.runc.v2" unless told otherwise, so mapping it to gantry_shim makes that the
  // default; without an entry the name is resolved to containerd-shim-runc-v2.
  std::map<std::string, std::string> runtimes;
  std::vector<std::string> shim_env;  // NAME=value, added to every shim's environment
  bool debug = false;                 // -debug
  absl::Duration load_timeout = absl::Seconds(5);
  absl::Duration cleanup_timeout = absl::Seconds(5);
  absl::Duration shutdown_timeout = absl::Seconds(3);
  absl::Duration start_timeout = absl::Minutes(2);  // when the client set no deadline
};

struct ShimStartRequest {
  std::string ns;
  std::string id;
  std::string runtime;            // name or absolute path, as the client gave it
  google::protobuf::Any options;  // stdin of `start`; empty type_url: none
  google::protobuf::Any spec;     // the OCI document; empty: no config.json
  std::string sandbox_id;         // join this sandbox's shim if it can (version 3)
  bool is_sandbox = false;        // a shim for a sandbox: kept while it holds no task
  absl::Time deadline = absl::InfiniteFuture();
};

// Makes shims out of a bundle. The seam between "execute the binary" and "take one from the pool".
class ShimLauncher {
 public:
  struct Request {
    std::string ns;
    std::string id;
    std::string bundle;  // directory, complete
    std::string binary;  // absolute path
    std::string group;   // of the spec's annotations: containers that share a shim; usually empty
    google::protobuf::Any options;
    absl::Time deadline;
  };
  virtual ~ShimLauncher() = default;
  // Blocks until the shim listens. The error's message is what the shim said; Unavailable makes the
  // manager execute the binary instead.
  virtual absl::StatusOr<ShimBootstrap> Launch(const Request& request) = 0;
};

class ShimManager {
 public:
  // Told, on a worker thread, of each shim that vanished while its task was known: after the
  // `delete` action ran and the bundle is gone. Not told of tasks that were deleted normally.
  using DeadShimCallback =
      std::function<void(const std::string& ns, const std::string& id, const ShimExit& exit)>;

  static absl::StatusOr<std::unique_ptr<ShimManager>> Create(ShimManagerOptions options);
  virtual ~ShimManager() = default;  // leaves all shims running

  virtual void OnDeadShim(DeadShimCallback callback) = 0;  // before LoadAll() and Start()
  // Told, on a worker thread, of each bundle of a task that ended, before the bundle is removed.
  using LastLookCallback =
      std::function<void(const std::string& ns, const std::string& id, const std::string& bundle)>;
  virtual void OnLastLook(LastLookCallback callback) = 0;  // before LoadAll() and Start()
  // Shims of `binary` come from `launcher` from now on instead of its `start` action.
  virtual void SetLauncher(std::string binary, std::unique_ptr<ShimLauncher> launcher) = 0;

  // Once, before requests are served: connects to the shim of every bundle (all at once, each
  // within load_timeout), cleans up after those that cannot be reached or hold nothing.
  virtual absl::Status LoadAll() = 0;

  // Makes the bundle and starts its shim; blocks (worker threads only). AlreadyExists if the id is
  // taken, InvalidArgument for a bad id, Unimplemented for a protocol or version that we do not
  // speak, DeadlineExceeded, Unknown with the cause or the shim's words otherwise (also for a
  // runtime that is not installed, as in containerd). On failure nothing is left behind.
  virtual absl::StatusOr<std::shared_ptr<Shim>> Start(const ShimStartRequest& request) = 0;

  // NotFound if there is none (also while it is being started).
  virtual absl::StatusOr<std::shared_ptr<Shim>> Get(const std::string& ns,
                                                    const std::string& id) const = 0;
  virtual std::vector<std::shared_ptr<Shim>> List(const std::string& ns) const = 0;
  virtual std::vector<std::shared_ptr<Shim>> ListAll() const = 0;

  // After the shim answered Delete: forgets it, has it shut down and removes the bundle. `done`
  // runs when the id may be used again. No event is published.
  virtual void Remove(std::shared_ptr<Shim> shim, absl::AnyInvocable<void()> done) = 0;
  // Undo of a Start() whose task could not be created; blocks until the shim was shut down, the
  // `delete` action has run and the bundle is gone, in bounded time.
  virtual void Discard(std::shared_ptr<Shim> shim) = 0;
  // The binary that `runtime` means (the rules of ShimManagerOptions::runtimes, then containerd's).
  virtual absl::StatusOr<std::string> ResolveRuntime(const std::string& runtime) = 0;
  // What `-info` of the runtime's binary says. Executes it: blocks.
  virtual absl::StatusOr<containerd::types::RuntimeInfo> RuntimeInfo(
      const std::string& runtime, const google::protobuf::Any& options) = 0;
};

// The answer to introspection's PluginInfo for io.containerd.runtime.v2 "task": `options` packs a
// containerd.types.RuntimeRequest (InvalidArgument otherwise), the result a RuntimeInfo. Blocks.
absl::StatusOr<google::protobuf::Any> RuntimePluginInfo(ShimManager* shims,
                                                        const google::protobuf::Any& options);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_SHIM_MANAGER_H_
