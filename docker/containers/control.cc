// Requests that change what a container does or is.

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "docker/containers/lookup.h"
#include "docker/containers/names.h"
#include "docker/containers/oci_spec.h"
#include "docker/containers/service.h"
#include "docker/containers/signals.h"
#include "docker/system/filters.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
namespace tasks = containerd::services::tasks::v1;
using base::Json;
using google::protobuf::Empty;
using lifecycle::LifecycleMethods;

constexpr char kResourcesType[] =
    "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

// Seconds in a query key; absent: unset.
absl::Status ReadTimeout(const http::Query& query, std::optional<int64_t>* seconds) {
  const std::string& text = query.Get("t");
  if (text.empty()) return absl::OkStatus();
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("strconv.Atoi: parsing \"", text, "\": invalid syntax"));
  }
  *seconds = value < 0 ? -1 : value;
  return absl::OkStatus();
}

// Replaces what an update names in the document's HostConfig.
void MergeUpdate(const Json& update, base::OrderedJson* host) {
  for (const auto& item : update.items()) {
    const Json& value = item.value();
    bool nothing = value.is_null() || value == Json(0) || value == Json("") ||
                   (value.is_structured() && value.empty());
    if (item.key() == "RestartPolicy" && base::JsonString(value, "Name").empty()) continue;
    if (!nothing && host->contains(item.key())) (*host)[item.key()] = base::OrderedJson(value);
  }
}

}  // namespace

absl::Status ContainerService::Start(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::StartRequest request;
  request.set_id(found.id());
  request.set_checkpoint_path(exchange->query().Get("checkpoint"));
  request.set_expect_attach(early_.Any(found.id()));
  lifecycle::StartResponse response;
  absl::Status started = context_.gantryd.Call(LifecycleMethods::kStart, request, &response);
  if (!started.ok()) {
    early_.Drop(found.id());
    return started;
  }
  early_.Started(found.id(), response.container().state().attach_path());
  exchange->ReplyEmpty(response.already() ? 304 : 204);
  return absl::OkStatus();
}

absl::Status ContainerService::Stop(const ExchangePtr& exchange) {
  std::optional<int64_t> timeout;
  GANTRY_RETURN_IF_ERROR(ReadTimeout(exchange->query(), &timeout));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::StopRequest request;
  request.set_id(found.id());
  if (timeout) request.set_timeout(*timeout);
  request.set_signal(exchange->query().Get("signal"));
  lifecycle::StopResponse response;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kStop, request, &response));
  exchange->ReplyEmpty(response.already() ? 304 : 204);
  return absl::OkStatus();
}

absl::Status ContainerService::Restart(const ExchangePtr& exchange) {
  std::optional<int64_t> timeout;
  GANTRY_RETURN_IF_ERROR(ReadTimeout(exchange->query(), &timeout));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::RestartRequest request;
  request.set_id(found.id());
  if (timeout) request.set_timeout(*timeout);
  request.set_signal(exchange->query().Get("signal"));
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kRestart, request, &nothing));
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Kill(const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  std::string text = exchange->query().Get("signal");
  GANTRY_ASSIGN_OR_RETURN(uint32_t signal, ParseSignal(text.empty() ? "KILL" : text));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, name));
  lifecycle::KillRequest request;
  request.set_id(found.id());
  request.set_signal(signal);
  Empty nothing;
  absl::Status killed = context_.gantryd.Call(LifecycleMethods::kKill, request, &nothing);
  if (absl::IsFailedPrecondition(killed)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot kill container: ", name, ": container ", found.id(), " is not running"));
  }
  GANTRY_RETURN_IF_ERROR(killed);
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Pause(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::PauseRequest request;
  request.set_id(found.id());
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kPause, request, &nothing));
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Unpause(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::ResumeRequest request;
  request.set_id(found.id());
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kResume, request, &nothing));
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Remove(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  lifecycle::RemoveRequest request;
  request.set_id(found.id());
  request.set_force(exchange->query().Bool("force"));
  request.set_volumes(exchange->query().Bool("v"));
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kRemove, request, &nothing));
  early_.Drop(found.id());
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Rename(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  std::string name(absl::StripPrefix(exchange->query().Get("name"), "/"));
  if (name.empty()) {
    return absl::InvalidArgumentError("Neither old nor new names may be empty");
  }
  if (name == found.policy().name()) {
    return absl::InvalidArgumentError(
        "Renaming a container with the same name as its current name");
  }
  GANTRY_RETURN_IF_ERROR(CheckContainerName(name));
  lifecycle::UpdateRequest request;
  request.set_id(found.id());
  request.mutable_policy()->set_name(name);
  request.add_paths("name");
  lifecycle::UpdateResponse response;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kUpdate, request, &response));
  exchange->ReplyEmpty(204);
  return absl::OkStatus();
}

