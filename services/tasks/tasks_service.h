#ifndef GANTRY_SERVICES_TASKS_TASKS_SERVICE_H_
#define GANTRY_SERVICES_TASKS_TASKS_SERVICE_H_

#include <memory>

namespace grpc {
class Service;
}

namespace gantry::services {

class TaskManager;

// containerd.services.tasks.v1.Tasks. No call holds a thread. `tasks` must outlive the server.
std::unique_ptr<grpc::Service> MakeTasksService(TaskManager* tasks);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_TASKS_SERVICE_H_
