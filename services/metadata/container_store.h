#ifndef GANTRY_SERVICES_METADATA_CONTAINER_STORE_H_
#define GANTRY_SERVICES_METADATA_CONTAINER_STORE_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/services/containers/v1/containers.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// Container records: what a container is made of, not whether it runs. Every method wants a
// namespace in its context (FailedPrecondition). Thread-safe; as long-lived as its Db.
class ContainerStore : public GcParticipant {
 public:
  using Container = containerd::services::containers::v1::Container;

  explicit ContainerStore(Db* db) : db_(db) {}

  // NotFound `container "ID" in namespace "NS": not found`.
  absl::StatusOr<Container> Get(const Context& ctx, absl::string_view id) const;
  // Ordered by id. Fields of filters: id, runtime.name, image, labels.KEY.
  absl::StatusOr<std::vector<Container>> List(const Context& ctx,
                                              const std::vector<std::string>& filters) const;
  // AlreadyExists; InvalidArgument for a bad id, labels, extensions without value, a missing
  // runtime or spec, a snapshot key without snapshotter. Event /containers/create.
  absl::StatusOr<Container> Create(const Context& ctx, Container container);
  // Without `paths`: labels, spec, extensions, image and snapshot key are replaced, and it is
  // InvalidArgument to send another snapshotter or runtime. With: labels, labels.KEY,
  // spec, extensions, extensions.KEY, image, snapshotkey; InvalidArgument for others. NotFound.
  // Event /containers/update.
  absl::StatusOr<Container> Update(const Context& ctx, const Container& container,
                                   const std::vector<std::string>& paths);
  // The same within a transaction of the caller. CreateInTx() sets the times; ReplaceInTx() takes
  // the record as it is, but for updated_at.
  absl::Status CreateInTx(Tx& tx, const Context& ctx, Container* container) const;
  absl::StatusOr<Container> GetInTx(const ReadView& view, const Context& ctx,
                                    absl::string_view id) const;
  absl::Status ReplaceInTx(Tx& tx, const Context& ctx, Container container) const;
  absl::Status DeleteInTx(Tx& tx, const Context& ctx, absl::string_view id) const;

  // NotFound. Event /containers/delete.
  absl::Status Delete(const Context& ctx, absl::string_view id);

  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

 private:
  Db* db_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_CONTAINER_STORE_H_
