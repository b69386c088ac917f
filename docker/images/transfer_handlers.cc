// POST /images/create, POST /images/{name}/push.

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "client/content.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/images/v1/images.methods.h"
#include "docker/images/image_api.h"
#include "docker/images/line_stream.h"
#include "docker/images/progress.h"
#include "docker/images/registry_errors.h"
#include "gantry/services/registry/v1/registry.methods.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;
namespace contents = containerd::services::content::v1;
namespace registry = gantry::services::registry::v1;

constexpr char kSourceLabel[] = "containerd.io/distribution.source.";

absl::StatusOr<ImageReference> WantedReference(const std::string& image, const std::string& tag) {
  GANTRY_ASSIGN_OR_RETURN(ImageReference reference, ParseImageReference(image));
  if (tag.empty()) return reference.WithoutTagIfDigested();
  if (absl::StartsWith(tag, "sha256:") || absl::StartsWith(tag, "sha512:")) {
    auto digest = base::Digest::Parse(tag);
    if (!digest.ok()) return absl::InvalidArgumentError("invalid digest format");
    reference.digest = *digest;
  } else {
    GANTRY_RETURN_IF_ERROR(CheckTag(tag));
    reference.tag = tag;
  }
  return reference.WithoutTagIfDigested();
}

struct PullJob {
  ImageReference reference;
  Platform platform;
  RegistryAuth auth;
};

std::string TargetOf(const ImageApiPtr& api, const std::string& name) {
  containerd::services::images::v1::GetImageRequest request;
  request.set_name(name);
  containerd::services::images::v1::GetImageResponse answer;
  absl::Status status = api->context.gantryd.Call(
      containerd::services::images::v1::ImagesMethods::kGet, request, &answer);
  return status.ok() ? answer.image().target().digest() : "";
}

// One tag or digest; its lines go to `lines`, which begins the answer with the first of them.
absl::Status PullOne(const ImageApiPtr& api, const PullJob& job, LineStream* lines) {
  const std::string name = job.reference.str();
  GANTRY_ASSIGN_OR_RETURN(client::TransferOptions options,
                          api->Transfer(job.auth, job.reference.domain));
  options.snapshotter = api->store.snapshotter();
  options.architecture = job.platform.architecture;
  options.variant = job.platform.variant;
  options.cancelled = [lines] { return lines->closed(); };
  GANTRY_ASSIGN_OR_RETURN(const std::string spare, api->store.KeepSpare(name));
  const std::string before = TargetOf(api, name);
  const std::string object =
      job.reference.digest.empty() ? job.reference.tag : job.reference.digest.str();
  bool begun = false;
  PullProgress progress([lines](const OrderedJson& line) { lines->Emit(line); });
  absl::Status status =
      client::Pull(api->context.gantryd, name, options, [&](const client::Progress& report) {
        // Only what was resolved has blobs.
        if (!begun && !report.desc().digest().empty()) {
          lines->Emit(StatusLine(absl::StrCat("Pulling from ", job.reference.path), object));
          begun = true;
        }
        progress.On(report);
      });
  api->store.DropSpare(spare);
  if (!status.ok()) {
    return PullError(status, job.reference, job.platform, !job.auth.empty());
  }
  if (!begun) lines->Emit(StatusLine(absl::StrCat("Pulling from ", job.reference.path), object));
  const std::string digest = TargetOf(api, name);
  auto image = api->store.Find(name);
  if (image.ok()) {
    api->store.DropSpare(DanglingName(image->target.digest));
    api->Publish("pull", job.reference.Familiar(), job.reference.FamiliarRepository(),
                 image->content.get());
  }
  lines->Emit(StatusLine(absl::StrCat("Digest: ", digest)));
  lines->Emit(StatusLine(absl::StrCat(
      digest == before ? "Status: Image is up to date for " : "Status: Downloaded newer image for ",
      job.reference.Familiar())));
  return absl::OkStatus();
}

void FillAccess(const client::TransferOptions& options, const RegistryAuth& auth,
                registry::Access* access) {
  access->set_username(auth.username);
  access->set_password(auth.password);
  access->set_identity_token(auth.identity_token);
  access->set_registry_token(auth.registry_token);
  access->set_hosts_dir(options.hosts_dir);
}

absl::StatusOr<std::vector<std::string>> AllTags(const ImageApiPtr& api, const PullJob& job) {
  GANTRY_ASSIGN_OR_RETURN(client::TransferOptions options,
                          api->Transfer(job.auth, job.reference.domain));
  registry::ListTagsRequest request;
  request.set_repository(job.reference.Repository());
  FillAccess(options, job.auth, request.mutable_access());
  registry::ListTagsResponse response;
  absl::Status status =
      api->context.gantryd.Call(registry::RegistriesMethods::kListTags, request, &response);
  if (!status.ok()) return PullError(status, job.reference, job.platform, !job.auth.empty());
  return std::vector<std::string>(response.tags().begin(), response.tags().end());
}

absl::Status PullAll(const ImageApiPtr& api, PullJob job, LineStream* lines) {
  if (!job.reference.tag.empty() || !job.reference.digest.empty()) {
    return PullOne(api, job, lines);
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> tags, AllTags(api, job));
  for (const std::string& tag : tags) {
    if (!CheckTag(tag).ok()) continue;  // the registry's word is no proof
    job.reference.tag = tag;
    GANTRY_RETURN_IF_ERROR(PullOne(api, job, lines));
  }
  return absl::OkStatus();
}

