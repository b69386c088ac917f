#ifndef GANTRY_SERVICES_NETWORKS_RECORDS_H_
#define GANTRY_SERVICES_NETWORKS_RECORDS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gantry/metadata/v1/network_records.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

// Tables: see services/metadata/keys.h.
inline constexpr char kTableNetworks[] = "net";
inline constexpr char kTableNetworkSandboxes[] = "nsb";

inline constexpr char kCreateIntent[] = "network.create";
inline constexpr char kDeleteIntent[] = "network.delete";
inline constexpr char kSetUpIntent[] = "network.setup";
inline constexpr char kTearDownIntent[] = "network.teardown";

void PutNetwork(Tx& tx, const std::string& ns,
                const gantry::services::networks::v1::Network& network);
void DeleteNetwork(Tx& tx, const std::string& ns, const std::string& id);
void PutSandbox(Tx& tx, const gantry::metadata::v1::SandboxRecord& sandbox);
void DeleteSandbox(Tx& tx, const std::string& ns, const std::string& container);

absl::StatusOr<std::vector<gantry::metadata::v1::NetworkRecord>> LoadNetworks(const Db& db);
absl::StatusOr<std::vector<gantry::metadata::v1::SandboxRecord>> LoadSandboxes(const Db& db);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_RECORDS_H_
