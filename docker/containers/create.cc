#include "docker/containers/create.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/image.h"
#include "containerd/services/images/v1/images.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "docker/containers/document.h"
#include "docker/containers/log_config.h"
#include "docker/containers/lookup.h"
#include "docker/containers/mounts.h"
#include "docker/containers/names.h"
#include "docker/containers/network_plan.h"
#include "docker/containers/oci_spec.h"
#include "docker/containers/user_cache.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/volumes/v1/volumes.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;
namespace volumes = gantry::services::volumes::v1;
namespace snapshots = containerd::services::snapshots::v1;
using base::Json;
using google::protobuf::Empty;

constexpr int kNameAttempts = 6;
constexpr size_t kIdBytes = 32;
constexpr char kInitProgram[] = "/usr/local/libexec/gantry/gantry-init";
constexpr char kInitVariable[] = "GANTRY_INIT";  // another place for it

// One creation on its way.
struct Creation {
  const Context& context;
  std::string id = base::RandomHex(kIdBytes);
  std::string name;
  ContainerConfig config;
  HostConfig host;
  Json host_json;
  Json endpoints;
  LocalImage image;
  std::string chain_id;
  std::vector<PlannedMount> mounts;
  // Made for this container alone: removed when it cannot be made.
  std::vector<std::string> anonymous;
  StringList warnings;
};

// Docker's own word for what is missing in the request.
absl::Status ReadRequest(http::Exchange& exchange, Creation* c) {
  GANTRY_ASSIGN_OR_RETURN(Json body, exchange.ReadJson());
  if (body.is_null()) {
    return absl::InvalidArgumentError("invalid JSON: got EOF while reading request body");
  }
  if (body.is_object() && body.empty()) {
    return absl::InvalidArgumentError("config cannot be empty in order to create a container");
  }
  JsonObject o(body, "CreateRequest");
  GANTRY_RETURN_IF_ERROR(o.status());
  GANTRY_ASSIGN_OR_RETURN(c->config, ContainerConfig::FromJson(body));
  c->host_json = o.At("HostConfig");
  if (!c->host_json.is_object()) c->host_json = Json::object();
  GANTRY_ASSIGN_OR_RETURN(c->host, HostConfig::FromJson(c->host_json));
  JsonObject networking(o.At("NetworkingConfig"), "NetworkingConfig");
  GANTRY_RETURN_IF_ERROR(networking.status());
  c->endpoints = networking.At("EndpointsConfig");
  if (!c->endpoints.is_object()) c->endpoints = Json::object();
  if (c->config.image.empty()) return absl::InvalidArgumentError("no image specified");
  c->name = std::string(absl::StripPrefix(exchange.query().Get("name"), "/"));
  if (!c->name.empty()) GANTRY_RETURN_IF_ERROR(CheckContainerName(c->name));
  return absl::OkStatus();
}

absl::Status MergeImage(Creation* c) {
  GANTRY_ASSIGN_OR_RETURN(c->image, c->context.images.Find(c->config.image));
  const ImageContent& content = *c->image.content;
  c->chain_id = content.chain_ids.empty() ? "" : content.chain_ids.back();
  auto config = ContainerConfig::FromJson(base::JsonAt(content.config, "config"));
  if (!config.ok()) return base::Annotate(config.status(), "the image's configuration");
  c->config.MergeImage(*config);
  if (c->config.hostname.empty() && c->host.network_mode != "host" &&
      ContainerOfMode(c->host.network_mode).empty()) {
    c->config.hostname = c->id.substr(0, 12);
  }
  return absl::OkStatus();
}

