#ifndef GANTRY_SERVICES_METADATA_NAMESPACE_STORE_H_
#define GANTRY_SERVICES_METADATA_NAMESPACE_STORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/services/namespaces/v1/namespace.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"

namespace gantry::services {

// Makes the record of `ns` when it is missing: as with containerd, the first object that is written
// into a namespace creates it, without an event. Every store calls it when it creates a record.
absl::Status EnsureNamespace(Tx& tx, absl::string_view ns);

// Thread-safe; as long-lived as its Db.
class NamespaceStore {
 public:
  using Namespace = containerd::services::namespaces::v1::Namespace;

  explicit NamespaceStore(Db* db) : db_(db) {}

  // containerd knows no missing namespace here: one without record has no labels.
  absl::StatusOr<Namespace> Get(absl::string_view name) const;
  absl::StatusOr<std::vector<Namespace>> List() const;
  // AlreadyExists; InvalidArgument for a bad name or label. Event /namespaces/create, in the
  // namespace of the context as with containerd, or in the new one if there is none.
  absl::StatusOr<Namespace> Create(const Context& ctx, const Namespace& ns);
  // Replaces all labels, or with `paths` those named "labels.KEY" (empty value: removes);
  // InvalidArgument for any other path. A namespace that is missing comes into being, as with
  // containerd. Event /namespaces/update.
  absl::StatusOr<Namespace> Update(const Context& ctx, const Namespace& ns,
                                   const std::vector<std::string>& paths);
  // FailedPrecondition naming what is left in it (images, blobs, containers, snapshots, sandboxes);
  // NotFound. Its leases go with it. Event /namespaces/delete, in that namespace.
  absl::Status Delete(absl::string_view name);

 private:
  Db* db_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_NAMESPACE_STORE_H_
