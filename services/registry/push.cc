#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "services/registry/client.h"

namespace gantry::services {
namespace {

std::string WithDigest(const std::string& location, const base::Digest& digest) {
  return absl::StrCat(location, absl::StrContains(location, "?") ? "&" : "?",
                      "digest=", UrlEscape(digest.str()));
}

// The next offset by "Range: 0-N" of an upload; 0 if nothing has arrived. Docker's registry says
// "0-0" for both none and one byte; repeating one byte is refused, so none is taken.
uint64_t UploadedBytes(const HttpResponse& response) {
  absl::string_view range = FindHeader(response.headers, "range");
  size_t dash = range.find('-');
  uint64_t last = 0;
  if (dash == absl::string_view::npos || !absl::SimpleAtoi(range.substr(dash + 1), &last)) return 0;
  return last == 0 ? 0 : last + 1;
}

// An upload that a refused mount began and nobody will continue.
void Abandon(Endpoint* endpoint, const HttpResponse& begun,
             const std::vector<std::string>& scopes) {
  std::string location =
      ResolveUrl(endpoint->host().base_url(), std::string(FindHeader(begun.headers, "location")));
  HttpResponse ignored;
  if (!location.empty()) (void)endpoint->Once({"DELETE", location}, scopes, {}, &ignored);
}

// A window of another body.
HttpBody Slice(const HttpBody& body, uint64_t offset, uint64_t size) {
  return {size, [&body, offset](uint64_t at, char* to, size_t want, size_t* got) {
            return body.read(offset + at, to, want, got);
          }};
}

}  // namespace

// The location changes with every answer; it may be relative and may carry state in its query.
absl::Status RegistryClient::Upload(Endpoint* endpoint, const std::string& first_location,
                                    const ImageDescriptor& descriptor, const HttpBody& source) {
  const std::vector<std::string> scopes = Scopes("pull,push");
  std::string location = first_location;
  uint64_t offset = 0;
  bool chunked = options_.push_chunk > 0 && source.size > options_.push_chunk;
  for (int idle = 0;;) {
    const uint64_t start = offset;
    uint64_t left = source.size - offset;
    uint64_t size = chunked && options_.push_chunk > 0 ? std::min(left, options_.push_chunk) : left;
    // A PUT that carries the rest ends the upload; a chunk only moves it forward.
    bool last = size == left && (!chunked || left == 0);
    HttpBody part = Slice(source, offset, size);
    HttpRequest request{last ? "PUT" : "PATCH",
                        last ? WithDigest(location, descriptor.digest) : location,
                        {{"Content-Type", "application/octet-stream"}}};
    if (!last || offset > 0) {
      if (size > 0) {
        request.headers.emplace_back("Content-Range", absl::StrCat(offset, "-", offset + size - 1));
      }
    }
    if (size > 0) request.upload = &part;
    HttpResponse response;
    absl::Status status = endpoint->Once(request, scopes, {}, &response);
    if (response.callback_failed) return status;
    if (status.ok() && last && (response.status == 201 || response.status == 204)) return status;
    if (status.ok() && !last && response.status == 202) {
      offset += size;
      location = ResolveUrl(endpoint->host().base_url(),
                            std::string(FindHeader(response.headers, "location")));
      if (location.empty()) return absl::FailedPreconditionError("upload without a location");
      continue;
    }
    if (status.ok() && !IsTransient(response.status) && response.status != 416) {
      return StatusOfResponse("upload", response);
    }
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    if (status.ok()) status = StatusOfResponse("upload", response);
    if (++idle >= endpoint->retry().attempts) return status;
    GANTRY_RETURN_IF_ERROR(endpoint->Pause(idle, response));
    // Ask how far it got and go on from there, by chunks, which can be continued.
    HttpResponse where;
    GANTRY_RETURN_IF_ERROR(endpoint->Do({"GET", location}, scopes, {}, &where));
    if (where.status != 204 && where.status != 202) return StatusOfResponse("upload", where);
    offset = std::min(UploadedBytes(where), source.size);
    std::string next =
        ResolveUrl(endpoint->host().base_url(), std::string(FindHeader(where.headers, "location")));
    if (!next.empty()) location = next;
    chunked = true;
    if (offset > start) idle = 0;
  }
}

absl::StatusOr<RegistryClient::Pushed> RegistryClient::PushBlob(
    const ImageDescriptor& descriptor, const HttpBody& source,
    const std::vector<std::string>& mount_from) {
  auto pushed = OnEachHost<Pushed>(RegistryHost::kPush, [&](Endpoint* e) -> absl::StatusOr<Pushed> {
    std::vector<std::string> scopes = Scopes("pull,push");
    HttpResponse response;
    GANTRY_RETURN_IF_ERROR(
        e->Do({"HEAD", Path("blobs", descriptor.digest.str())}, scopes, {}, &response));
    if (response.status == 200) return Pushed::kExisted;
    if (response.status != 404) return StatusOfResponse("look for blob", response);
    std::string start = absl::StrCat("/", reference_.repository, "/blobs/uploads/");
    response.status = 0;
    for (const std::string& from : mount_from) {
      if (from == reference_.repository) continue;
      if (response.status == 202) Abandon(e, response, scopes);
      std::vector<std::string> both = scopes;
      both.push_back(absl::StrCat("repository:", from, ":pull"));
      std::string url = absl::StrCat(start, "?mount=", UrlEscape(descriptor.digest.str()),
                                     "&from=", UrlEscape(from));
      // A repository that may not be read is no reason to fail; nor is a refused mount, which is
      // answered with the beginning of an upload.
      absl::Status status = e->Do({"POST", url}, both, {}, &response);
      if (status.ok() && response.status == 201) return Pushed::kMounted;
      if (!status.ok()) response.status = 0;
    }
    if (response.status != 202) {
      GANTRY_RETURN_IF_ERROR(e->Do({"POST", start}, scopes, {}, &response));
    }
    if (response.status != 202 && response.status != 201) {
      return StatusOfResponse("begin upload", response);
    }
    std::string location =
        ResolveUrl(e->host().base_url(), std::string(FindHeader(response.headers, "location")));
    if (location.empty()) return absl::FailedPreconditionError("upload without a location");
    GANTRY_RETURN_IF_ERROR(Upload(e, location, descriptor, source));
    return Pushed::kUploaded;
  });
  if (pushed.ok()) return pushed;
  return base::Annotate(pushed.status(), absl::StrCat("push blob ", descriptor.digest.str()));
}

absl::StatusOr<RegistryClient::Pushed> RegistryClient::PushManifest(
    const ImageDescriptor& descriptor, const std::string& bytes, const std::string& tag) {
  std::string path = Path("manifests", tag.empty() ? descriptor.digest.str() : tag);
  auto pushed = OnEachHost<Pushed>(RegistryHost::kPush, [&](Endpoint* e) -> absl::StatusOr<Pushed> {
    std::vector<std::string> scopes = Scopes("pull,push");
    HttpResponse response;
    GANTRY_RETURN_IF_ERROR(
        e->Do({"HEAD", path, {{"Accept", descriptor.media_type}}}, scopes, {}, &response));
    if (response.status == 200 &&
        FindHeader(response.headers, "docker-content-digest") == descriptor.digest.str()) {
      return Pushed::kExisted;
    }
    HttpRequest put{"PUT", path, {{"Content-Type", descriptor.media_type}}, bytes};
    GANTRY_RETURN_IF_ERROR(e->Do(put, scopes, {}, &response));
    if (response.status != 201 && response.status != 200) {
      return StatusOfResponse("push manifest", response);
    }
    return Pushed::kUploaded;
  });
  if (pushed.ok()) return pushed;
  return base::Annotate(pushed.status(), absl::StrCat("push ", reference_.locator(), " ", tag));
}

}  // namespace gantry::services
