#include "services/registry/client.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/status.h"

namespace gantry::services {
namespace {

HttpHeaders ManifestAccept() {
  return {{"Accept", absl::StrCat(kDockerManifest, ", ", kDockerList, ", ", kOciManifest, ", ",
                                  kOciIndex, ", */*")}};
}

// "application/x; charset=utf-8" without its parameters.
std::string MediaTypeOf(const HttpResponse& response) {
  absl::string_view type = FindHeader(response.headers, "content-type");
  return std::string(absl::StripAsciiWhitespace(type.substr(0, type.find(';'))));
}

absl::Status RefuseSchema1(const std::string& type) {
  if (type != kDockerSchema1 && type != kDockerSchema1Signed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "schema 1 image manifests are no longer supported: invalid argument");
}

// First byte and total of "bytes 5-9/10"; false if it is something else.
bool ParseContentRange(absl::string_view text, uint64_t* first, uint64_t* total) {
  if (!absl::ConsumePrefix(&text, "bytes ")) return false;
  size_t dash = text.find('-');
  size_t slash = text.find('/');
  if (dash == absl::string_view::npos || slash == absl::string_view::npos) return false;
  if (!absl::SimpleAtoi(text.substr(0, dash), first)) return false;
  if (text.substr(slash + 1) == "*") return *total = 0, true;
  return absl::SimpleAtoi(text.substr(slash + 1), total);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RegistryClient>> RegistryClient::Create(
    const Reference& reference, const RegistryOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<RegistryHost> hosts, HostsFor(reference.host, options.hosts));
  std::unique_ptr<RegistryClient> client(new RegistryClient(reference, options));
  for (RegistryHost& host : hosts) {
    client->endpoints_.push_back(std::make_unique<Endpoint>(std::move(host), options.endpoint));
  }
  return client;
}

std::vector<std::string> RegistryClient::Scopes(const std::string& actions) const {
  return {absl::StrCat("repository:", reference_.repository, ":", actions)};
}

std::string RegistryClient::Path(const std::string& kind, const std::string& object) const {
  return absl::StrCat("/", reference_.repository, "/", kind, "/", object);
}

absl::StatusOr<ImageDescriptor> RegistryClient::Resolve() {
  if (reference_.object().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", reference_.str(), "\": object required: add a tag or digest"));
  }
  auto found = OnEachHost<ImageDescriptor>(RegistryHost::kResolve,
                                           [this](Endpoint* e) { return ResolveAt(e); });
  if (!found.ok()) return base::Annotate(found.status(), reference_.str());
  return found;
}

absl::StatusOr<ImageDescriptor> RegistryClient::ResolveAt(Endpoint* endpoint) {
  std::string path = Path("manifests", reference_.object());
  HttpResponse response;
  GANTRY_RETURN_IF_ERROR(
      endpoint->Do({"HEAD", path, ManifestAccept()}, Scopes("pull"), {}, &response));
  if (response.status == 404 && !reference_.digest.empty()) {
    // A digest may also name a blob (`ctr content fetch-object`-like uses).
    path = Path("blobs", reference_.object());
    GANTRY_RETURN_IF_ERROR(endpoint->Do({"HEAD", path}, Scopes("pull"), {}, &response));
  }
  if (response.status == 405) return ResolveByBody(endpoint, path);
  if (response.status != 200) return StatusOfResponse("resolve", response);
  ImageDescriptor out;
  out.media_type = MediaTypeOf(response);
  out.size = response.content_length;
  GANTRY_RETURN_IF_ERROR(RefuseSchema1(out.media_type));
  absl::string_view told = FindHeader(response.headers, "docker-content-digest");
  if (told.empty() || out.size <= 0) return ResolveByBody(endpoint, path);
  GANTRY_ASSIGN_OR_RETURN(out.digest, base::Digest::Parse(told));
  if (!reference_.digest.empty() && out.digest != reference_.digest) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the registry answers with digest ", out.digest.str(), " instead of the one asked for"));
  }
  return out;
}