// Modes that name another container carry its id from here on.
absl::Status ResolveModes(Creation* c, lifecycle::Policy* policy) {
  struct Mode {
    std::string* text;
    const char* key;
    const char* type;  // of a namespace; null: the network's
  };
  const Mode modes[] = {{&c->host.network_mode, "NetworkMode", nullptr},
                        {&c->host.ipc_mode, "IpcMode", "ipc"},
                        {&c->host.pid_mode, "PidMode", "pid"}};
  for (const Mode& mode : modes) {
    std::string other = ContainerOfMode(*mode.text);
    if (other.empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(lifecycle::Container found, FindRecord(c->context, other));
    *mode.text = absl::StrCat("container:", found.id());
    c->host_json[mode.key] = *mode.text;
    if (mode.type != nullptr) (*policy->mutable_join_namespaces())[mode.type] = found.id();
  }
  return absl::OkStatus();
}

// The options of the daemon's log driver are for those that use it.
void FillLog(Creation& c) {
  HostConfig& host = c.host;
  const DaemonConfig& defaults = c.context.config;
  if (host.log_type.empty() || host.log_type == defaults.log_driver) {
    host.log_type = defaults.log_driver;
    host.log_options.insert(defaults.log_options.begin(), defaults.log_options.end());
  }
  Json options = Json::object();
  for (const auto& [key, value] : host.log_options) options[key] = value;
  c.host_json["LogConfig"] = {{"Type", host.log_type}, {"Config", options}};
}

void FillUlimits(Creation& c) {
  std::vector<Ulimit>& own = c.host.resources.ulimits;
  for (const auto& [name, limit] : c.context.config.default_ulimits) {
    bool given = std::any_of(own.begin(), own.end(),
                             [&name = name](const Ulimit& u) { return u.name == name; });
    if (given) continue;
    own.push_back({name, limit.soft, limit.hard});
    c.host_json["Ulimits"].push_back({{"Name", name}, {"Soft", limit.soft}, {"Hard", limit.hard}});
  }
}

// What Docker fills in itself, so that inspect shows it.
absl::Status FillDefaults(Creation* c) {
  HostConfig& host = c->host;
  Json& json = c->host_json;
  auto set = [&json](std::string& text, const char* key, const char* value) {
    if (!text.empty() && text != "default") return;
    text = value;
    json[key] = value;
  };
  set(host.network_mode, "NetworkMode", "bridge");
  set(host.ipc_mode, "IpcMode", "private");
  set(host.cgroupns_mode, "CgroupnsMode", IsCgroupV2() ? "private" : "host");
  set(host.runtime, "Runtime", "runc");
  if (host.restart.name.empty()) host.restart.name = "no";
  json["RestartPolicy"] = {{"Name", host.restart.name},
                           {"MaximumRetryCount", host.restart.maximum_retry_count}};
  FillLog(*c);
  FillUlimits(*c);
  if (!host.init && c->context.config.init) json["Init"] = *(host.init = true);
  if (host.shm_size < 0) return absl::InvalidArgumentError("SHM size can not be less than 0");
  if (host.shm_size == 0) json["ShmSize"] = host.shm_size = c->context.config.default_shm_size;
  ResourceSettings& r = host.resources;
  if (r.memory > 0 && r.memory_swap == 0) json["MemorySwap"] = r.memory_swap = r.memory * 2;
  if (r.memory_swappiness == -1) json["MemorySwappiness"] = nullptr;
  if (r.pids_limit && *r.pids_limit <= 0) json["PidsLimit"] = nullptr;
  if (r.oom_kill_disable && IsCgroupV2()) json["OomKillDisable"] = nullptr;
  if (host.privileged) {
    json["MaskedPaths"] = nullptr;
    json["ReadonlyPaths"] = nullptr;
  } else {
    if (!host.masked_paths) json["MaskedPaths"] = DefaultMaskedPaths();
    if (!host.readonly_paths) json["ReadonlyPaths"] = DefaultReadonlyPaths();
  }
  return absl::OkStatus();
}

absl::Status CheckSettings(const Creation& c) {
  const HostConfig& host = c.host;
  if (c.config.healthcheck) GANTRY_RETURN_IF_ERROR(c.config.healthcheck->Check());
  GANTRY_RETURN_IF_ERROR(host.restart.Check());
  GANTRY_RETURN_IF_ERROR(host.resources.Check());
  if (host.auto_remove && !host.restart.name.empty() && host.restart.name != "no") {
    return absl::InvalidArgumentError("can't create 'AutoRemove' container with restart policy");
  }
  if (host.runtime != "runc" && host.runtime != "io.containerd.runc.v2" &&
      host.runtime != "gantry") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown or invalid runtime name: ", host.runtime));
  }
  if (host.oom_score_adj < -1000 || host.oom_score_adj > 1000) {
    return absl::InvalidArgumentError(absl::StrCat("Invalid value ", host.oom_score_adj,
                                                   ", range for oom score adj is [-1000, 1000]"));
  }
  if (host.cgroupns_mode != "private" && host.cgroupns_mode != "host") {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid cgroup namespace mode: ", host.cgroupns_mode));
  }
  return absl::OkStatus();
}

