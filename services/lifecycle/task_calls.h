#ifndef GANTRY_SERVICES_LIFECYCLE_TASK_CALLS_H_
#define GANTRY_SERVICES_LIFECYCLE_TASK_CALLS_H_

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/tasks/task_manager.h"

namespace gantry::services::lifecycle {

// One call of the task manager, waited for at most `timeout`. Worker threads only.
template <typename Request, typename Response>
absl::StatusOr<Response> CallTask(TaskManager* tasks, const std::string& ns,
                                  void (TaskManager::*method)(TaskCaller, Request,
                                                              TaskManager::Done<Response>),
                                  Request request, absl::Duration timeout) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
  std::future<absl::StatusOr<Response>> answer = promise->get_future();
  TaskCaller caller{.ns = ns, .deadline = absl::Now() + timeout};
  (tasks->*method)(
      std::move(caller), std::move(request),
      [promise](absl::StatusOr<Response> response) { promise->set_value(std::move(response)); });
  return answer.get();
}

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_TASK_CALLS_H_