// For registries that do not tell digest or size by HEAD.
absl::StatusOr<ImageDescriptor> RegistryClient::ResolveByBody(Endpoint* endpoint,
                                                              const std::string& path) {
  HttpCall call;
  call.body_limit = kMaxManifestBytes;
  call.body_must_fit = true;
  HttpResponse response;
  GANTRY_RETURN_IF_ERROR(
      endpoint->Do({"GET", path, ManifestAccept()}, Scopes("pull"), call, &response));
  if (response.status != 200) return StatusOfResponse("resolve", response);
  ImageDescriptor out;
  out.media_type = MediaTypeOf(response);
  GANTRY_RETURN_IF_ERROR(RefuseSchema1(out.media_type));
  out.digest = base::DigestOf(response.body);
  out.size = static_cast<int64_t>(response.body.size());
  if (!reference_.digest.empty() && out.digest != reference_.digest) {
    return absl::FailedPreconditionError(
        "the registry's manifest has another digest than asked for");
  }
  return out;
}

absl::StatusOr<std::string> RegistryClient::FetchManifest(const ImageDescriptor& descriptor) {
  if (descriptor.size > static_cast<int64_t>(kMaxManifestBytes)) {
    return absl::ResourceExhaustedError(absl::StrCat("manifest ", descriptor.digest.str(), " has ",
                                                     descriptor.size, " bytes; at most ",
                                                     kMaxManifestBytes, " are accepted"));
  }
  auto fetched = OnEachHost<std::string>(RegistryHost::kPull, [&](Endpoint* endpoint) {
    HttpCall call;
    call.body_limit = kMaxManifestBytes;
    call.body_must_fit = true;
    HttpResponse response;
    HttpRequest request{"GET", Path("manifests", descriptor.digest.str()), ManifestAccept()};
    absl::Status status = endpoint->Do(request, Scopes("pull"), call, &response);
    if (!status.ok()) return absl::StatusOr<std::string>(status);
    if (response.status != 200) {
      return absl::StatusOr<std::string>(StatusOfResponse("fetch manifest", response));
    }
    base::Hasher hasher(descriptor.digest);
    hasher.Update(response.body);
    if (hasher.Finish() != descriptor.digest ||
        static_cast<int64_t>(response.body.size()) != descriptor.size) {
      return absl::StatusOr<std::string>(
          absl::FailedPreconditionError("the registry sent other bytes than the digest says"));
    }
    return absl::StatusOr<std::string>(std::move(response.body));
  });
  if (!fetched.ok()) {
    return base::Annotate(fetched.status(), absl::StrCat("manifest ", descriptor.digest.str()));
  }
  return fetched;
}

