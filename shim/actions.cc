#include "shim/actions.h"

#include <linux/prctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/mount.h"
#include "base/status.h"
#include "base/ttrpc/frame.h"
#include "containerd/types/introspection.pb.h"
#include "gantry/shim/v1/bootstrap.pb.h"
#include "shim/exit_recorder.h"
#include "shim/launch.h"
#include "shim/oci/container.h"
#include "shim/runtime_options.h"

namespace gantry::shim {
namespace {

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

absl::Status RequireIdentity(const Flags& flags) {
  if (flags.ns.empty()) return absl::InvalidArgumentError("shim namespace cannot be empty");
  if (flags.id.empty() || flags.id.find('/') != std::string::npos)
    return absl::InvalidArgumentError("shim id cannot be empty or hold a slash");
  return absl::OkStatus();
}

absl::StatusOr<std::string> BundleOf(const Flags& flags) {
  if (!flags.bundle.empty()) return flags.bundle;
  std::string cwd(4096, '\0');
  if (getcwd(cwd.data(), cwd.size()) == nullptr)
    return base::ErrnoStatus(errno, "find the bundle: getcwd");
  cwd.resize(cwd.find('\0'));
  return cwd;
}

// The group's processes share a core only with one another (SCHED_CORE=1).
absl::Status SeparateCore() {
  if (Environment("SCHED_CORE").empty()) return absl::OkStatus();
  constexpr int kProcessGroup = 2;  // PR_SCHED_CORE_SCOPE_PROCESS_GROUP
  if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, kProcessGroup, 0) != 0)
    return base::ErrnoStatus(errno, "enable sched core support");
  return absl::OkStatus();
}

// Moves the shim into options.shim_cgroup: of cgroup v2, or of each v1 hierarchy.
absl::Status JoinShimCgroup(const std::string& path, pid_t pid) {
  if (path.empty()) return absl::OkStatus();
  std::string root = "/sys/fs/cgroup";
  std::vector<std::string> hierarchies = {root};
  if (!base::Exists(root + "/cgroup.procs")) {
    hierarchies.clear();
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDir(root));
    for (const std::string& name : names)
      if (base::Exists(absl::StrCat(root, "/", name, "/cgroup.procs")))
        hierarchies.push_back(absl::StrCat(root, "/", name));
  }
  for (const std::string& hierarchy : hierarchies) {
    std::string dir = absl::StrCat(hierarchy, "/", path);
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(dir, 0755));
    absl::Status joined = base::WriteFile(dir + "/cgroup.procs", absl::StrCat(pid));
    // A cpuset without CPUs takes nobody; the others are what counts.
    if (!joined.ok() && base::ErrnoOf(joined) != ENOSPC)
      return base::Annotate(joined, "join the shim's cgroup");
  }
  return absl::OkStatus();
}

std::string BootstrapText(const std::string& socket_path, bool old_daemon) {
  std::string address = "unix://" + socket_path;
  if (old_daemon) return address;
  base::Json result = {{"version", 3}, {"address", address}, {"protocol", "ttrpc"}};
  return base::DumpJson(result);
}

}  // namespace

StartInput ParseStartInput(absl::string_view input, const Flags& flags) {
  StartInput result;
  result.grpc_address = flags.address;
  result.ttrpc_address = Environment("TTRPC_ADDRESS");
  result.old_daemon = Environment("GRPC_ADDRESS").empty();
  gantry::shim::v1::BootstrapParams params;
  int size = static_cast<int>(input.size());
  if (params.ParseFromArray(input.data(), size) && params.instance_id() == flags.id &&
      params.namespace_() == flags.ns) {
    result.old_daemon = false;
    for (const auto& extension : params.extensions()) {
      if (ParseRuntimeOptions(extension.value()).ok()) result.options = extension.value();
    }
    if (!params.containerd_ttrpc_address().empty())
      result.ttrpc_address = params.containerd_ttrpc_address();
    if (result.grpc_address.empty()) result.grpc_address = params.containerd_grpc_address();
    result.socket_dir = params.socket_dir();
    return result;
  }
  // An options message of a kind we do not know is refused by Create, where clients see why.
  if (!result.options.ParseFromArray(input.data(), size)) result.options.Clear();
  return result;
}