absl::Status ContainerService::Resize(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(TerminalSize size, ReadTerminalSize(exchange->query()));
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(context_, exchange->Var("name")));
  if (found.state().status() != "running" && found.state().status() != "paused") {
    return absl::FailedPreconditionError(absl::StrCat("container ", found.id(), " is not running"));
  }
  tasks::ResizePtyRequest request;
  request.set_container_id(found.id());
  request.set_height(size.height);
  request.set_width(size.width);
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(tasks::TasksMethods::kResizePty, request, &nothing));
  exchange->ReplyEmpty(200);
  return absl::OkStatus();
}

absl::Status ContainerService::Update(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange->ReadJson());
  JsonObject object(body, "UpdateConfig");
  ResourceSettings changes;
  changes.Read(object);
  RestartSettings restart;
  JsonObject policy(object.At("RestartPolicy"), "RestartPolicy");
  policy.Get("Name", &restart.name);
  policy.Get("MaximumRetryCount", &restart.maximum_retry_count);
  object.Keep(policy.status());
  GANTRY_RETURN_IF_ERROR(object.status());
  GANTRY_RETURN_IF_ERROR(restart.Check());
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context_, exchange->Var("name")));
  MergeUpdate(body, &found.document.host);
  GANTRY_ASSIGN_OR_RETURN(HostConfig host, found.document.Host());
  GANTRY_RETURN_IF_ERROR(host.resources.Check());

  GANTRY_ASSIGN_OR_RETURN(Json resources, ResourcesJson(host.resources));
  if (found.running()) {
    tasks::UpdateTaskRequest update;
    update.set_container_id(found.id());
    update.mutable_resources()->set_type_url(kResourcesType);
    update.mutable_resources()->set_value(base::DumpJson(resources));
    Empty nothing;
    GANTRY_RETURN_IF_ERROR(
        base::Annotate(context_.gantryd.Call(tasks::TasksMethods::kUpdate, update, &nothing),
                       absl::StrCat("Cannot update container ", found.id())));
  }
  GANTRY_ASSIGN_OR_RETURN(Json spec, base::ParseJson(found.spec));
  resources["devices"] =
      base::JsonAt(base::JsonAt(base::JsonAt(spec, "linux"), "resources"), "devices");
  spec["linux"]["resources"] = std::move(resources);
  lifecycle::UpdateRequest request;
  request.set_id(found.id());
  request.set_spec(base::DumpJson(spec));
  (*request.mutable_extensions())[kDocumentExtension] = found.document.Serialize();
  if (!restart.name.empty()) {
    request.mutable_policy()->mutable_restart()->set_name(restart.name);
    request.mutable_policy()->mutable_restart()->set_maximum_retries(
        static_cast<uint32_t>(restart.maximum_retry_count));
    request.add_paths("restart");
  }
  lifecycle::UpdateResponse response;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kUpdate, request, &response));
  exchange->ReplyJson(200, base::OrderedJson{{"Warnings", nullptr}});
  return absl::OkStatus();
}

absl::Status ContainerService::Prune(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(Filters filters, Filters::Parse(exchange->query().Get("filters"),
                                                          {"label", "label!", "until"}));
  absl::Time until = absl::InfiniteFuture();
  for (const std::string& text : filters.Get("until")) {
    GANTRY_ASSIGN_OR_RETURN(until, ParseMoment(text, absl::Now()));
  }
  lifecycle::ListRequest list;
  list.set_all(true);
  lifecycle::ListResponse all;
  GANTRY_RETURN_IF_ERROR(context_.gantryd.Call(LifecycleMethods::kList, list, &all));
  base::OrderedJson deleted;
  for (const auto& item : all.containers()) {
    const lifecycle::Container& container = item.container();
    const std::string& status = container.state().status();
    if (status != "created" && status != "exited" && status != "dead") continue;
    if (base::GetTimestamp(container.state().created_at()) > until) continue;
    if (!filters.MatchLabels(ToMap(container.labels()))) continue;
    lifecycle::RemoveRequest request;
    request.set_id(container.id());
    Empty nothing;
    // One that was started, or removed, meanwhile is none of ours.
    if (context_.gantryd.Call(LifecycleMethods::kRemove, request, &nothing).ok()) {
      deleted.push_back(container.id());
    }
  }
  exchange->ReplyJson(200,
                      base::OrderedJson{{"ContainersDeleted", deleted}, {"SpaceReclaimed", 0}});
  return absl::OkStatus();
}

}  // namespace gantry::docker
