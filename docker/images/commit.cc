// POST /commit: an image from a container.

#include "docker/images/commit.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/lease.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/diff/v1/diff.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "docker/containers/lookup.h"
#include "docker/images/changes.h"
#include "docker/images/image_json.h"
#include "docker/images/new_image.h"
#include "docker/images/progress.h"
#include "docker/system/publish.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;
using http::Exchange;
namespace contents = containerd::services::content::v1;
namespace diffs = containerd::services::diff::v1;
namespace lifecycle = gantry::services::lifecycle::v1;
namespace snapshots = containerd::services::snapshots::v1;

constexpr char kUncompressed[] = "containerd.io/uncompressed";

struct CommitRequest {
  ImageReference reference;
  bool named = false;
  std::string comment;
  std::string author;
  std::vector<std::string> changes;
  bool pause = true;
  Json config;  // over the container's own; null: none
};

absl::StatusOr<CommitRequest> ReadRequest(Exchange* exchange) {
  const http::Query& query = exchange->query();
  CommitRequest out;
  if (!query.Get("repo").empty()) {
    GANTRY_ASSIGN_OR_RETURN(out.reference, ParseImageReference(query.Get("repo")));
    if (!out.reference.digest.empty()) {
      return absl::InvalidArgumentError("cannot commit to a digest reference");
    }
    if (!query.Get("tag").empty()) {
      GANTRY_RETURN_IF_ERROR(CheckTag(query.Get("tag")));
      out.reference.tag = query.Get("tag");
    }
    out.reference = out.reference.WithDefaultTag();
    out.named = true;
  }
  out.comment = query.Get("comment");
  out.author = query.Get("author");
  out.changes = query.All("changes");
  out.pause = query.Bool("pause", true);
  GANTRY_ASSIGN_OR_RETURN(out.config, exchange->ReadJson());
  if (!out.config.is_null() && !out.config.is_object()) {
    return absl::InvalidArgumentError("invalid JSON: an object is expected");
  }
  return out;
}

// Stops the processes of a running container for the moment.
class Paused {
 public:
  Paused(const Context& context, const FoundContainer& container, bool wanted)
      : context_(context), id_(container.id()) {
    if (!wanted || container.state().status() != "running") return;
    lifecycle::PauseRequest request;
    request.set_id(id_);
    google::protobuf::Empty nothing;
    // One that ends in this moment needs no pause.
    paused_ = context.gantryd.Call(lifecycle::LifecycleMethods::kPause, request, &nothing).ok();
  }
  Paused(const Paused&) = delete;
  ~Paused() {
    if (!paused_) return;
    lifecycle::ResumeRequest request;
    request.set_id(id_);
    google::protobuf::Empty nothing;
    (void)context_.gantryd.Call(lifecycle::LifecycleMethods::kResume, request, &nothing);
  }

 private:
  const Context& context_;
  const std::string id_;
  bool paused_ = false;
};

// A view of the container's parent snapshot, for the comparison; removed at the end.
class ParentView {
 public:
  ParentView(const client::Connection& connection, std::string snapshotter, std::string parent)
      : connection_(connection), snapshotter_(std::move(snapshotter)), parent_(std::move(parent)) {}
  ParentView(const ParentView&) = delete;
  ~ParentView() {
    if (key_.empty()) return;
    snapshots::RemoveSnapshotRequest request;
    request.set_snapshotter(snapshotter_);
    request.set_key(key_);
    google::protobuf::Empty nothing;
    (void)connection_.Call(snapshots::SnapshotsMethods::kRemove, request, &nothing);
  }

  absl::Status Mounts(google::protobuf::RepeatedPtrField<containerd::types::Mount>* to) {
    snapshots::ViewSnapshotRequest request;
    request.set_snapshotter(snapshotter_);
    request.set_key(absl::StrCat("commit-", base::RandomHex(8)));
    request.set_parent(parent_);
    snapshots::ViewSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(
        connection_.Call(snapshots::SnapshotsMethods::kView, request, &response));
    key_ = request.key();
    *to = response.mounts();
    return absl::OkStatus();
  }

 private:
  const client::Connection& connection_;
  const std::string snapshotter_;
  const std::string parent_;
  std::string key_;
};