// --- volumes

absl::StatusOr<std::vector<MountPoint>> MountsOfContainer(const Context& context,
                                                          const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context, name));
  return std::move(found.document.mounts);
}

absl::Status MakeVolume(Creation* c, PlannedMount* mount) {
  volumes::CreateVolumeRequest request;
  volumes::Volume& volume = *request.mutable_volume();
  volume.set_name(mount->point.name);
  volume.set_driver(mount->point.driver);
  for (const auto& [key, value] : mount->labels) (*volume.mutable_labels())[key] = value;
  for (const auto& [key, value] : mount->driver_options) (*volume.mutable_options())[key] = value;
  volumes::CreateVolumeResponse made;
  GANTRY_RETURN_IF_ERROR(c->context.gantryd.Call(volumes::VolumesMethods::kCreate, request, &made));
  mount->point.name = made.volume().name();
  mount->point.source = made.volume().mountpoint();
  if (mount->point.anonymous) c->anonymous.push_back(made.volume().name());
  return absl::OkStatus();
}

absl::Status MakeMounts(Creation* c) {
  auto mounts_of = [c](const std::string& name) { return MountsOfContainer(c->context, name); };
  GANTRY_ASSIGN_OR_RETURN(c->mounts, PlanMounts(c->config, c->host, mounts_of));
  GANTRY_RETURN_IF_ERROR(PrepareSources(c->mounts));
  for (PlannedMount& mount : c->mounts) {
    if (mount.point.type == "volume") GANTRY_RETURN_IF_ERROR(MakeVolume(c, &mount));
  }
  return absl::OkStatus();
}

absl::Status PopulateVolumes(const Creation& c) {
  for (const PlannedMount& mount : c.mounts) {
    if (mount.point.type != "volume" || !mount.copy) continue;
    volumes::PopulateVolumeRequest request;
    request.set_name(mount.point.name);
    request.set_container_id(c.id);
    request.set_path(mount.point.destination);
    Empty nothing;
    GANTRY_RETURN_IF_ERROR(base::Annotate(
        c.context.gantryd.Call(volumes::VolumesMethods::kPopulate, request, &nothing),
        absl::StrCat("fill volume ", mount.point.name, " from the image")));
  }
  return absl::OkStatus();
}

void DropVolumes(const Creation& c) {
  for (const std::string& name : c.anonymous) {
    volumes::DeleteVolumeRequest request;
    request.set_name(name);
    Empty nothing;
    c.context.gantryd.Call(volumes::VolumesMethods::kDelete, request, &nothing).IgnoreError();
  }
}

// --- the request to gantryd

