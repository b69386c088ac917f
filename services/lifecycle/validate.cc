#include "services/lifecycle/validate.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/lifecycle/health.h"
#include "services/lifecycle/records.h"
#include "services/lifecycle/restart.h"
#include "services/lifecycle/signals.h"

namespace gantry::services::lifecycle {
namespace {

constexpr size_t kNameLimit = 255;
constexpr int kItemLimit = 4096;  // of each list of a policy

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
}

absl::Status CheckNetworkMode(const v1::Policy& policy) {
  const std::string& mode = policy.network_mode();
  if (mode == "container") {
    if (policy.network_container().empty())
      return absl::InvalidArgumentError("network mode container needs the container's id");
    return absl::OkStatus();
  }
  if (mode.empty() || mode == "none" || mode == "host" || mode == "networks") {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("invalid network mode: ", mode));
}

}  // namespace

absl::Status CheckName(absl::string_view name) {
  if (name.empty()) return absl::OkStatus();
  const bool good = name.size() >= 2 && name.size() <= kNameLimit &&
                    absl::ascii_isalnum(static_cast<unsigned char>(name[0])) &&
                    std::all_of(name.begin(), name.end(), IsNameByte);
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Invalid container name (", name,
                                                 "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
}

absl::Status CheckPolicy(const v1::Policy& policy) {
  GANTRY_RETURN_IF_ERROR(CheckName(policy.name()));
  GANTRY_RETURN_IF_ERROR(CheckRestartPolicy(policy));
  GANTRY_RETURN_IF_ERROR(CheckNetworkMode(policy));
  if (policy.has_health()) GANTRY_RETURN_IF_ERROR(CheckHealthCheck(policy.health()));
  if (!policy.stop_signal().empty())
    GANTRY_RETURN_IF_ERROR(ParseSignal(policy.stop_signal()).status());
  for (const auto& [type, container] : policy.join_namespaces()) {
    if (type != "ipc" && type != "pid" && type != "uts") {
      return absl::InvalidArgumentError(
          absl::StrCat("namespaces of type \"", type, "\" cannot be joined"));
    }
  }
  for (const auto& [key, value] : policy.sysctls()) {
    if (!absl::StartsWith(key, "net."))
      return absl::InvalidArgumentError(absl::StrCat("sysctl ", key, " is not of the network"));
  }
  for (int size : {policy.volumes_size(), policy.endpoints_size(), policy.extra_hosts_size()}) {
    if (size > kItemLimit) return absl::InvalidArgumentError("a list of the policy is too long");
  }
  return absl::OkStatus();
}

absl::Status CheckCreate(const v1::CreateRequest& request) {
  GANTRY_RETURN_IF_ERROR(base::Annotate(base::ValidateIdentifier(request.id()), "container.ID"));
  for (const auto& [key, value] : request.extensions()) {
    if (key.empty() || key == kExtension) {
      return absl::InvalidArgumentError(absl::StrCat("invalid extension \"", key, "\""));
    }
  }
  return CheckPolicy(request.policy());
}

}  // namespace gantry::services::lifecycle
