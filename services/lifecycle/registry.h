#ifndef GANTRY_SERVICES_LIFECYCLE_REGISTRY_H_
#define GANTRY_SERVICES_LIFECYCLE_REGISTRY_H_

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/lifecycle/entry.h"

namespace gantry::services::lifecycle {

absl::Status NoSuchContainer(absl::string_view name);

// The containers by namespace, id and name. Thread-safe; no call blocks.
class Registry {
 public:
  explicit Registry(WorkerPool* pool) : pool_(pool) {}

  // An entry for a new container, which takes id and name. AlreadyExists.
  absl::StatusOr<EntryPtr> Add(const std::string& ns, const std::string& id,
                               const std::string& name);
  // Takes another name for it before it is written; AlreadyExists when another one has it. An empty
  // `name` gives the old one back.
  absl::Status Rename(const Entry& entry, const std::string& from, const std::string& to);
  void Remove(const Entry& entry, const std::string& name);

  // NotFound "No such container: X". Entries that are being created are not found.
  absl::StatusOr<EntryPtr> Get(const std::string& ns, const std::string& id) const;
  // By id, name, or unique prefix of an id; InvalidArgument when several begin like that.
  absl::StatusOr<EntryPtr> Find(const std::string& ns, absl::string_view name) const;
  std::vector<EntryPtr> List(const std::string& ns) const;
  std::vector<EntryPtr> ListAll() const;

 private:
  struct Namespace {
    std::map<std::string, EntryPtr> entries;
    std::map<std::string, std::string> names;  // name → id
  };

  WorkerPool* const pool_;
  mutable std::mutex mutex_;
  std::map<std::string, Namespace> namespaces_;
};

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_REGISTRY_H_
