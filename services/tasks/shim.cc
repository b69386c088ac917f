#include "services/tasks/shim.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace gantry::services {

std::string Shim::TaskService() const {
  return absl::StrCat("containerd.task.v", version(), ".Task");
}

bool Shim::of_sandbox() const { return base::Exists(absl::StrCat(bundle_, "/", kSandboxMark)); }

void Shim::Call(absl::string_view service, absl::string_view method,
                const google::protobuf::MessageLite& request, absl::Duration timeout,
                Callback done) {
  client_->CallAsync(service, method, request.SerializeAsString(),
                     {{"containerd-namespace-ttrpc", ns_}}, timeout, std::move(done));
}

void Shim::CallTask(absl::string_view method, const google::protobuf::MessageLite& request,
                    absl::Duration timeout, Callback done) {
  Call(TaskService(), method, request, timeout, std::move(done));
}

absl::Status Shim::CallAndWait(absl::string_view service, absl::string_view method,
                               const google::protobuf::MessageLite& request,
                               google::protobuf::MessageLite* response, absl::Duration timeout) {
  return client_->Call(service, method, request, response, {{"containerd-namespace-ttrpc", ns_}},
                       timeout);
}

absl::Status Shim::CallTaskAndWait(absl::string_view method,
                                   const google::protobuf::MessageLite& request,
                                   google::protobuf::MessageLite* response,
                                   absl::Duration timeout) {
  return CallAndWait(TaskService(), method, request, response, timeout);
}

bool Shim::Downgrade() {
  int expected = 3;
  return version_.compare_exchange_strong(expected, 2);
}

void Shim::Close() {
  if (client_ != nullptr) client_->Close();
}

void Shim::AfterDeath(absl::AnyInvocable<void(absl::StatusOr<ShimExit>)> done) {
  {
    std::lock_guard<std::mutex> lock(death_mutex_);
    if (!death_.has_value()) {
      mourners_.push_back(std::move(done));
      return;
    }
  }
  done(*death_);
}

void Shim::ReportDeath(absl::StatusOr<ShimExit> exit) {
  std::vector<absl::AnyInvocable<void(absl::StatusOr<ShimExit>)>> mourners;
  {
    std::lock_guard<std::mutex> lock(death_mutex_);
    if (death_.has_value()) return;
    death_ = std::move(exit);
    mourners.swap(mourners_);
  }
  for (auto& mourner : mourners) mourner(*death_);
}

}  // namespace gantry::services
