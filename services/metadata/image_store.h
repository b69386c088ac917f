#ifndef GANTRY_SERVICES_METADATA_IMAGE_STORE_H_
#define GANTRY_SERVICES_METADATA_IMAGE_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "containerd/services/images/v1/images.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"
#include "services/metadata/filters.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// Image names and what they point to. Every method wants a namespace in its context
// (FailedPrecondition). Changes are durable when a method returns. Thread-safe; as long-lived as
// its Db.
class ImageStore : public GcParticipant {
 public:
  using Image = containerd::services::images::v1::Image;

  explicit ImageStore(Db* db) : db_(db) {}

  // NotFound `image "NAME": not found`.
  absl::StatusOr<Image> Get(const Context& ctx, absl::string_view name) const;
  // Ordered by name. Fields of filters: name, target.digest, target.mediatype, labels.KEY,
  // annotations.KEY.
  absl::StatusOr<std::vector<Image>> List(const Context& ctx,
                                          const std::vector<std::string>& filters) const;
  // Sets both times (to `now` when given: a build's SOURCE_DATE_EPOCH). AlreadyExists;
  // InvalidArgument for an empty name, labels that are too long, a target without valid digest,
  // size or media type. Belongs to the lease of the context. Event /images/create.
  absl::StatusOr<Image> Create(const Context& ctx, Image image,
                               std::optional<absl::Time> now = std::nullopt);
  // Replaces all but the creation time, or only `paths`: labels, labels.KEY, annotations,
  // annotations.KEY, target; InvalidArgument for others. NotFound. Event /images/update.
  absl::StatusOr<Image> Update(const Context& ctx, const Image& image,
                               const std::vector<std::string>& paths,
                               std::optional<absl::Time> now = std::nullopt);
  // With `target_digest` only if the image still points there (NotFound otherwise, as containerd).
  // Schedules nothing: the collector hears of it through the Db. Event /images/delete.
  absl::Status Delete(const Context& ctx, absl::string_view name,
                      std::optional<std::string> target_digest = std::nullopt);

  // Creates or replaces within a transaction of the caller (pull, import, tag), with the event.
  absl::StatusOr<Image> PutInTx(Tx& tx, const Context& ctx, Image image) const;

  std::vector<std::string> GcTables() const override;
  absl::Status GcVisit(const GcRecord& record, GcVisitor* visitor) const override;
  absl::Status GcRemove(Tx& tx, const std::vector<GcNode>& nodes) override;
  void GcReclaim(const std::vector<GcNode>& nodes) override;

 private:
  Db* db_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_IMAGE_STORE_H_
