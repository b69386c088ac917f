// POST /images/create?fromSrc=…: an image from a tar of a root file system.

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/content.h"
#include "client/image_import.h"
#include "client/lease.h"
#include "docker/images/changes.h"
#include "docker/images/image_api.h"
#include "docker/images/image_json.h"
#include "docker/images/line_stream.h"
#include "docker/images/new_image.h"
#include "docker/images/progress.h"
#include "gantry/services/registry/v1/registry.methods.h"

namespace gantry::docker {
namespace {

using base::Json;
using http::Exchange;
namespace registry = gantry::services::registry::v1;

// What suffices to tell how an archive is compressed.
constexpr size_t kHead = 8;

struct ImportRequest {
  std::string source;  // "-" or a URL
  ImageReference reference;
  bool named = false;
  std::string message;
  Json run_config;
  Platform platform;
};

absl::StatusOr<ImportRequest> ReadRequest(const Exchange& exchange) {
  const http::Query& query = exchange.query();
  ImportRequest out;
  out.source = query.Get("fromSrc");
  if (out.source.empty()) {
    return absl::InvalidArgumentError("either fromImage or fromSrc must be given");
  }
  if (!query.Get("repo").empty()) {
    GANTRY_ASSIGN_OR_RETURN(out.reference, ParseImageReference(query.Get("repo")));
    if (!out.reference.digest.empty()) {
      return absl::InvalidArgumentError("cannot import digest reference");
    }
    if (!query.Get("tag").empty()) {
      GANTRY_RETURN_IF_ERROR(CheckTag(query.Get("tag")));
      out.reference.tag = query.Get("tag");
    }
    out.reference = out.reference.WithDefaultTag();
    out.named = true;
  }
  out.message = query.Get("message");
  if (out.message.empty()) out.message = absl::StrCat("Imported from ", out.source);
  out.run_config = Json::object();
  GANTRY_RETURN_IF_ERROR(ApplyChanges(query.All("changes"), &out.run_config));
  out.platform = Platform::OfThisMachine();
  if (!query.Get("platform").empty()) {
    GANTRY_ASSIGN_OR_RETURN(out.platform, Platform::Parse(query.Get("platform")));
  }
  return out;
}

// Stores what `source` gives as a blob. Its digest is known only at the end.
absl::StatusOr<client::Descriptor> StoreLayer(const client::Connection& connection,
                                              const client::ByteSource& source) {
  GANTRY_ASSIGN_OR_RETURN(
      client::BlobWriter writer,
      client::BlobWriter::Open(connection, absl::StrCat("import-", base::RandomHex(8)), 0, ""));
  client::Descriptor layer;
  base::Hasher hasher;
  std::string head;
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(std::string data, source());
    if (data.empty()) break;
    if (head.size() < kHead) head.append(data.substr(0, kHead - head.size()));
    hasher.Update(data);
    GANTRY_RETURN_IF_ERROR(writer.Append(data));
    layer.size += static_cast<int64_t>(data.size());
  }
  GANTRY_ASSIGN_OR_RETURN(layer.media_type, LayerMediaType(head));
  layer.digest = hasher.Finish();
  absl::Status status = writer.Commit();
  if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
  return layer;
}

// The body, or what the URL has; gantryd fetches that.
absl::StatusOr<client::Descriptor> Receive(const ImageApiPtr& api,
                                           const client::Connection& connection,
                                           const std::shared_ptr<Exchange>& exchange,
                                           const std::string& source, LineStream* lines) {
  if (source == "-") return StoreLayer(connection, [&] { return exchange->ReadBodySome(); });
  std::string url = source;
  if (!absl::StrContains(url, "://")) url = absl::StrCat("http://", url);
  lines->Emit(StatusLine(absl::StrCat("Downloading from ", url)));
  registry::DownloadRequest request;
  request.set_url(url);
  auto stream = api->context.gantryd.Open(registry::RegistriesMethods::kDownload, request);
  int64_t total = -1;
  int64_t done = 0;
  absl::Time told = absl::InfinitePast();
  return StoreLayer(connection, [&]() -> absl::StatusOr<std::string> {
    registry::DownloadResponse part;
    do {
      if (!stream.Read(&part)) {
        GANTRY_RETURN_IF_ERROR(stream.Finish());
        return std::string();
      }
    } while (part.data().empty());
    if (done == 0) total = part.total();
    done += static_cast<int64_t>(part.data().size());
    if (absl::Now() - told > absl::Milliseconds(200)) {
      lines->Emit(ProgressLine("Importing", "", done, total));
      told = absl::Now();
    }
    if (lines->closed()) return absl::CancelledError("the client is gone");
    return std::move(*part.mutable_data());
  });
}

absl::Status Import(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange,
                    const ImportRequest& request, LineStream* lines) {
  GANTRY_ASSIGN_OR_RETURN(client::Lease lease, client::Lease::Create(api->context.gantryd));
  const client::Connection& connection = lease.connection();
  GANTRY_ASSIGN_OR_RETURN(client::Descriptor layer,
                          Receive(api, connection, exchange, request.source, lines));
  GANTRY_ASSIGN_OR_RETURN(base::Digest diff_id, UnpackNewLayer(connection, api->store.snapshotter(),
                                                               layer, /*parent=*/""));
  Json config = NewImageConfig({diff_id}, absl::Now());
  config["architecture"] = request.platform.architecture;
  config["os"] = request.platform.os;
  if (!request.platform.variant.empty()) config["variant"] = request.platform.variant;
  config["comment"] = request.message;
  config["config"] = request.run_config;
  config["history"].push_back({{"created", config["created"]}, {"comment", request.message}});
  GANTRY_ASSIGN_OR_RETURN(
      client::Descriptor target,
      WriteImage(connection, api->store.snapshotter(), config, {layer}, diff_id.str()));
  GANTRY_RETURN_IF_ERROR(api->store.Tag(
      request.named ? request.reference.str() : DanglingName(target.digest), target));
  GANTRY_ASSIGN_OR_RETURN(auto content, api->store.Load(target));
  api->Publish("import", content->id.str(),
               request.named ? request.reference.Familiar() : content->id.str(), content.get());
  lines->Emit(StatusLine(content->id.str()));
  return absl::OkStatus();
}

}  // namespace

absl::Status ImportImage(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(ImportRequest request, ReadRequest(*exchange));
  LineStream lines(exchange);
  return lines.End(Import(api, exchange, request, &lines));
}

}  // namespace gantry::docker
