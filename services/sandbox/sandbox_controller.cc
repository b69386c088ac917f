#include "services/sandbox/sandbox_controller.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/events/sandbox.pb.h"
#include "containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "services/events/event_hub.h"
#include "services/metadata/sandbox_store.h"
#include "services/tasks/shim_manager.h"
#include "services/tasks/worker_pool.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::sandbox::v1;
namespace shim_api = containerd::runtime::sandbox::v1;
using ShimPtr = std::shared_ptr<Shim>;
using Payload = absl::StatusOr<std::string>;

constexpr char kShimService[] = "containerd.runtime.sandbox.v1.Sandbox";
constexpr char kSandboxer[] = "shim";

absl::Status CheckSandboxer(const std::string& name) {
  if (name.empty()) {
    return absl::InvalidArgumentError("sandbox controller name can not be empty");
  }
  if (name != kSandboxer) {
    return absl::NotFoundError(absl::StrCat("failed to get sandbox controller by ", name));
  }
  return absl::OkStatus();
}

absl::Duration Left(const SandboxController::Caller& caller) {
  if (caller.deadline == absl::InfiniteFuture()) return absl::InfiniteDuration();
  return std::max(caller.deadline - absl::Now(), absl::Milliseconds(1));
}

template <typename Message>
absl::StatusOr<Message> Parse(const Payload& payload) {
  if (!payload.ok()) return payload.status();
  Message message;
  if (!message.ParseFromString(*payload)) {
    return absl::InternalError("the sandbox's shim sent a malformed answer");
  }
  return message;
}

void Publish(EventHub* events, const std::string& ns, absl::string_view topic,
             const google::protobuf::Message& event) {
  if (events == nullptr) return;
  google::protobuf::Any any;
  any.set_type_url(event.GetDescriptor()->full_name());
  any.set_value(event.SerializeAsString());
  absl::Status status = events->Publish(ns, topic, any);
  if (!status.ok()) base::LogError("publish a sandbox event", {{"error", status.message()}});
}

class Controller final : public SandboxController {
 public:
  Controller(ShimManager* shims, SandboxStore* store, EventHub* events)
      : shims_(shims), store_(store), events_(events) {}

  void Create(Caller caller, api::ControllerCreateRequest request,
              Done<api::ControllerCreateResponse> done) override {
    pool_.Run([this, caller = std::move(caller), request = std::move(request),
               done = std::move(done)]() mutable { done(CreateNow(caller, request)); });
  }

  void Start(Caller caller, api::ControllerStartRequest request,
             Done<api::ControllerStartResponse> done) override {
    absl::StatusOr<ShimPtr> found = Find(caller, request);
    if (!found.ok()) return done(found.status());
    shim_api::StartSandboxRequest to;
    to.set_sandbox_id(request.sandbox_id());
    (*found)->Call(kShimService, "StartSandbox", to, Left(caller),
                   [this, shim = *found, done = std::move(done)](const Payload& payload) mutable {
                     auto started = Parse<shim_api::StartSandboxResponse>(payload);
                     if (started.ok()) {
                       Watch(shim);
                       return done(Started(*shim, *started));
                     }
                     absl::Status status = base::Annotate(
                         started.status(), absl::StrCat("failed to start sandbox ", shim->id()));
                     shims_->Remove(shim,
                                    [done = std::move(done), status]() mutable { done(status); });
                   });
  }

  void Platform(Caller caller, api::ControllerPlatformRequest request,
                Done<api::ControllerPlatformResponse> done) override {
    Forward<shim_api::PlatformRequest, shim_api::PlatformResponse>(
        caller, request, "Platform", std::move(done),
        [](const auto& from, api::ControllerPlatformResponse* to) {
          *to->mutable_platform() = from.platform();
        });
  }

  void Stop(Caller caller, api::ControllerStopRequest request,
            Done<api::ControllerStopResponse> done) override {
    absl::StatusOr<ShimPtr> shim = Find(caller, request);
    if (!shim.ok()) {
      bool gone = CheckSandboxer(request.sandboxer()).ok() && absl::IsNotFound(shim.status());
      return gone ? done(api::ControllerStopResponse()) : done(shim.status());
    }
    shim_api::StopSandboxRequest to;
    to.set_sandbox_id(request.sandbox_id());
    to.set_timeout_secs(request.timeout_secs());
    (*shim)->Call(kShimService, "StopSandbox", to, Left(caller),
                  [done = std::move(done)](const Payload& payload) mutable {
                    bool gone =
                        absl::IsNotFound(payload.status()) || absl::IsUnavailable(payload.status());
                    if (payload.ok() || gone) return done(api::ControllerStopResponse());
                    done(base::Annotate(payload.status(), "failed to stop sandbox"));
                  });
  }

