#ifndef GANTRY_CLIENT_SPEC_SPEC_H_
#define GANTRY_CLIENT_SPEC_SPEC_H_

// From an image's configuration and a person's wishes to an OCI runtime specification.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "client/image.h"
#include "client/spec/user.h"

namespace gantry::client {

// The type URLs under which containerd carries the documents of the runtime specification.
inline constexpr char kSpecTypeUrl[] = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
inline constexpr char kProcessTypeUrl[] =
    "types.containerd.io/opencontainers/runtime-spec/1/Process";

struct SpecMount {
  std::string type;  // "bind", "tmpfs", …
  std::string source;
  std::string destination;
  std::vector<std::string> options;
};

struct SpecDevice {
  std::string host_path;
  std::string container_path;
  std::string access = "rwm";
};

struct Rlimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;
  uint64_t hard = 0;
};

enum class NetworkMode { kNone, kHost };
enum class SeccompMode { kDefault, kUnconfined, kProfile };

struct SpecOptions {
  std::string id;                 // container id
  std::string ns;                 // containerd namespace: cgroup path /<ns>/<id>
  std::string rootfs;             // "rootfs" in the bundle unless given
  std::vector<std::string> args;  // replaces the image's command
  std::optional<std::vector<std::string>>
      entrypoint;                // replaces the image's entrypoint and command
  std::vector<std::string> env;  // NAME=value
  std::string cwd;
  std::string hostname;  // empty: the first 12 characters of the id
  bool terminal = false;
  bool read_only = false;
  bool privileged = false;
  bool no_new_privileges = true;
  std::vector<std::string> cap_add;
  std::vector<std::string> cap_drop;
  std::vector<SpecMount> mounts;
  std::vector<SpecDevice> devices;
  std::vector<Rlimit> rlimits;
  NetworkMode network = NetworkMode::kNone;
  SeccompMode seccomp = SeccompMode::kDefault;
  base::Json seccomp_profile;  // kProfile: a linux.seccomp object
  int64_t memory_bytes = 0;    // 0: no limit
  double cpus = 0;
  int64_t cpu_shares = 0;
  int64_t pids_limit = 0;
  std::optional<int> oom_score_adj;
  bool cgroup_v2 = false;  // the host's only hierarchy is v2
  std::vector<std::pair<std::string, std::string>> annotations;
};

// InvalidArgument when there is nothing to run, or an option is malformed; the errors of stat(2)
// for devices. The user is the one resolved in the image (client/spec/user.h).
absl::StatusOr<base::Json> BuildSpec(const ImageConfig& image, const ResolvedUser& user,
                                     const SpecOptions& options);

// What a second process of the container runs as: the container's own process with other arguments.
struct ExecOptions {
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd;
  bool terminal = false;
  bool privileged = false;
  std::optional<ResolvedUser> user;
};
absl::StatusOr<base::Json> BuildExecProcess(const base::Json& container_spec,
                                            const ExecOptions& options);

// `defaults` with each NAME=value of `overrides` in the place of the same name, or appended.
std::vector<std::string> MergeEnv(std::vector<std::string> defaults,
                                  const std::vector<std::string>& overrides);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_SPEC_SPEC_H_
