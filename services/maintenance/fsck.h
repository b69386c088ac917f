#ifndef GANTRY_SERVICES_MAINTENANCE_FSCK_H_
#define GANTRY_SERVICES_MAINTENANCE_FSCK_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gantry/services/maintenance/v1/maintenance.pb.h"
#include "services/metadata/db.h"

namespace gantry::services {

// A shim as the supervisor knows it.
struct KnownShim {
  std::string ns;
  std::string id;
  std::string address;  // "unix:///…"
};

// Something of a network as its owner accounts for it.
struct NetworkFinding {
  std::string kind;
  std::string name;
  std::string problem;  // empty: none
  std::function<absl::Status()> repair;
};

struct FsckDeps {
  Db* db = nullptr;
  std::string root;
  std::string state;
  std::vector<std::string> local_snapshotters;  // names whose directories are below root
  std::function<std::vector<KnownShim>()> shims;
  // All namespaces, devices, rules and ports of networks; empty: there are none.
  std::function<absl::StatusOr<std::vector<NetworkFinding>>()> networks;
  // Where the cgroup controllers are mounted; another directory in tests.
  std::string cgroup_root = "/sys/fs/cgroup";
  // What is younger may still be on its way to its owner.
  absl::Duration grace = absl::Minutes(1);
};

// Compares records with what is on the machine, while everything goes on. An object that appears or
// goes away during the check is not reported: it is too young, or looked at twice.
// One instance serves any number of threads; Check() blocks on the disk.
class Fsck {
 public:
  using Request = gantry::services::maintenance::v1::CheckRequest;
  using Report = gantry::services::maintenance::v1::CheckResponse;

  explicit Fsck(FsckDeps deps) : deps_(std::move(deps)) {}

  // Findings are no error; a status that is not OK means that the check itself could not be done.
  absl::StatusOr<Report> Check(const Request& request) const;

 private:
  class Run;
  FsckDeps deps_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_MAINTENANCE_FSCK_H_