  void Wait(Caller caller, api::ControllerWaitRequest request,
            Done<api::ControllerWaitResponse> done) override {
    Forward<shim_api::WaitSandboxRequest, shim_api::WaitSandboxResponse>(
        caller, request, "WaitSandbox", std::move(done),
        [](const auto& from, api::ControllerWaitResponse* to) {
          to->set_exit_status(from.exit_status());
          *to->mutable_exited_at() = from.exited_at();
        });
  }

  void Status(Caller caller, api::ControllerStatusRequest request,
              Done<api::ControllerStatusResponse> done) override;

  void Shutdown(Caller caller, api::ControllerShutdownRequest request,
                Done<api::ControllerShutdownResponse> done) override {
    absl::StatusOr<ShimPtr> found = Find(caller, request);
    if (!found.ok()) return done(found.status());
    shim_api::ShutdownSandboxRequest to;
    to.set_sandbox_id(request.sandbox_id());
    (*found)->Call(kShimService, "ShutdownSandbox", to, Left(caller),
                   [this, shim = *found, done = std::move(done)](const Payload& payload) mutable {
                     // A shim that is gone is what was asked for.
                     if (!payload.ok() && shim->connected()) {
                       return done(base::Annotate(payload.status(), "failed to shutdown sandbox"));
                     }
                     shims_->Remove(shim, [done = std::move(done)]() mutable {
                       done(api::ControllerShutdownResponse());
                     });
                   });
  }

  void Metrics(Caller caller, api::ControllerMetricsRequest request,
               Done<api::ControllerMetricsResponse> done) override {
    Forward<shim_api::SandboxMetricsRequest, shim_api::SandboxMetricsResponse>(
        caller, request, "SandboxMetrics", std::move(done),
        [](const auto& from, api::ControllerMetricsResponse* to) {
          *to->mutable_metrics() = from.metrics();
        });
  }

  void Update(Caller, api::ControllerUpdateRequest request,
              Done<api::ControllerUpdateResponse> done) override {
    absl::Status status = CheckSandboxer(request.sandboxer());
    if (!status.ok()) return done(status);
    done(absl::UnimplementedError("sandboxes of a shim cannot be updated"));
  }

  void WatchRunning() override {
    for (const ShimPtr& shim : shims_->ListAll()) {
      if (shim->of_sandbox()) Watch(shim);
    }
  }

 private:
  // Of a shim that dies, the manager of shims tells.
  void Watch(const ShimPtr& shim) const {
    shim_api::WaitSandboxRequest request;
    request.set_sandbox_id(shim->id());
    shim->Call(kShimService, "WaitSandbox", request, absl::InfiniteDuration(),
               [events = events_, ns = shim->ns(), id = shim->id()](const Payload& payload) {
                 auto ended = Parse<shim_api::WaitSandboxResponse>(payload);
                 if (!ended.ok()) return;
                 containerd::events::SandboxExit event;
                 event.set_sandbox_id(id);
                 event.set_exit_status(ended->exit_status());
                 *event.mutable_exited_at() = ended->exited_at();
                 Publish(events, ns, "/sandboxes/exit", event);
               });
  }

  template <typename Request>
  absl::StatusOr<ShimPtr> Find(const Caller& caller, const Request& request) const {
    GANTRY_RETURN_IF_ERROR(CheckSandboxer(request.sandboxer()));
    absl::StatusOr<ShimPtr> shim = shims_->Get(caller.ns, request.sandbox_id());
    if (shim.ok()) return shim;
    return absl::NotFoundError(
        absl::StrCat("unable to find sandbox \"", request.sandbox_id(), "\""));
  }

  template <typename To, typename Answer, typename Request, typename Response, typename Fill>
  void Forward(const Caller& caller, const Request& request, absl::string_view method,
               Done<Response> done, Fill fill) {
    absl::StatusOr<ShimPtr> shim = Find(caller, request);
    if (!shim.ok()) return done(shim.status());
    To to;
    to.set_sandbox_id(request.sandbox_id());
    (*shim)->Call(kShimService, method, to, Left(caller),
                  [shim = *shim, done = std::move(done),
                   fill = std::move(fill)](const Payload& payload) mutable {
                    absl::StatusOr<Answer> answer = Parse<Answer>(payload);
                    if (!answer.ok()) return done(answer.status());
                    Response response;
                    fill(*answer, &response);
                    done(std::move(response));
                  });
  }

  absl::StatusOr<api::ControllerCreateResponse> CreateNow(
      const Caller& caller, const api::ControllerCreateRequest& request);
  api::ControllerStartResponse Started(const Shim& shim,
                                       const shim_api::StartSandboxResponse& from);

