#include "docker/containers/service.h"

#include "docker/containers/create.h"
#include "docker/containers/inspect.h"
#include "docker/containers/logs.h"
#include "docker/containers/stats.h"
#include "docker/containers/top.h"
#include "docker/containers/wait.h"

namespace gantry::docker {

ContainerService::ContainerService(const Context& context) : context_(context) {}

void ContainerService::AddRoutes(http::Router& router) {
  auto own = [&](const char* method, const char* pattern,
                 absl::Status (ContainerService::*handler)(const ExchangePtr&),
                 const char* note = "") {
    router.Add(
        method, pattern,
        [this, handler](const ExchangePtr& exchange) { return (this->*handler)(exchange); }, note);
  };
  auto plain = [&](const char* method, const char* pattern,
                   absl::Status (*handler)(const Context&, const ExchangePtr&),
                   const char* note = "") {
    router.Add(
        method, pattern,
        [this, handler](const ExchangePtr& exchange) { return handler(context_, exchange); }, note);
  };
  plain("GET", "/containers/json", ListContainers);
  plain("POST", "/containers/create", CreateContainer,
        "but for parts of volumes, images as mounts, and GPUs");
  own("POST", "/containers/prune", &ContainerService::Prune,
      "the space that is won is not counted");
  router.Add("GET", "/containers/{name:.*}/json", [this](const ExchangePtr& exchange) {
    return InspectContainer(context_, execs_, exchange);
  });
  plain("GET", "/containers/{name:.*}/logs", ContainerLogs);
  plain("GET", "/containers/{name:.*}/top", ContainerTop, "ps_args: -ef, aux and -o lists");
  plain("GET", "/containers/{name:.*}/stats", ContainerStats);
  own("GET", "/containers/{name:.*}/attach/ws", &ContainerService::AttachWebSocket);
  own("POST", "/containers/{name:.*}/attach", &ContainerService::Attach);
  own("POST", "/containers/{name:.*}/exec", &ContainerService::ExecCreate);
  own("POST", "/containers/{name:.*}/kill", &ContainerService::Kill);
  own("POST", "/containers/{name:.*}/pause", &ContainerService::Pause);
  own("POST", "/containers/{name:.*}/unpause", &ContainerService::Unpause);
  own("POST", "/containers/{name:.*}/rename", &ContainerService::Rename);
  own("POST", "/containers/{name:.*}/resize", &ContainerService::Resize);
  own("POST", "/containers/{name:.*}/restart", &ContainerService::Restart);
  own("POST", "/containers/{name:.*}/start", &ContainerService::Start);
  own("POST", "/containers/{name:.*}/stop", &ContainerService::Stop);
  own("POST", "/containers/{name:.*}/update", &ContainerService::Update);
  plain("POST", "/containers/{name:.*}/wait", WaitContainer);
  own("DELETE", "/containers/{name:.*}", &ContainerService::Remove);
  own("POST", "/exec/{id:.*}/start", &ContainerService::ExecStart);
  own("POST", "/exec/{id:.*}/resize", &ContainerService::ExecResize);
  own("GET", "/exec/{id:.*}/json", &ContainerService::ExecInspect);
}

}  // namespace gantry::docker
