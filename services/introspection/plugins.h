#ifndef GANTRY_SERVICES_INTROSPECTION_PLUGINS_H_
#define GANTRY_SERVICES_INTROSPECTION_PLUGINS_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "containerd/services/introspection/v1/introspection.pb.h"
#include "google/protobuf/any.pb.h"

namespace gantry::services {

using Plugin = containerd::services::introspection::v1::Plugin;

// What this build consists of, under the names that containerd's parts have: clients look there
// for snapshotters, their platforms and directories. Sorted by type as containerd lists them.
// `root` is gantryd's root directory, `snapshotters` the names that are served.
std::vector<Plugin> BuiltinPlugins(const std::string& root,
                                   const std::vector<std::string>& snapshotters);

// The platform of this machine in OCI's names ("linux", "amd64").
containerd::types::Platform ServedPlatform();

// Parts of the supervisor as clients may ask for them. Immutable after construction; any thread.
class Introspection {
 public:
  // Answers PluginInfo with options for one plugin, given as "TYPE ID". May block.
  using InfoProvider =
      std::function<absl::StatusOr<google::protobuf::Any>(const google::protobuf::Any& options)>;

  // `directory` holds the file `uuid`; it is made when the first answer needs it.
  Introspection(std::string directory, std::vector<Plugin> plugins)
      : directory_(std::move(directory)), plugins_(std::move(plugins)) {}
  void SetInfoProvider(const std::string& type, const std::string& id, InfoProvider provider);

  // Filters: type, id. InvalidArgument for one that does not parse.
  absl::StatusOr<std::vector<Plugin>> Plugins(const std::vector<std::string>& filters) const;
  // NotFound `plugin TYPE.ID not found`; with options Unimplemented unless the plugin has a
  // provider.
  absl::StatusOr<containerd::services::introspection::v1::PluginInfoResponse> PluginInfo(
      const containerd::services::introspection::v1::PluginInfoRequest& request) const;
  // Process id, its pid namespace, and the uuid of this root directory, made once for all time.
  absl::StatusOr<containerd::services::introspection::v1::ServerResponse> Server() const;

 private:
  absl::StatusOr<std::string> Uuid() const;

  const std::string directory_;
  const std::vector<Plugin> plugins_;
  std::map<std::string, InfoProvider> providers_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_INTROSPECTION_PLUGINS_H_