  ShimManager* const shims_;
  SandboxStore* const store_;
  EventHub* const events_;
  WorkerPool pool_;
};

absl::StatusOr<api::ControllerCreateResponse> Controller::CreateNow(
    const Caller& caller, const api::ControllerCreateRequest& request) {
  GANTRY_RETURN_IF_ERROR(CheckSandboxer(request.sandboxer()));
  const std::string& id = request.sandbox_id();
  containerd::types::Sandbox sandbox = request.sandbox();
  // Older clients send the id alone.
  if (sandbox.runtime().name().empty()) {
    GANTRY_ASSIGN_OR_RETURN(sandbox, store_->Get(Context{caller.ns, ""}, id));
  }
  if (shims_->Get(caller.ns, id).ok()) {
    return absl::AlreadyExistsError(absl::StrCat("sandbox ", id, " already running"));
  }
  ShimStartRequest start;
  start.ns = caller.ns;
  start.id = id;
  start.runtime = sandbox.runtime().name();
  start.options = sandbox.runtime().options();
  start.spec = sandbox.spec();
  start.is_sandbox = true;
  start.deadline = caller.deadline;
  absl::StatusOr<ShimPtr> shim = shims_->Start(start);
  if (!shim.ok()) {
    return base::Annotate(shim.status(), absl::StrCat("failed to start new shim for sandbox ", id));
  }
  shim_api::CreateSandboxRequest to;
  to.set_sandbox_id(id);
  to.set_bundle_path((*shim)->bundle());
  *to.mutable_rootfs() = request.rootfs();
  if (request.has_options()) *to.mutable_options() = request.options();
  to.set_netns_path(request.netns_path());
  *to.mutable_annotations() = request.annotations();
  absl::Status created =
      (*shim)->CallAndWait(kShimService, "CreateSandbox", to, nullptr, Left(caller));
  if (!created.ok()) {
    shims_->Discard(*shim);
    return base::Annotate(created, absl::StrCat("failed to create sandbox ", id));
  }
  containerd::events::SandboxCreate event;
  event.set_sandbox_id(id);
  Publish(events_, caller.ns, "/sandboxes/create", event);
  api::ControllerCreateResponse response;
  response.set_sandbox_id(id);
  return response;
}

api::ControllerStartResponse Controller::Started(const Shim& shim,
                                                 const shim_api::StartSandboxResponse& from) {
  containerd::events::SandboxStart event;
  event.set_sandbox_id(shim.id());
  Publish(events_, shim.ns(), "/sandboxes/start", event);
  api::ControllerStartResponse response;
  response.set_sandbox_id(shim.id());
  response.set_pid(from.pid());
  *response.mutable_created_at() = from.created_at();
  response.set_address(absl::StrCat("ttrpc+", shim.bootstrap().address));
  response.set_version(static_cast<uint32_t>(shim.version()));
  return response;
}

void Controller::Status(Caller caller, api::ControllerStatusRequest request,
                        Done<api::ControllerStatusResponse> done) {
  absl::StatusOr<ShimPtr> found = Find(caller, request);
  if (!found.ok()) {
    if (!CheckSandboxer(request.sandboxer()).ok()) return done(found.status());
    api::ControllerStatusResponse response;
    response.set_sandbox_id(request.sandbox_id());
    base::SetTimestamp(response.mutable_exited_at(), absl::Now());
    return done(std::move(response));
  }
  shim_api::SandboxStatusRequest to;
  to.set_sandbox_id(request.sandbox_id());
  to.set_verbose(request.verbose());
  (*found)->Call(kShimService, "SandboxStatus", to, Left(caller),
                 [shim = *found, done = std::move(done)](const Payload& payload) mutable {
                   auto from = Parse<shim_api::SandboxStatusResponse>(payload);
                   if (!from.ok()) return done(from.status());
                   api::ControllerStatusResponse response;
                   response.set_sandbox_id(from->sandbox_id());
                   response.set_pid(from->pid());
                   response.set_state(from->state());
                   *response.mutable_info() = from->info();
                   *response.mutable_created_at() = from->created_at();
                   *response.mutable_exited_at() = from->exited_at();
                   *response.mutable_extra() = from->extra();
                   response.set_address(absl::StrCat("ttrpc+", shim->bootstrap().address));
                   response.set_version(static_cast<uint32_t>(shim->version()));
                   done(std::move(response));
                 });
}

}  // namespace

std::unique_ptr<SandboxController> SandboxController::Create(ShimManager* shims,
                                                             SandboxStore* store,
                                                             EventHub* events) {
  return std::make_unique<Controller>(shims, store, events);
}

}  // namespace gantry::services