// One or more requests to one place until the blob is complete or no longer moves forward.
absl::Status RegistryClient::FetchFrom(Endpoint* endpoint, const std::string& url,
                                       const ImageDescriptor& descriptor, uint64_t* offset,
                                       const Sink& sink) {
  const uint64_t size = static_cast<uint64_t>(descriptor.size);
  for (int idle = 0; *offset < size;) {
    HttpRequest request{"GET", url};
    if (*offset > 0) request.headers.emplace_back("Range", absl::StrCat("bytes=", *offset, "-"));
    const uint64_t start = *offset;
    uint64_t skip = 0;
    absl::Status lie;
    HttpCall call;
    call.accept = [&](const HttpResponse& r) {
      if (r.status != 200 && r.status != 206) return false;
      uint64_t first = 0, total = 0;
      if (r.status == 206 &&
          (!ParseContentRange(FindHeader(r.headers, "content-range"), &first, &total) ||
           first != start || (total != 0 && total != size))) {
        lie = absl::FailedPreconditionError(absl::StrCat("the registry answers a request from ",
                                                         start, " with ",
                                                         FindHeader(r.headers, "content-range")));
        return true;
      }
      skip = r.status == 200 ? start : 0;  // a server without ranges begins anew
      if (r.content_length >= 0 && static_cast<uint64_t>(r.content_length) != size - start + skip) {
        lie =
            absl::FailedPreconditionError(absl::StrCat("the registry announces ", r.content_length,
                                                       " bytes instead of ", size - start + skip));
      }
      return true;
    };
    call.sink = [&](absl::string_view data) {
      if (!lie.ok()) return lie;
      size_t drop = static_cast<size_t>(std::min<uint64_t>(skip, data.size()));
      skip -= drop;
      data.remove_prefix(drop);
      if (data.empty()) return absl::OkStatus();
      if (data.size() > size - *offset) {
        lie = absl::FailedPreconditionError(
            absl::StrCat("the registry sends more than the ", size, " bytes of the descriptor"));
        return lie;
      }
      absl::Status status = sink(data);
      if (status.ok()) *offset += data.size();
      return status;
    };
    HttpResponse response;
    absl::Status status = endpoint->Once(request, Scopes("pull"), call, &response);
    if (!lie.ok()) return lie;
    if (response.callback_failed) return status;
    if (*offset == size) return absl::OkStatus();
    if (status.ok() && (response.status == 200 || response.status == 206)) {
      status = absl::UnavailableError(
          absl::StrCat("the blob ended after ", *offset, " of ", size, " bytes"));
    } else if (status.ok()) {
      bool transient = IsTransient(response.status);
      status = StatusOfResponse("fetch blob", response);
      if (transient) status = base::WithCode(status, absl::StatusCode::kUnavailable);
    }
    if (!absl::IsUnavailable(status)) return status;
    idle = *offset > start ? 1 : idle + 1;
    if (idle >= endpoint->retry().attempts) return status;
    GANTRY_RETURN_IF_ERROR(endpoint->Pause(idle, response));
  }
  return absl::OkStatus();
}

absl::Status RegistryClient::FetchBlob(const ImageDescriptor& descriptor,
                                       const FetchOptions& options, const Sink& sink) {
  uint64_t offset = options.offset;
  bool verify = options.verify && offset == 0;
  base::Hasher hasher(descriptor.digest);
  absl::Status sink_failure;
  Sink guarded = [&](absl::string_view data) {
    if (verify) hasher.Update(data);
    sink_failure = sink(data);
    return sink_failure;
  };
  std::string path = Path("blobs", descriptor.digest.str());
  absl::Status status = absl::FailedPreconditionError("no host may be pulled from");
  bool tried = false;
  for (const auto& endpoint : endpoints_) {
    if ((endpoint->host().capabilities & RegistryHost::kPull) == 0) continue;
    absl::Status now = FetchFrom(endpoint.get(), path, descriptor, &offset, guarded);
    if (!tried || now.ok() || !absl::IsNotFound(now)) status = now;
    tried = true;
    if (now.ok() || !sink_failure.ok() || absl::IsCancelled(now)) break;
  }
  for (size_t i = 0; absl::IsNotFound(status) && i < descriptor.urls.size(); ++i) {
    if (ResolveUrl(descriptor.urls[i], descriptor.urls[i]).empty()) continue;
    // An endpoint of its own: no credentials, no headers, no scopes of the registry.
    EndpointOptions bare = options_.endpoint;
    bare.credentials = nullptr;
    bare.headers.clear();
    Endpoint foreign(RegistryHost{"https", "foreign.invalid", ""}, bare);
    status = FetchFrom(&foreign, descriptor.urls[i], descriptor, &offset, guarded);
  }
  if (status.ok() && verify && hasher.Finish() != descriptor.digest) {
    status = absl::FailedPreconditionError("the registry sent other bytes than the digest says");
  }
  return base::Annotate(status, sink_failure.ok() ? "blob " + descriptor.digest.str() : "");
}

}  // namespace gantry::services
