#ifndef GANTRY_DOCKER_CONTAINERS_SERVICE_H_
#define GANTRY_DOCKER_CONTAINERS_SERVICE_H_

#include <memory>

#include "docker/containers/attach.h"
#include "docker/containers/exec_records.h"
#include "docker/engine/context.h"
#include "docker/http/router.h"

namespace gantry::docker {

// The endpoints of containers and of processes in them. What it keeps between requests belongs to
// connections of this process (clients that wait for a start), or spares a call (execs).
class ContainerService {
 public:
  explicit ContainerService(const Context& context);

  // Must outlive the router.
  void AddRoutes(http::Router& router);

 private:
  using ExchangePtr = std::shared_ptr<http::Exchange>;

  // control.cc
  absl::Status Start(const ExchangePtr& exchange);
  absl::Status Stop(const ExchangePtr& exchange);
  absl::Status Restart(const ExchangePtr& exchange);
  absl::Status Kill(const ExchangePtr& exchange);
  absl::Status Pause(const ExchangePtr& exchange);
  absl::Status Unpause(const ExchangePtr& exchange);
  absl::Status Remove(const ExchangePtr& exchange);
  absl::Status Rename(const ExchangePtr& exchange);
  absl::Status Resize(const ExchangePtr& exchange);
  absl::Status Update(const ExchangePtr& exchange);
  absl::Status Prune(const ExchangePtr& exchange);

  // streams.cc
  absl::Status Attach(const ExchangePtr& exchange);
  absl::Status AttachWebSocket(const ExchangePtr& exchange);

  // exec.cc
  absl::Status ExecCreate(const ExchangePtr& exchange);
  absl::Status ExecStart(const ExchangePtr& exchange);
  absl::Status ExecInspect(const ExchangePtr& exchange);
  absl::Status ExecResize(const ExchangePtr& exchange);
  absl::StatusOr<ExecRecord> FindExec(const std::string& id);
  absl::Status StartProcess(const ExecRecord& record);
  void WatchExec(const ExecRecord& record);

  const Context& context_;
  EarlyClients early_;
  ExecRecords execs_;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_CONTAINERS_SERVICE_H_
