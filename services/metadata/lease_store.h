#ifndef GANTRY_SERVICES_METADATA_LEASE_STORE_H_
#define GANTRY_SERVICES_METADATA_LEASE_STORE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "containerd/services/leases/v1/leases.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"
#include "services/metadata/labels.h"

namespace gantry::services {

// The `type` of a lease's resources, as on the wire.
inline constexpr absl::string_view kLeaseContent = "content";
inline constexpr absl::string_view kLeaseIngests = "ingests";
inline constexpr absl::string_view kLeaseImages = "images";
// "snapshots/SNAPSHOTTER".
std::string LeaseSnapshots(absl::string_view snapshotter);

// Leases keep what they list from being collected until they are deleted or expire. Every method
// wants a namespace in its context (FailedPrecondition). Thread-safe; as long-lived as its Db.
class LeaseStore : public GcParticipant {
 public:
  using Lease = containerd::services::leases::v1::Lease;
  using Resource = containerd::services::leases::v1::Resource;

  explicit LeaseStore(Db* db) : db_(db) {}

  // NotFound.
  absl::StatusOr<Lease> Get(const Context& ctx, absl::string_view id) const;
  // An empty id is replaced by a random one. AlreadyExists.
  absl::StatusOr<Lease> Create(const Context& ctx, std::string id, const LabelMap& labels);
  // NotFound.
  absl::Status Delete(const Context& ctx, absl::string_view id);
  // NotFound.
  absl::Status SetLabel(const Context& ctx, absl::string_view id, const std::string& key,
                        const std::string& value);
  // Ordered by id. Fields of filters: id, labels.KEY.
  absl::StatusOr<std::vector<Lease>> List(const Context& ctx,
                                          const std::vector<std::string>& filters) const;
  // NotFound (lease); InvalidArgument for a malformed type or digest; Unimplemented for other
  // types. The resource itself need not exist.
  absl::Status AddResource(const Context& ctx, absl::string_view id, const Resource& resource);
  absl::Status DeleteResource(const Context& ctx, absl::string_view id, const Resource& resource);
  absl::StatusOr<std::vector<Resource>> ListResources(const Context& ctx,
                                                      absl::string_view id) const;

  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

 private:
  Db* db_;
};

// Content, snapshots and images call it in the transaction that creates a record: lists the new
// object in the lease of the context. OK when the context has none; NotFound "lease does not exist"
// when the lease is gone. `type` as above, `id`: digest, ingest ref, snapshot key, image name.
absl::Status LinkToLease(Tx& tx, const Context& ctx, absl::string_view type, absl::string_view id);
// The opposite, when an object becomes another (an ingest a blob, an active snapshot a committed
// one) or is removed. OK when it is not listed.
absl::Status UnlinkFromLease(Tx& tx, const Context& ctx, absl::string_view type,
                             absl::string_view id);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_LEASE_STORE_H_
