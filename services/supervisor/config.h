#ifndef GANTRY_SERVICES_SUPERVISOR_CONFIG_H_
#define GANTRY_SERVICES_SUPERVISOR_CONFIG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::services {

// What gantryd runs with. The file format is containerd's config.toml (versions 2 and 3), so that a
// node can be moved by pointing gantryd at the file it has; keys without a meaning here are named
// in Config::warnings and otherwise ignored. Table [gantry] holds what only gantry has.
struct Config {
  std::string root = "/var/lib/gantry";
  std::string state = "/run/gantry";

  struct Grpc {
    std::string address = "/run/gantry/gantry.sock";
    uint32_t uid = 0;
    uint32_t gid = 0;
    int max_recv_message_size = 16 << 20;  // bytes
    int max_send_message_size = 16 << 20;  // bytes
  } grpc;
  // Where shims forward their events; empty: grpc.address + ".ttrpc".
  std::string ttrpc_address;

  std::string log_level = "info";   // trace debug info warn error
  std::string log_format = "text";  // text json
  // TCP address host:port for GET /v1/metrics; empty: none.
  std::string metrics_address;

  struct Gc {
    absl::Duration startup_delay = absl::Milliseconds(100);
    absl::Duration schedule_delay = absl::ZeroDuration();
    // See GcOptions (services/gc/collector.h) for these.
    int deletion_threshold = 0;
    int mutation_threshold = 100;
    double pause_threshold = 0.02;
  } gc;
  // Of gantryd's own process; shims, and containers whose spec sets none, inherit it. 0: as it is.
  int oom_score = 0;

  // Registry hosts directory (certs.d layout).
  std::string registry_config_path = "/etc/gantry/certs.d:/etc/containerd/certs.d";
  std::string default_snapshotter = "overlayfs";

  // [proxy_plugins.NAME] of type "snapshot": NAME → socket path.
  std::map<std::string, std::string> proxy_snapshotters;

  // Runtime name → shim binary ([gantry.runtimes]). Names that are absent here are looked up as
  // containerd does. "io.containerd.runc.v2" is served by gantry-shim unless listed.
  std::map<std::string, std::string> runtimes;
  // The shim that is started for runtimes without an entry; empty: gantry-shim beside gantryd.
  std::string shim_path;
  // Whether gantry-shim is forked from a zygote (quick), or executed for each container.
  bool shim_zygote = true;

  // Sentences about keys that were read and not used.
  std::vector<std::string> warnings;
};

// Parses `text`; errors name line and key. `name` is used in messages only.
absl::StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view name);

// Reads `path` and what its `imports` list names (globs, relative to the file). A missing file is
// NotFound.
absl::StatusOr<Config> LoadConfig(const std::string& path);

// The configuration as a version 3 file.
std::string FormatConfig(const Config& config);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_CONFIG_H_
