#ifndef GANTRY_SERVICES_METADATA_SANDBOX_STORE_H_
#define GANTRY_SERVICES_METADATA_SANDBOX_STORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/types/sandbox.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// Sandbox records, behind the service containerd.services.sandbox.v1.Store. Every method wants a
// namespace in its context (FailedPrecondition). Thread-safe; as long-lived as its Db.
class SandboxStore : public GcParticipant {
 public:
  using Sandbox = containerd::types::Sandbox;

  explicit SandboxStore(Db* db) : db_(db) {}

  // NotFound.
  absl::StatusOr<Sandbox> Get(const Context& ctx, absl::string_view id) const;
  // Ordered by id. Fields of filters: id, runtime.name, sandboxer, labels.KEY.
  absl::StatusOr<std::vector<Sandbox>> List(const Context& ctx,
                                            const std::vector<std::string>& filters) const;
  // AlreadyExists; InvalidArgument for a bad id, labels or a missing runtime.
  absl::StatusOr<Sandbox> Create(const Context& ctx, Sandbox sandbox);
  // Without `paths`: labels, extensions, spec and runtime options are replaced. With: labels,
  // labels.KEY, extensions, extensions.KEY, runtime, spec; InvalidArgument for others. NotFound.
  absl::StatusOr<Sandbox> Update(const Context& ctx, const Sandbox& sandbox,
                                 const std::vector<std::string>& paths);
  // NotFound.
  absl::Status Delete(const Context& ctx, absl::string_view id);

  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

 private:
  Db* db_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_SANDBOX_STORE_H_
