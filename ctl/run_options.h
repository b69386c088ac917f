#ifndef GANTRY_CTL_RUN_OPTIONS_H_
#define GANTRY_CTL_RUN_OPTIONS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/spec/spec.h"
#include "client/spec/user.h"
#include "ctl/args.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"

namespace gantry::ctl {

// The runtime that containers get: gantry-shim under the name that clients of containerd use.
inline constexpr char kDefaultRuntime[] = "io.containerd.runc.v2";

// -v NAME:DST[:ro].
struct NamedVolume {
  std::string name;
  std::string destination;
  bool read_only = false;
};

// What `run` and `create` were asked for.
struct RunOptions {
  std::string image;
  std::string name;
  bool detach = false;
  bool interactive = false;
  bool remove = false;
  std::string detach_keys;
  std::string user;  // empty: the image's
  std::string pull;  // missing, always, never
  std::string runtime;
  std::string snapshotter;
  std::string log_driver;
  std::string pid_file;
  std::map<std::string, std::string> labels;
  client::SpecOptions spec;  // without id and ns
  // gantryd is to keep its life up (managed_run.h); the rest is for that.
  bool managed = false;
  gantry::services::lifecycle::v1::Policy policy;
  std::vector<NamedVolume> named_volumes;
};

std::vector<Flag> RunFlags();

// InvalidArgument with the flag and what it accepts. Reads --env-file and seccomp profiles; paths
// are made absolute by the working directory.
absl::StatusOr<RunOptions> ParseRunOptions(const Arguments& args);

// Single values, as the flags of several commands take them.
absl::StatusOr<client::SpecMount> ParseVolume(absl::string_view text);  // SRC:DST[:ro]
// Whether it begins with the name of a volume and not with a path.
bool IsNamedVolume(absl::string_view text);
absl::StatusOr<client::SpecMount> ParseMount(absl::string_view text);  // type=…,src=…,dst=…,…
absl::StatusOr<client::SpecDevice> ParseDevice(absl::string_view text);
absl::StatusOr<client::Rlimit> ParseUlimit(absl::string_view text);  // nofile=1024:2048
// NAME=value as it is, NAME with the value it has here; --env-file's lines likewise.
absl::StatusOr<std::vector<std::string>> ParseEnvironment(const std::vector<std::string>& entries,
                                                          const std::vector<std::string>& files);
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(
    const std::vector<std::string>& entries);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_RUN_OPTIONS_H_
