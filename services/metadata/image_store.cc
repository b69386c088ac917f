#include "services/metadata/image_store.h"

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "containerd/events/image.pb.h"
#include "services/metadata/keys.h"
#include "services/metadata/labels.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/store_util.h"

namespace gantry::services {
namespace {

using Image = ImageStore::Image;

constexpr absl::string_view kExpireLabel = "containerd.io/gc.expire";

std::string ImageKey(const Context& ctx, absl::string_view name) {
  return Key({kTableImages, ctx.ns, name});
}

bool HasZeroByte(absl::string_view text) {
  return absl::StrContains(text, absl::string_view("\0", 1));
}

absl::Status Validate(const Image& image) {
  if (image.name().empty()) return InvalidArgument("image name must not be empty");
  if (HasZeroByte(image.name())) return InvalidArgument("image name must not contain a zero byte");
  GANTRY_RETURN_IF_ERROR(ValidateLabels("image.Labels", image.labels()));
  const auto& target = image.target();
  if (absl::Status digest = CheckDigest(target.digest()); !digest.ok()) {
    return InvalidArgument(
        absl::StrCat("target.Digest ", Quoted(target.digest()), " invalid: ", digest.message()));
  }
  if (target.size() <= 0) return InvalidArgument("target.Size must be greater than zero");
  if (target.media_type().empty()) return InvalidArgument("target.MediaType must be set");
  return absl::OkStatus();
}

std::optional<std::string> Field(const Image& image, absl::Span<const std::string> path) {
  const std::string& first = path[0];
  if (first == "name") return IfNotEmpty(image.name());
  if (first == "labels") return LookupLabel(image.labels(), path.subspan(1));
  if (first == "annotations") return LookupLabel(image.target().annotations(), path.subspan(1));
  if (first == "target" && path.size() > 1) {
    if (path[1] == "digest") return IfNotEmpty(image.target().digest());
    if (path[1] == "mediatype") return IfNotEmpty(image.target().media_type());
  }
  return std::nullopt;
}

absl::Status ApplyPath(const Image& from, const std::string& path, Image* to) {
  std::string key;
  if (PathKey(path, "labels.", &key)) {
    CopyEntry(from.labels(), key, to->mutable_labels());
  } else if (PathKey(path, "annotations.", &key)) {
    CopyEntry(from.target().annotations(), key, to->mutable_target()->mutable_annotations());
  } else if (path == "labels") {
    *to->mutable_labels() = from.labels();
  } else if (path == "target") {
    *to->mutable_target() = from.target();
  } else if (path == "annotations") {
    *to->mutable_target()->mutable_annotations() = from.target().annotations();
  } else {
    return InvalidArgument(
        absl::StrCat("cannot update ", Quoted(path), " field on image ", Quoted(from.name())));
  }
  return absl::OkStatus();
}

// Only images that may expire need a lease; the others are roots themselves.
absl::Status LinkImage(Tx& tx, const Context& ctx, const Image& image) {
  if (!image.labels().contains(std::string(kExpireLabel))) return absl::OkStatus();
  return LinkToLease(tx, ctx, kLeaseImages, image.name());
}

void Write(Tx& tx, const Context& ctx, Image* image) {
  DropEmpty(image->mutable_labels());
  if (image->has_target()) DropEmpty(image->mutable_target()->mutable_annotations());
  tx.PutProto(ImageKey(ctx, image->name()), *image);
}

template <typename Event>
void AddImageEvent(Tx& tx, const Context& ctx, absl::string_view topic, const Image& image) {
  Event event;
  event.set_name(image.name());
  *event.mutable_labels() = image.labels();
  tx.AddEvent(ctx.ns, topic, event);
}

absl::StatusOr<Image> CreateIn(Tx& tx, const Context& ctx, Image image, absl::Time now) {
  GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ctx.ns));
  GANTRY_RETURN_IF_ERROR(LinkImage(tx, ctx, image));
  base::SetTimestamp(image.mutable_created_at(), now);
  *image.mutable_updated_at() = image.created_at();
  Write(tx, ctx, &image);
  AddImageEvent<containerd::services::images::v1::ImageCreate>(tx, ctx, "/images/create", image);
  return image;
}

absl::StatusOr<Image> ReplaceIn(Tx& tx, const Context& ctx, Image image, const Image& old,
                                absl::Time now) {
  GANTRY_RETURN_IF_ERROR(Validate(image));
  GANTRY_RETURN_IF_ERROR(LinkImage(tx, ctx, image));
  *image.mutable_created_at() = old.created_at();
  base::SetTimestamp(image.mutable_updated_at(), now);
  Write(tx, ctx, &image);
  // What only the old target or labels referred to may be garbage now.
  tx.MarkDirty();
  AddImageEvent<containerd::services::images::v1::ImageUpdate>(tx, ctx, "/images/update", image);
  return image;
}

void AddDeleteEvent(Tx& tx, absl::string_view ns, absl::string_view name) {
  containerd::services::images::v1::ImageDelete event;
  event.set_name(std::string(name));
  tx.AddEvent(ns, "/images/delete", event);
}

}  // namespace