// What the container changed, as a layer in the content store.
absl::StatusOr<NewLayer> MakeLayer(const client::Connection& connection,
                                   const FoundContainer& container) {
  const std::string& snapshotter = container.container.snapshotter();
  diffs::DiffRequest request;
  request.set_media_type("application/vnd.oci.image.layer.v1.tar+gzip");
  request.set_ref(absl::StrCat("commit-", base::RandomHex(8)));
  snapshots::StatSnapshotRequest stat;
  stat.set_snapshotter(snapshotter);
  stat.set_key(container.container.snapshot_key());
  snapshots::StatSnapshotResponse info;
  GANTRY_RETURN_IF_ERROR(connection.Call(snapshots::SnapshotsMethods::kStat, stat, &info));
  ParentView view(connection, snapshotter, info.info().parent());
  if (!info.info().parent().empty()) {
    GANTRY_RETURN_IF_ERROR(view.Mounts(request.mutable_left()));
  }
  snapshots::MountsRequest mounts;
  mounts.set_snapshotter(snapshotter);
  mounts.set_key(container.container.snapshot_key());
  snapshots::MountsResponse right;
  GANTRY_RETURN_IF_ERROR(connection.Call(snapshots::SnapshotsMethods::kMounts, mounts, &right));
  *request.mutable_right() = right.mounts();
  diffs::DiffResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(diffs::DiffMethods::kDiff, request, &response));
  NewLayer layer;
  layer.blob.media_type = response.diff().media_type();
  layer.blob.size = response.diff().size();
  GANTRY_ASSIGN_OR_RETURN(layer.blob.digest, base::Digest::Parse(response.diff().digest()));
  contents::InfoRequest blob;
  blob.set_digest(response.diff().digest());
  contents::InfoResponse labels;
  GANTRY_RETURN_IF_ERROR(connection.Call(contents::ContentMethods::kInfo, blob, &labels));
  auto found = labels.info().labels().find(kUncompressed);
  if (found == labels.info().labels().end()) {
    return absl::InternalError("the diff service did not tell the layer's uncompressed digest");
  }
  GANTRY_ASSIGN_OR_RETURN(layer.diff_id, base::Digest::Parse(found->second));
  return layer;
}

// The container's configuration as an image has it, with what the request puts over it.
absl::StatusOr<Json> RunConfig(const FoundContainer& container, const CommitRequest& request) {
  Json config = Json(container.document.config.ToJson());
  if (request.config.is_object()) {
    for (const auto& [key, value] : request.config.items()) {
      const bool empty = value.is_null() || (value.is_string() && value == "") ||
                         (value.is_structured() && value.empty()) || value == false;
      if (!empty) config[key] = value;
    }
  }
  // These are of one container, not of an image.
  for (const char* key : {"Hostname", "Domainname", "Image", "MacAddress", "NetworkDisabled"}) {
    config.erase(key);
  }
  for (const char* key :
       {"AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce", "Tty"}) {
    config.erase(key);
  }
  GANTRY_RETURN_IF_ERROR(ApplyChanges(request.changes, &config));
  return config;
}

absl::Status Commit(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(CommitRequest request, ReadRequest(exchange.get()));
  const std::string& typed = exchange->query().Get("container");
  if (typed.empty()) return absl::InvalidArgumentError("no container was given");
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(api->context, typed));
  GANTRY_ASSIGN_OR_RETURN(Json run_config, RunConfig(container, request));
  GANTRY_ASSIGN_OR_RETURN(client::Lease lease, client::Lease::Create(api->context.gantryd));
  NewLayer layer;
  {
    Paused paused(api->context, container, request.pause);
    GANTRY_ASSIGN_OR_RETURN(layer, MakeLayer(lease.connection(), container));
  }
  ImageContent base;
  auto parent = api->store.Find(container.document.image_id);
  if (parent.ok()) base = *parent->content;
  std::vector<client::Descriptor> layers = base.layers;
  std::vector<base::Digest> diff_ids = base.diff_ids;
  const std::string parent_chain = base.chain_ids.empty() ? "" : base.chain_ids.back();
  layers.push_back(layer.blob);
  diff_ids.push_back(layer.diff_id);
  GANTRY_RETURN_IF_ERROR(UnpackNewLayer(lease.connection(), container.container.snapshotter(),
                                        layer.blob, parent_chain)
                             .status());
  Json config = NewImageConfig(diff_ids, absl::Now());
  config["author"] = request.author;
  config["comment"] = request.comment;
  config["container"] = container.id();
  config["config"] = run_config;
  const Json& old = base::JsonAt(base.config, "history");
  if (old.is_array()) config["history"] = old;
  std::string command = container.document.path;
  for (const std::string& argument : container.document.args) {
    absl::StrAppend(&command, " ", argument);
  }
  config["history"].push_back({{"created", config["created"]},
                               {"created_by", command},
                               {"author", request.author},
                               {"comment", request.comment}});
  GANTRY_ASSIGN_OR_RETURN(client::Descriptor target,
                          WriteImage(lease.connection(), container.container.snapshotter(), config,
                                     layers, client::ChainIds(diff_ids).back()));
  std::map<std::string, std::string> labels;
  if (parent.ok()) labels[kParentLabel] = container.document.image_id;
  GANTRY_RETURN_IF_ERROR(api->store.Tag(
      request.named ? request.reference.str() : DanglingName(target.digest), target, labels));
  GANTRY_ASSIGN_OR_RETURN(auto content, api->store.Load(target));
  PublishEvent(api->context.gantryd, "container", "commit", container.id(),
               {{"name", container.name()},
                {"image", container.document.config.image},
                {"comment", request.comment},
                {"imageID", content->id.str()},
                {"imageRef", request.named ? request.reference.Familiar() : ""}});
  exchange->ReplyJson(201, OrderedJson{{"Id", content->id.str()}});
  return absl::OkStatus();
}

}  // namespace

void AddCommitRoutes(http::Router& router, const Context& context) {
  auto api = std::make_shared<ImageApi>(context);
  router.Add("POST", "/commit", [api](const auto& exchange) { return Commit(api, exchange); });
}

}  // namespace gantry::docker
