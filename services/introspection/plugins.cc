#include "services/introspection/plugins.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/metadata/filters.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::introspection::v1;

struct Row {
  const char* type;
  const char* id;
  bool has_platform;
  std::vector<std::string> requires_types;
};

constexpr char kSnapshotterType[] = "io.containerd.snapshotter.v1";

const std::vector<Row>& Rows() {
  static const auto* rows = new std::vector<Row>{
      {"io.containerd.content.v1", "content", false, {}},
      {"io.containerd.metadata.v1",
       "rocksdb",
       false,
       {"io.containerd.content.v1", kSnapshotterType, "io.containerd.event.v1"}},
      {"io.containerd.differ.v1", "walking", true, {"io.containerd.metadata.v1"}},
      {"io.containerd.event.v1", "exchange", false, {}},
      {"io.containerd.gc.v1", "scheduler", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.lease.v1", "manager", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.streaming.v1", "manager", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.transfer.v1", "local", true, {"io.containerd.metadata.v1"}},
      {"io.containerd.shim.v1", "manager", false, {"io.containerd.event.v1"}},
      {"io.containerd.runtime.v2", "task", true, {"io.containerd.shim.v1"}},
      {"io.containerd.sandbox.store.v1", "local", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.sandbox.controller.v1", "shim", false, {"io.containerd.shim.v1"}},
      {"io.containerd.grpc.v1", "containers", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.grpc.v1", "content", false, {"io.containerd.content.v1"}},
      {"io.containerd.grpc.v1", "diff", false, {"io.containerd.differ.v1"}},
      {"io.containerd.grpc.v1", "events", false, {"io.containerd.event.v1"}},
      {"io.containerd.grpc.v1", "healthcheck", false, {}},
      {"io.containerd.grpc.v1", "images", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.grpc.v1", "introspection", false, {}},
      {"io.containerd.grpc.v1", "leases", false, {"io.containerd.lease.v1"}},
      {"io.containerd.grpc.v1", "namespaces", false, {"io.containerd.metadata.v1"}},
      {"io.containerd.grpc.v1", "sandbox-controllers", false, {"io.containerd.shim.v1"}},
      {"io.containerd.grpc.v1", "sandboxes", false, {"io.containerd.sandbox.store.v1"}},
      {"io.containerd.grpc.v1", "snapshots", false, {kSnapshotterType}},
      {"io.containerd.grpc.v1", "streaming", false, {"io.containerd.streaming.v1"}},
      {"io.containerd.grpc.v1", "tasks", false, {"io.containerd.runtime.v2"}},
      {"io.containerd.grpc.v1", "transfer", false, {"io.containerd.transfer.v1"}},
      {"io.containerd.grpc.v1", "version", false, {}},
  };
  return *rows;
}

Plugin Make(const Row& row) {
  Plugin plugin;
  plugin.set_type(row.type);
  plugin.set_id(row.id);
  if (row.has_platform) *plugin.add_platforms() = ServedPlatform();
  for (const std::string& type : row.requires_types) plugin.add_requires(type);
  return plugin;
}

std::optional<std::string> FieldOf(const Plugin& plugin, absl::Span<const std::string> path) {
  if (path.empty()) return std::nullopt;
  if (path[0] == "type" && !plugin.type().empty()) return plugin.type();
  if (path[0] == "id" && !plugin.id().empty()) return plugin.id();
  return std::nullopt;
}

// A random (version 4) UUID.
std::string NewUuid() {
  std::string hex = base::RandomHex(16);
  hex[12] = '4';
  hex[16] = "89ab"[static_cast<unsigned char>(hex[16]) % 4];
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

}  // namespace

containerd::types::Platform ServedPlatform() {
  utsname name = {};
  uname(&name);
  std::string machine = name.machine;
  containerd::types::Platform platform;
  platform.set_os("linux");
  platform.set_architecture(machine == "x86_64"    ? "amd64"
                            : machine == "aarch64" ? "arm64"
                                                   : machine);
  return platform;
}

std::vector<Plugin> BuiltinPlugins(const std::string& root,
                                   const std::vector<std::string>& snapshotters) {
  std::vector<Plugin> plugins;
  for (const Row& row : Rows()) plugins.push_back(Make(row));
  (*plugins[0].mutable_exports())["root"] = absl::StrCat(root, "/io.containerd.content.v1.content");
  std::vector<Plugin> drivers;
  for (const std::string& name : snapshotters) {
    Plugin plugin = Make({kSnapshotterType, name.c_str(), true, {}});
    (*plugin.mutable_exports())["root"] = absl::StrCat(root, "/", kSnapshotterType, ".", name);
    drivers.push_back(std::move(plugin));
  }
  plugins.insert(plugins.begin() + 1, drivers.begin(), drivers.end());
  return plugins;
}

void Introspection::SetInfoProvider(const std::string& type, const std::string& id,
                                    InfoProvider provider) {
  providers_[absl::StrCat(type, " ", id)] = std::move(provider);
}

absl::StatusOr<std::vector<Plugin>> Introspection::Plugins(
    const std::vector<std::string>& filters) const {
  GANTRY_ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  std::vector<Plugin> found;
  for (const Plugin& plugin : plugins_) {
    bool wanted = filter.Match(
        [&plugin](absl::Span<const std::string> path) { return FieldOf(plugin, path); });
    if (wanted) found.push_back(plugin);
  }
  return found;
}

absl::StatusOr<api::PluginInfoResponse> Introspection::PluginInfo(
    const api::PluginInfoRequest& request) const {
  auto plugin = std::find_if(plugins_.begin(), plugins_.end(), [&request](const Plugin& p) {
    return p.type() == request.type() && p.id() == request.id();
  });
  if (plugin == plugins_.end()) {
    return absl::NotFoundError(
        absl::StrCat("plugin ", request.type(), ".", request.id(), " not found"));
  }
  api::PluginInfoResponse response;
  *response.mutable_plugin() = *plugin;
  if (!request.has_options()) return response;
  auto provider = providers_.find(absl::StrCat(request.type(), " ", request.id()));
  if (provider == providers_.end()) {
    return absl::UnimplementedError("plugin does not provided extra information");
  }
  GANTRY_ASSIGN_OR_RETURN(*response.mutable_extra(), provider->second(request.options()));
  return response;
}

absl::StatusOr<std::string> Introspection::Uuid() const {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  std::string path = directory_ + "/uuid";
  absl::StatusOr<std::string> text = base::ReadFile(path, 256);
  if (text.ok() && !text->empty()) return std::string(absl::StripAsciiWhitespace(*text));
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  std::string uuid = NewUuid();
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(directory_));
  GANTRY_RETURN_IF_ERROR(base::ReplaceFile(path, uuid, 0644, base::Durability::kSync));
  return uuid;
}

absl::StatusOr<api::ServerResponse> Introspection::Server() const {
  api::ServerResponse response;
  GANTRY_ASSIGN_OR_RETURN(*response.mutable_uuid(), Uuid());
  response.set_pid(static_cast<uint64_t>(getpid()));
  struct stat ns;
  if (stat("/proc/self/ns/pid", &ns) != 0)
    return base::ErrnoStatus(errno, "stat /proc/self/ns/pid");
  response.set_pidns(ns.st_ino);
  return response;
}

}  // namespace gantry::services
