#ifndef GANTRY_SERVICES_TASKS_SHIM_H_
#define GANTRY_SERVICES_TASKS_SHIM_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/ttrpc/client.h"
#include "google/protobuf/message_lite.h"

namespace gantry::services {

// What `start` printed: where the shim listens and which protocol it speaks there.
struct ShimBootstrap {
  int version = 2;  // 2 or 3: containerd.task.v2.Task or v3
  std::string address;
  std::string protocol = "ttrpc";
};

// A file in the bundle of a sandbox's own shim.
inline constexpr char kSandboxMark[] = "sandbox-shim";

// How a task ended whose shim could not say so itself.
struct ShimExit {
  uint32_t pid = 0;
  uint32_t exit_status = 255;
  absl::Time exited_at;
  bool of_sandbox = false;  // the shim held a sandbox
};

// A connected shim, or rather one task's (or sandbox's) connection to it: several tasks of a pod
// have a Shim each and share the process. Thread-safe. Calls never block.
class Shim {
 public:
  Shim(std::string ns, std::string id, std::string bundle, std::string binary,
       ShimBootstrap bootstrap)
      : ns_(std::move(ns)),
        id_(std::move(id)),
        bundle_(std::move(bundle)),
        binary_(std::move(binary)),
        bootstrap_(std::move(bootstrap)),
        version_(bootstrap_.version) {}

  const std::string& ns() const { return ns_; }
  const std::string& id() const { return id_; }
  const std::string& bundle() const { return bundle_; }
  const std::string& binary() const { return binary_; }
  const ShimBootstrap& bootstrap() const { return bootstrap_; }
  int version() const { return version_; }
  // It was started for a sandbox. Looks at the bundle.
  bool of_sandbox() const;
  bool connected() const { return client_ != nullptr && client_->connected(); }

  // Set once, before others see the object.
  void set_client(std::shared_ptr<base::ttrpc::Client> client) { client_ = std::move(client); }

  using Callback = base::ttrpc::Client::Callback;
  // Calls METHOD of the task service in the shim's version. `done` runs once, on the ttrpc thread.
  // `timeout` counts from now.
  void CallTask(absl::string_view method, const google::protobuf::MessageLite& request,
                absl::Duration timeout, Callback done);
  // Any service.
  void Call(absl::string_view service, absl::string_view method,
            const google::protobuf::MessageLite& request, absl::Duration timeout, Callback done);
  // The same, blocking; worker threads only. `response` may be null.
  absl::Status CallTaskAndWait(absl::string_view method,
                               const google::protobuf::MessageLite& request,
                               google::protobuf::MessageLite* response, absl::Duration timeout);

  absl::Status CallAndWait(absl::string_view service, absl::string_view method,
                           const google::protobuf::MessageLite& request,
                           google::protobuf::MessageLite* response, absl::Duration timeout);

  // Version 3 → 2, for shims that promise more than they have. False if it is 2 already.
  bool Downgrade();
  void Close();

  // `done` gets the exit data once the clean-up after this shim's death is over; at once if it is
  // already. Unavailable when the manager ends first. Not for shims that are still connected.
  void AfterDeath(absl::AnyInvocable<void(absl::StatusOr<ShimExit>)> done);
  // By the manager, once; later calls change nothing.
  void ReportDeath(absl::StatusOr<ShimExit> exit);

 private:
  std::string TaskService() const;

  const std::string ns_;
  const std::string id_;
  const std::string bundle_;
  const std::string binary_;
  const ShimBootstrap bootstrap_;
  std::atomic<int> version_;
  std::shared_ptr<base::ttrpc::Client> client_;

  std::mutex death_mutex_;
  std::optional<absl::StatusOr<ShimExit>> death_;
  std::vector<absl::AnyInvocable<void(absl::StatusOr<ShimExit>)>> mourners_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_SHIM_H_
