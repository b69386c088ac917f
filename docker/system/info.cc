#include "docker/system/info.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "containerd/services/version/v1/version.methods.h"
#include "docker/images/image_store.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
using base::OrderedJson;
using ExchangePtr = std::shared_ptr<http::Exchange>;

constexpr char kRootDir[] = "/var/lib/gantry";

std::string ReadText(const std::string& path) {
  auto text = base::ReadFile(path, 1u << 20);
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

bool CgroupV2() { return base::Exists("/sys/fs/cgroup/cgroup.controllers"); }

// Whether the kernel limits `what`: a controller of v2, a hierarchy and its file of v1.
bool HasController(const char* controller, const std::string& v1_file) {
  if (!CgroupV2()) return base::Exists(absl::StrCat("/sys/fs/cgroup/", controller, "/", v1_file));
  std::vector<std::string> all = absl::StrSplit(ReadText("/sys/fs/cgroup/cgroup.controllers"), ' ');
  return std::find(all.begin(), all.end(), controller) != all.end();
}

struct Counts {
  int64_t running = 0, paused = 0, stopped = 0;
};

absl::StatusOr<Counts> CountContainers(const Context& context) {
  lifecycle::ListRequest request;
  request.set_all(true);
  lifecycle::ListResponse response;
  GANTRY_RETURN_IF_ERROR(
      context.gantryd.Call(lifecycle::LifecycleMethods::kList, request, &response));
  Counts counts;
  for (const auto& item : response.containers()) {
    const std::string& status = item.container().state().status();
    (status == "running" || status == "restarting" ? counts.running
     : status == "paused"                          ? counts.paused
                                                   : counts.stopped)++;
  }
  return counts;
}

OrderedJson RegistryJson(const DaemonConfig& config) {
  OrderedJson cidrs = OrderedJson::array({"::1/128", "127.0.0.0/8"});
  OrderedJson indexes;
  OrderedJson mirrors = OrderedJson::array();
  for (const std::string& mirror : config.registry_mirrors) {
    mirrors.push_back(absl::EndsWith(mirror, "/") ? mirror : mirror + "/");
  }
  indexes["docker.io"] = {
      {"Mirrors", mirrors}, {"Name", "docker.io"}, {"Official", true}, {"Secure", true}};
  for (const std::string& registry : config.insecure_registries) {
    if (absl::StrContains(registry, '/')) {
      cidrs.push_back(registry);
    } else {
      indexes[registry] = {{"Mirrors", OrderedJson::array()},
                           {"Name", registry},
                           {"Official", false},
                           {"Secure", false}};
    }
  }
  return {{"IndexConfigs", indexes},
          {"InsecureRegistryCIDRs", cidrs},
          {"Mirrors", mirrors.empty() ? OrderedJson() : mirrors}};
}

void AddKernel(OrderedJson* out) {
  OrderedJson& info = *out;
  info["MemoryLimit"] = HasController("memory", "memory.limit_in_bytes");
  info["SwapLimit"] = CgroupV2() || HasController("memory", "memory.memsw.limit_in_bytes");
  info["CpuCfsPeriod"] = HasController("cpu", "cpu.cfs_period_us");
  info["CpuCfsQuota"] = HasController("cpu", "cpu.cfs_quota_us");
  info["CPUShares"] = HasController("cpu", "cpu.shares");
  info["CPUSet"] = HasController("cpuset", "cpuset.cpus");
  info["PidsLimit"] = HasController("pids", "");
  info["IPv4Forwarding"] = ReadText("/proc/sys/net/ipv4/ip_forward") == "1";
}

void AddMachine(OrderedJson* out) {
  OrderedJson& info = *out;
  utsname kernel{};
  uname(&kernel);
  std::string release = ReadText("/etc/os-release");
  if (release.empty()) release = ReadText("/usr/lib/os-release");
  std::string name = OsReleaseValue(release, "PRETTY_NAME");
  struct sysinfo memory {};
  sysinfo(&memory);
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  info["KernelVersion"] = kernel.release;
  info["OperatingSystem"] = name.empty() ? "Linux" : name;
  info["OSVersion"] = OsReleaseValue(release, "VERSION_ID");
  info["OSType"] = "linux";
  info["Architecture"] = kernel.machine;
  info["NCPU"] = sysconf(_SC_NPROCESSORS_ONLN);
  info["MemTotal"] = static_cast<int64_t>(memory.totalram) * memory.mem_unit;
  info["Name"] = host;
}

OrderedJson Runtimes(const DaemonConfig& config) {
  OrderedJson out = {{"io.containerd.runc.v2", {{"path", "gantry-shim"}}},
                     {"runc", {{"path", "gantry-oci"}}}};
  for (const auto& [name, path] : config.runtimes) out[name] = {{"path", path}};
  return out;
}

absl::Status Info(const Context& context, const ExchangePtr& exchange) {
  const DaemonConfig& config = context.config;
  GANTRY_ASSIGN_OR_RETURN(Counts counts, CountContainers(context));
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, context.images.List());
  OrderedJson info;
  info["ID"] = EngineId(ReadText("/etc/machine-id"), context.gantryd.ns());
  info["Containers"] = counts.running + counts.paused + counts.stopped;
  info["ContainersRunning"] = counts.running;
  info["ContainersPaused"] = counts.paused;
  info["ContainersStopped"] = counts.stopped;
  info["Images"] = all.size();
  info["Driver"] = context.images.snapshotter();
  info["DriverStatus"] =
      OrderedJson::array({OrderedJson::array({"driver-type", "io.containerd.snapshotter.v1"})});
  info["Plugins"] = {{"Volume", {"local"}},
                     {"Network", {"bridge", "host", "ipvlan", "macvlan", "null"}},
                     {"Authorization", nullptr},
                     {"Log", {"journald", "json-file", "local", "none", "syslog"}}};
  AddKernel(&info);
  info["Debug"] = context.options.debug || config.debug;
  auto descriptors = base::ListDir("/proc/self/fd");
  info["NFd"] = descriptors.ok() ? descriptors->size() : 0;
  info["OomKillDisable"] = !CgroupV2();
  auto threads = base::ListDir("/proc/self/task");
  info["NGoroutines"] = threads.ok() ? threads->size() : 0;
  info["SystemTime"] = base::FormatRfc3339(absl::Now());
  info["LoggingDriver"] = config.log_driver;
  info["CgroupDriver"] = "cgroupfs";
  for (const std::string& option : config.exec_options) {
    if (option == "native.cgroupdriver=systemd") info["CgroupDriver"] = "systemd";
  }
  info["CgroupVersion"] = CgroupV2() ? "2" : "1";
  info["NEventsListener"] = 0;
  AddMachine(&info);
  info["IndexServerAddress"] = "https://index.docker.io/v1/";
  info["RegistryConfig"] = RegistryJson(config);
  info["GenericResources"] = nullptr;
  info["DockerRootDir"] = config.data_root.empty() ? kRootDir : config.data_root;
  info["HttpProxy"] = config.http_proxy;
  info["HttpsProxy"] = config.https_proxy;
  info["NoProxy"] = config.no_proxy;
  info["Labels"] = config.labels;
  info["ExperimentalBuild"] = config.experimental;
  info["ServerVersion"] = GANTRY_VERSION;
  info["Runtimes"] = Runtimes(config);
  info["DefaultRuntime"] = config.default_runtime;
  info["Swarm"] = {{"NodeID", ""},
                   {"NodeAddr", ""},
                   {"LocalNodeState", "inactive"},
                   {"ControlAvailable", false},
                   {"Error", ""},
                   {"RemoteManagers", nullptr}};
  // Containers outlive both daemons, whatever the configuration says.
  info["LiveRestoreEnabled"] = true;
  info["Isolation"] = "";
  info["InitBinary"] = "gantry-shim";
  containerd::services::version::v1::VersionResponse version;
  (void)context.gantryd.Call(containerd::services::version::v1::VersionMethods::kVersion,
                             google::protobuf::Empty(), &version, absl::Seconds(5));
  info["ContainerdCommit"] = {{"ID", version.revision()}};
  info["RuncCommit"] = {{"ID", version.revision()}};
  info["InitCommit"] = {{"ID", version.revision()}};
  OrderedJson security = OrderedJson::array();
  if (base::Exists("/sys/kernel/security/apparmor/profiles")) security.push_back("name=apparmor");
  security.push_back("name=seccomp,profile=builtin");
  if (CgroupV2()) security.push_back("name=cgroupns");
  info["SecurityOptions"] = security;
  info["Warnings"] = nullptr;
  exchange->ReplyJson(200, info);
  return absl::OkStatus();
}

}  // namespace

std::string OsReleaseValue(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (!absl::ConsumePrefix(&line, key) || !absl::ConsumePrefix(&line, "=")) continue;
    if (line.size() >= 2 && (line[0] == '"' || line[0] == '\'') && line.back() == line[0]) {
      line = line.substr(1, line.size() - 2);
    }
    return std::string(line);
  }
  return "";
}

std::string EngineId(absl::string_view machine_id, absl::string_view ns) {
  const base::Digest digest = base::DigestOf(absl::StrCat("gantry-docker ", machine_id, " ", ns));
  const absl::string_view hex = digest.hex();
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20, 12));
}

void AddInfoRoutes(http::Router& router, const Context& context) {
  router.Add("GET", "/info",
             [&context](const ExchangePtr& exchange) { return Info(context, exchange); });
}

}  // namespace gantry::docker
