#include "services/networks/records.h"

#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using gantry::metadata::v1::NetworkRecord;
using gantry::metadata::v1::SandboxRecord;

template <typename Record>
absl::StatusOr<std::vector<Record>> LoadAll(const Db& db, absl::string_view table) {
  std::vector<Record> records;
  GANTRY_RETURN_IF_ERROR(db.View([&](const ReadView& view) {
    return view.ScanProto<Record>(KeyPrefix({table}), [&](absl::string_view, Record& record) {
      records.push_back(std::move(record));
      return true;
    });
  }));
  return records;
}

}  // namespace

void PutNetwork(Tx& tx, const std::string& ns,
                const gantry::services::networks::v1::Network& network) {
  NetworkRecord record;
  record.set_namespace_(ns);
  *record.mutable_network() = network;
  tx.PutProto(Key({kTableNetworks, ns, network.id()}), record);
}

void DeleteNetwork(Tx& tx, const std::string& ns, const std::string& id) {
  tx.Delete(Key({kTableNetworks, ns, id}));
}

void PutSandbox(Tx& tx, const SandboxRecord& sandbox) {
  tx.PutProto(Key({kTableNetworkSandboxes, sandbox.namespace_(), sandbox.request().container_id()}),
              sandbox);
}

void DeleteSandbox(Tx& tx, const std::string& ns, const std::string& container) {
  tx.Delete(Key({kTableNetworkSandboxes, ns, container}));
}

absl::StatusOr<std::vector<NetworkRecord>> LoadNetworks(const Db& db) {
  return LoadAll<NetworkRecord>(db, kTableNetworks);
}

absl::StatusOr<std::vector<SandboxRecord>> LoadSandboxes(const Db& db) {
  return LoadAll<SandboxRecord>(db, kTableNetworkSandboxes);
}

}  // namespace gantry::services