absl::StatusOr<Image> ImageStore::Get(const Context& ctx, absl::string_view name) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (HasZeroByte(name)) return NotFound("image", name);
  Image result;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Image> image, view.GetProto<Image>(ImageKey(ctx, name)));
    if (!image.has_value()) return NotFound("image", name);
    result = *std::move(image);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<std::vector<Image>> ImageStore::List(const Context& ctx,
                                                    const std::vector<std::string>& filters) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_ASSIGN_OR_RETURN(Filter filter, ParseListFilters(filters));
  std::vector<Image> list;
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) {
    return view.ScanProto<Image>(KeyPrefix({kTableImages, ctx.ns}), [&](absl::string_view,
                                                                        Image& image) {
      const auto lookup = [&](absl::Span<const std::string> path) { return Field(image, path); };
      if (filter.Match(lookup)) list.push_back(std::move(image));
      return true;
    });
  }));
  return list;
}

absl::StatusOr<Image> ImageStore::Create(const Context& ctx, Image image,
                                         std::optional<absl::Time> now) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(Validate(image));
  Image created;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(ImageKey(ctx, image.name())));
    if (exists) return AlreadyExists("image", image.name());
    GANTRY_ASSIGN_OR_RETURN(created,
                            CreateIn(tx, ctx, std::move(image), now.value_or(absl::Now())));
    return absl::OkStatus();
  }));
  return created;
}

absl::StatusOr<Image> ImageStore::Update(const Context& ctx, const Image& image,
                                         const std::vector<std::string>& paths,
                                         std::optional<absl::Time> now) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (image.name().empty()) return InvalidArgument("image name is required for update");
  if (HasZeroByte(image.name())) return NotFound("image", image.name());
  Image updated;
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Image> old,
                            tx.GetProto<Image>(ImageKey(ctx, image.name())));
    if (!old.has_value()) return NotFound("image", image.name());
    Image wanted = paths.empty() ? image : *old;
    for (const std::string& path : paths) {
      GANTRY_RETURN_IF_ERROR(ApplyPath(image, path, &wanted));
    }
    GANTRY_ASSIGN_OR_RETURN(updated,
                            ReplaceIn(tx, ctx, std::move(wanted), *old, now.value_or(absl::Now())));
    return absl::OkStatus();
  }));
  return updated;
}

absl::Status ImageStore::Delete(const Context& ctx, absl::string_view name,
                                std::optional<std::string> target_digest) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  if (HasZeroByte(name)) return NotFound("image", name);
  return db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Image> image, tx.GetProto<Image>(ImageKey(ctx, name)));
    if (!image.has_value()) return NotFound("image", name);
    if (!target_digest.value_or("").empty() && image->target().digest() != *target_digest) {
      return absl::NotFoundError(absl::StrCat("image ", Quoted(name), " has target ",
                                              image->target().digest(), ", not ", *target_digest,
                                              ": not found"));
    }
    GANTRY_RETURN_IF_ERROR(UnlinkFromLease(tx, ctx, kLeaseImages, name));
    tx.Delete(ImageKey(ctx, name));
    tx.MarkDirty();
    AddDeleteEvent(tx, ctx.ns, name);
    return absl::OkStatus();
  });
}

absl::StatusOr<Image> ImageStore::PutInTx(Tx& tx, const Context& ctx, Image image) const {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(ctx));
  GANTRY_RETURN_IF_ERROR(Validate(image));
  GANTRY_ASSIGN_OR_RETURN(std::optional<Image> old,
                          tx.GetProto<Image>(ImageKey(ctx, image.name())));
  if (!old.has_value()) return CreateIn(tx, ctx, std::move(image), absl::Now());
  return ReplaceIn(tx, ctx, std::move(image), *old, absl::Now());
}

std::vector<std::string> ImageStore::GcTables() const { return {std::string(kTableImages)}; }

absl::Status ImageStore::GcVisit(const GcRecord& record, GcVisitor* visitor) const {
  Image image;
  if (record.key.size() != 2 ||
      !image.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) {
    return absl::DataLossError("an image record cannot be parsed");
  }
  const std::string ns(record.key[0]);
  const GcNode node{GcNode::Type::kImage, ns, std::string(record.key[1])};
  visitor->Exists(node);
  if (!GcIsExpired(image.labels(), visitor->now())) visitor->Root(node);
  visitor->ParentEdge(node, {GcNode::Type::kContent, ns, image.target().digest()});
  GcVisitLabels(node, image.labels(), visitor);
  return absl::OkStatus();
}

absl::Status ImageStore::GcRemove(Tx& tx, const std::vector<GcNode>& nodes) {
  for (const GcNode& node : nodes) {
    tx.Delete(Key({kTableImages, node.ns, node.key}));
    AddDeleteEvent(tx, node.ns, node.key);
  }
  return absl::OkStatus();
}

void ImageStore::GcReclaim(const std::vector<GcNode>&) {}

}  // namespace gantry::services