void SetHealth(const ContainerConfig& config, lifecycle::Policy* policy) {
  if (!config.healthcheck || config.healthcheck->test.empty()) return;
  const Healthcheck& check = *config.healthcheck;
  if (check.test[0] == "NONE") return;
  lifecycle::HealthCheck* health = policy->mutable_health();
  StringList words(check.test.begin() + 1, check.test.end());
  if (check.test[0] == "CMD-SHELL") {
    for (const std::string& word : config.shell.value_or(StringList{"/bin/sh", "-c"})) {
      health->add_test(word);
    }
  } else if (check.test[0] != "CMD") {
    health->add_test(check.test[0]);
  }
  for (const std::string& word : words) health->add_test(word);
  auto set = [](int64_t nanoseconds, google::protobuf::Duration* to) {
    to->set_seconds(nanoseconds / 1'000'000'000);
    to->set_nanos(static_cast<int32_t>(nanoseconds % 1'000'000'000));
  };
  if (check.interval > 0) set(check.interval, health->mutable_interval());
  if (check.timeout > 0) set(check.timeout, health->mutable_timeout());
  if (check.start_period > 0) set(check.start_period, health->mutable_start_period());
  if (check.start_interval > 0) set(check.start_interval, health->mutable_start_interval());
  if (check.retries > 0) health->set_retries(static_cast<uint32_t>(check.retries));
}

absl::Status FillPolicy(const Creation& c, const StringList& command, lifecycle::Policy* policy) {
  const ContainerConfig& config = c.config;
  const HostConfig& host = c.host;
  policy->set_name(c.name);
  policy->mutable_restart()->set_name(host.restart.name);
  policy->mutable_restart()->set_maximum_retries(
      static_cast<uint32_t>(host.restart.maximum_retry_count));
  policy->set_auto_remove(host.auto_remove);
  policy->set_stop_signal(config.stop_signal);
  if (config.stop_timeout) policy->set_stop_timeout(*config.stop_timeout);
  SetHealth(config, policy);
  GANTRY_RETURN_IF_ERROR(PlanNetworks(c.id, config, host, c.endpoints, policy));
  policy->set_hostname(config.hostname);
  policy->set_domainname(config.domainname);
  std::set<std::string> destinations;
  for (const PlannedMount& mount : c.mounts) {
    destinations.insert(mount.point.destination);
    if (mount.point.type == "volume") policy->add_volumes(mount.point.name);
  }
  policy->set_manage_hostname(!destinations.contains("/etc/hostname"));
  policy->set_manage_hosts(!destinations.contains("/etc/hosts"));
  policy->set_manage_resolv_conf(!destinations.contains("/etc/resolv.conf"));
  LogSubject subject{c.id, c.name, config.image, c.image.id().str(), absl::StrJoin(command, " ")};
  GANTRY_ASSIGN_OR_RETURN(*policy->mutable_log_uri(),
                          LogUri(host.log_type, host.log_options, subject, config));
  policy->set_open_stdin(config.open_stdin);
  policy->set_stdin_once(config.stdin_once);
  policy->set_terminal(config.tty);
  policy->set_privileged(host.privileged);
  return absl::OkStatus();
}

absl::StatusOr<std::string> InitProgram() {
  const char* other = getenv(kInitVariable);
  std::string path = other != nullptr ? other : kInitProgram;
  if (base::Exists(path)) return path;
  return absl::FailedPreconditionError(
      absl::StrCat("--init needs ", path, ", which is not installed"));
}

absl::StatusOr<std::string> MakeSpec(const Creation& c) {
  SpecInput input;
  input.id = c.id;
  input.config = &c.config;
  input.host = &c.host;
  input.cgroup_parent = c.context.options.cgroup_parent;
  auto resolve = [&c](const std::string& user) {
    return ResolveImageUser(c.context, c.chain_id, user);
  };
  GANTRY_ASSIGN_OR_RETURN(input.user, resolve(c.config.user));
  GANTRY_RETURN_IF_ERROR(AddGroups(c.host.group_add, resolve, &input.user));
  input.mounts = SpecMounts(c.mounts);
  if (c.host.init.value_or(false)) {
    GANTRY_ASSIGN_OR_RETURN(input.init_path, InitProgram());
  }
  GANTRY_ASSIGN_OR_RETURN(Json spec, BuildContainerSpec(input));
  return base::DumpJson(spec);
}

std::string MakeDocument(const Creation& c, const StringList& command) {
  ContainerDocument document;
  document.config = c.config;
  document.host = CompleteHostConfig(c.host_json);
  document.image_id = c.image.id().str();
  document.path = command[0];
  document.args.assign(command.begin() + 1, command.end());
  for (const PlannedMount& mount : c.mounts) {
    if (mount.point.type == "tmpfs" && c.host.tmpfs.contains(mount.point.destination)) continue;
    document.mounts.push_back(mount.point);
  }
  document.driver = c.context.images.snapshotter();
  document.chain_id = c.chain_id;
  return document.Serialize();
}

// Makes the layers' snapshot when it is not there.
absl::Status EnsureUnpacked(const Creation& c) {
  if (c.chain_id.empty()) return absl::OkStatus();
  snapshots::StatSnapshotRequest stat;
  stat.set_snapshotter(c.context.images.snapshotter());
  stat.set_key(c.chain_id);
  snapshots::StatSnapshotResponse found;
  absl::Status there = c.context.gantryd.Call(snapshots::SnapshotsMethods::kStat, stat, &found);
  if (!absl::IsNotFound(there)) return there;
  containerd::services::images::v1::GetImageRequest get;
  get.set_name(c.image.names.front());
  containerd::services::images::v1::GetImageResponse record;
  GANTRY_RETURN_IF_ERROR(
      c.context.gantryd.Call(containerd::services::images::v1::ImagesMethods::kGet, get, &record));
  GANTRY_ASSIGN_OR_RETURN(client::ResolvedImage image,
                          client::ResolveImage(c.context.gantryd, record.image()));
  return client::UnpackImage(c.context.gantryd, image, c.context.images.snapshotter());
}

absl::Status CallCreate(Creation* c, lifecycle::CreateRequest* request) {
  bool given = !c->name.empty();
  for (int attempt = 0;; ++attempt) {
    if (!given) c->name = RandomName(attempt > 1);
    request->mutable_policy()->set_name(c->name);
    lifecycle::CreateResponse response;
    absl::Status status =
        c->context.gantryd.Call(lifecycle::LifecycleMethods::kCreate, *request, &response);
    bool again = !given && absl::IsAlreadyExists(status) && attempt < kNameAttempts;
    if (!again) return status;
  }
}

absl::Status Make(Creation* c) {
  lifecycle::CreateRequest request;
  GANTRY_RETURN_IF_ERROR(ResolveModes(c, request.mutable_policy()));
  GANTRY_RETURN_IF_ERROR(MakeMounts(c));
  GANTRY_RETURN_IF_ERROR(EnsureUnpacked(*c));
  GANTRY_ASSIGN_OR_RETURN(StringList command, CommandLine(c->config));
  request.set_id(c->id);
  request.set_image(c->image.names.empty() ? c->config.image : c->image.names.front());
  for (const auto& [key, value] : c->config.labels) (*request.mutable_labels())[key] = value;
  request.set_snapshotter(c->context.images.snapshotter());
  request.set_parent(c->chain_id);
  GANTRY_RETURN_IF_ERROR(FillPolicy(*c, command, request.mutable_policy()));
  GANTRY_ASSIGN_OR_RETURN(*request.mutable_spec(), MakeSpec(*c));
  (*request.mutable_extensions())[kDocumentExtension] = MakeDocument(*c, command);
  GANTRY_RETURN_IF_ERROR(CallCreate(c, &request));
  absl::Status filled = PopulateVolumes(*c);
  if (filled.ok()) return filled;
  lifecycle::RemoveRequest remove;
  remove.set_id(c->id);
  remove.set_force(true);
  Empty nothing;
  c->context.gantryd.Call(lifecycle::LifecycleMethods::kRemove, remove, &nothing).IgnoreError();
  return filled;
}

}  // namespace

absl::Status CreateContainer(const Context& context,
                             const std::shared_ptr<http::Exchange>& exchange) {
  Creation creation{context};
  GANTRY_RETURN_IF_ERROR(ReadRequest(*exchange, &creation));
  GANTRY_RETURN_IF_ERROR(MergeImage(&creation));
  GANTRY_RETURN_IF_ERROR(FillDefaults(&creation));
  GANTRY_RETURN_IF_ERROR(CheckSettings(creation));
  absl::Status made = Make(&creation);
  if (!made.ok()) {
    DropVolumes(creation);
    return made;
  }
  exchange->ReplyJson(201, base::OrderedJson{{"Id", creation.id}, {"Warnings", creation.warnings}});
  return absl::OkStatus();
}

}  // namespace gantry::docker
