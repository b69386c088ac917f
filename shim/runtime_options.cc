#include "shim/runtime_options.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "containerd/types/runc/options/oci.pb.h"

namespace gantry::shim {

absl::StatusOr<RuntimeOptions> ParseRuntimeOptions(const google::protobuf::Any& any) {
  RuntimeOptions options;
  if (any.type_url().empty() && any.value().empty()) return options;
  // With or without "type.googleapis.com/".
  std::string type = any.type_url().substr(any.type_url().rfind('/') + 1);
  if (type == "runtimeoptions.v1.Options") return options;
  if (type != "containerd.runc.v1.Options")
    return absl::InvalidArgumentError(
        absl::StrCat("runtime options of type \"", any.type_url(), "\" are not supported"));
  containerd::runc::v1::Options parsed;
  if (!parsed.ParseFromString(any.value()))
    return absl::InvalidArgumentError("runtime options: malformed containerd.runc.v1.Options");
  options.no_pivot_root = parsed.no_pivot_root();
  options.no_new_keyring = parsed.no_new_keyring();
  options.systemd_cgroup = parsed.systemd_cgroup();
  options.io_uid = parsed.io_uid();
  options.io_gid = parsed.io_gid();
  options.shim_cgroup = parsed.shim_cgroup();
  return options;
}

}  // namespace gantry::shim