absl::StatusOr<std::string> Start(const Flags& flags, absl::string_view input) {
  GANTRY_RETURN_IF_ERROR(RequireIdentity(flags));
  StartInput start = ParseStartInput(input, flags);
  GANTRY_ASSIGN_OR_RETURN(std::string bundle, BundleOf(flags));
  GANTRY_ASSIGN_OR_RETURN(std::string group, GroupOf(bundle, flags.id));
  ServeOptions options;
  options.socket_path = SocketPath(start.socket_dir.empty() ? kDefaultSocketDir : start.socket_dir,
                                   start.grpc_address, flags.ns, group);
  std::string text = BootstrapText(options.socket_path, start.old_daemon);
  // Daemons up to 1.7 find the shim again by this file.
  GANTRY_RETURN_IF_ERROR(
      base::ReplaceFile(bundle + "/address", "unix://" + options.socket_path, 0600));
  GANTRY_ASSIGN_OR_RETURN(options.listener, BindShimSocket(options.socket_path));
  if (!options.listener) return text;  // the group's shim lives
  std::string socket_path = options.socket_path;
  options.ns = flags.ns;
  options.bundle = bundle;
  options.ttrpc_address = start.ttrpc_address;
  options.debug = flags.debug;
  std::string shim_cgroup;
  if (auto runtime = ParseRuntimeOptions(start.options); runtime.ok())
    shim_cgroup = runtime->shim_cgroup;
  if (absl::Status separated = SeparateCore(); !separated.ok()) {
    unlink(socket_path.c_str());
    return separated;
  }
  GANTRY_ASSIGN_OR_RETURN(pid_t pid, ForkShim(std::move(options)));
  if (absl::Status joined = JoinShimCgroup(shim_cgroup, pid); !joined.ok()) {
    kill(pid, SIGKILL);
    unlink(socket_path.c_str());
    return joined;
  }
  return text;
}

absl::StatusOr<containerd::task::v2::DeleteResponse> Delete(const Flags& flags) {
  GANTRY_RETURN_IF_ERROR(RequireIdentity(flags));
  GANTRY_ASSIGN_OR_RETURN(std::string bundle, BundleOf(flags));
  oci::CreateOptions options;
  options.id = flags.id;
  options.ns = flags.ns;
  options.bundle = bundle;
  absl::Status removed = oci::Container::DeleteLeftovers(options);
  GANTRY_RETURN_IF_ERROR(base::UnmountAll(bundle + "/rootfs"));
  GANTRY_RETURN_IF_ERROR(removed);
  // What a killed shim left; one that serves a group goes on.
  std::string socket = SocketPath(kDefaultSocketDir, flags.address, flags.ns, flags.id);
  base::UniqueFd probe;
  if (base::Exists(socket) && !base::ttrpc::ConnectUnix(socket, &probe, /*wait=*/false).ok())
    unlink(socket.c_str());

  containerd::task::v2::DeleteResponse response;
  if (auto text = base::ReadFile(bundle + "/init.pid", 64); text.ok()) {
    auto pid = base::ParseDecimal(absl::StripAsciiWhitespace(*text), 0x7fffffff);
    if (pid.ok()) response.set_pid(static_cast<uint32_t>(*pid));
  }
  response.set_exit_status(128 + SIGKILL);
  absl::Time now = absl::Now();
  base::SetTimestamp(response.mutable_exited_at(), now);
  GANTRY_RETURN_IF_ERROR(RecordLostContainer(bundle, flags.ns, flags.id, response.pid(), now));
  return response;
}

absl::StatusOr<std::string> Info(absl::string_view input) {
  containerd::types::RuntimeInfo info;
  info.set_name("io.containerd.gantry.v2");
  info.mutable_version()->set_version("0.1.0");
  google::protobuf::Any options;
  if (!options.ParseFromArray(input.data(), static_cast<int>(input.size())))
    return absl::InvalidArgumentError("info: stdin holds no google.protobuf.Any");
  if (!options.type_url().empty()) *info.mutable_options() = options;
  info.mutable_features()->set_type_url(
      "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
  info.mutable_features()->set_value(oci::FeaturesJson());
  return info.SerializeAsString();
}

}  // namespace gantry::shim