absl::Status Create(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  const http::Query& query = exchange->query();
  if (query.Get("fromImage").empty()) return ImportImage(api, exchange);
  PullJob job;
  GANTRY_ASSIGN_OR_RETURN(job.reference, WantedReference(query.Get("fromImage"), query.Get("tag")));
  job.platform = Platform::OfThisMachine();
  if (!query.Get("platform").empty()) {
    GANTRY_ASSIGN_OR_RETURN(job.platform, Platform::Parse(query.Get("platform")));
    if (job.platform.os != "linux") {
      return absl::NotFoundError(absl::StrCat(
          "no matching manifest for ", job.platform.str(),
          " in the manifest list entries: no match for platform in manifest: not found"));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(job.auth,
                          ParseRegistryAuth(exchange->request().Header("x-registry-auth")));
  LineStream lines(exchange);
  return lines.End(PullAll(api, job, &lines));
}

// Where an image was pushed to it can be found by its digest.
void RememberSource(const ImageApiPtr& api, const ImageReference& reference,
                    const base::Digest& digest) {
  contents::InfoRequest request;
  request.set_digest(digest.str());
  contents::InfoResponse response;
  if (!api->context.gantryd.Call(contents::ContentMethods::kInfo, request, &response).ok()) return;
  const std::string key = absl::StrCat(kSourceLabel, reference.domain);
  const auto& labels = response.info().labels();
  auto known = labels.find(key);
  std::string value = known == labels.end() ? "" : known->second;
  if (absl::StrContains(absl::StrCat(",", value, ","), absl::StrCat(",", reference.path, ","))) {
    return;
  }
  absl::StrAppend(&value, value.empty() ? "" : ",", reference.path);
  (void)client::LabelBlob(api->context.gantryd, digest, {{key, value}});
}

absl::Status PushOne(const ImageApiPtr& api, const LocalImage& image,
                     const ImageReference& reference, const RegistryAuth& auth, LineStream* lines) {
  GANTRY_ASSIGN_OR_RETURN(client::TransferOptions options, api->Transfer(auth, reference.domain));
  options.architecture = image.content->platform.architecture;
  options.variant = image.content->platform.variant;
  options.cancelled = [lines] { return lines->closed(); };
  PushProgress progress([lines](const OrderedJson& line) { lines->Emit(line); });
  // The last manifest or index is the one under the tag.
  std::string digest = image.target.digest.str();
  int64_t size = image.target.size;
  absl::Status status =
      client::Push(api->context.gantryd, reference.str(), reference.str(), options,
                   [&](const client::Progress& report) {
                     const std::string& type = report.desc().media_type();
                     if (client::IsIndexType(type) || client::IsManifestType(type)) {
                       if (report.event() == "complete" || report.event() == "already exists") {
                         digest = report.desc().digest();
                         size = report.desc().size();
                       }
                     }
                     progress.On(report);
                   });
  if (!status.ok()) return PushError(status, !auth.empty());
  if (auto pushed = base::Digest::Parse(digest); pushed.ok()) {
    RememberSource(api, reference, *pushed);
  }
  api->Publish("push", reference.Familiar(), reference.FamiliarRepository(), image.content.get());
  lines->Emit(StatusLine(absl::StrCat(reference.tag, ": digest: ", digest, " size: ", size)));
  lines->Emit({{"progressDetail", OrderedJson::object()},
               {"aux", {{"Tag", reference.tag}, {"Digest", digest}, {"Size", size}}}});
  return absl::OkStatus();
}

absl::Status PushAll(const ImageApiPtr& api, const ImageReference& reference,
                     const RegistryAuth& auth, LineStream* lines) {
  lines->Emit(
      StatusLine(absl::StrCat("The push refers to repository [", reference.Repository(), "]")));
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  bool of_repository = false;
  std::vector<std::pair<const LocalImage*, ImageReference>> wanted;
  for (const LocalImage& image : all) {
    for (const ImageReference& tag : image.tags) {
      if (tag.Repository() != reference.Repository()) continue;
      of_repository = true;
      if (reference.tag.empty() || tag.tag == reference.tag) wanted.emplace_back(&image, tag);
    }
  }
  if (wanted.empty()) {
    return absl::NotFoundError(of_repository
                                   ? absl::StrCat("tag does not exist: ", reference.Familiar())
                                   : absl::StrCat("An image does not exist locally with the tag: ",
                                                  reference.FamiliarRepository()));
  }
  for (const auto& [image, tag] : wanted) {
    GANTRY_RETURN_IF_ERROR(PushOne(api, *image, tag, auth, lines));
  }
  return absl::OkStatus();
}

absl::Status Push(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(ImageReference reference, ParseImageReference(exchange->Var("name")));
  if (!reference.digest.empty()) {
    return absl::InvalidArgumentError("cannot push a digest reference");
  }
  if (const std::string& tag = exchange->query().Get("tag"); !tag.empty()) {
    GANTRY_RETURN_IF_ERROR(CheckTag(tag));
    reference.tag = tag;
  }
  GANTRY_ASSIGN_OR_RETURN(RegistryAuth auth,
                          ParseRegistryAuth(exchange->request().Header("x-registry-auth")));
  LineStream lines(exchange);
  return lines.End(PushAll(api, reference, auth, &lines));
}

}  // namespace

void AddImageTransferRoutes(http::Router& router, const ImageApiPtr& api) {
  router.Add("POST", "/images/create",
             [api](const auto& exchange) { return Create(api, exchange); });
  router.Add("POST", "/images/{name:.*}/push",
             [api](const auto& exchange) { return Push(api, exchange); });
}

}  // namespace gantry::docker
