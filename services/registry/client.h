#ifndef GANTRY_SERVICES_REGISTRY_CLIENT_H_
#define GANTRY_SERVICES_REGISTRY_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "services/registry/endpoint.h"
#include "services/registry/image.h"
#include "services/registry/reference.h"

namespace gantry::services {

struct RegistryOptions {
  HostsOptions hosts;
  EndpointOptions endpoint;
  // Above this an upload is cut into PATCH requests of so many bytes; 0: one PUT.
  uint64_t push_chunk = 0;
};

// The registry of one image reference, by the OCI distribution specification. Mirrors are asked in
// the order of the configuration, then the registry itself; a host that fails is passed over, and
// the last host's failure is returned if none succeeds. Everything fetched by digest is verified,
// so mirrors need not be trusted for that. Thread-safe; all calls block.
class RegistryClient {
 public:
  static absl::StatusOr<std::unique_ptr<RegistryClient>> Create(const Reference& reference,
                                                                const RegistryOptions& options);

  const Reference& reference() const { return reference_; }

  // What the reference's tag or digest stands for: media type, digest, size. InvalidArgument for a
  // reference without either and for manifests of Docker's schema 1; FailedPrecondition when what
  // the registry says does not fit together.
  absl::StatusOr<ImageDescriptor> Resolve();

  // A manifest or index of at most kMaxManifestBytes, verified.
  absl::StatusOr<std::string> FetchManifest(const ImageDescriptor& descriptor);

  using Sink = std::function<absl::Status(absl::string_view)>;
  struct FetchOptions {
    uint64_t offset = 0;  // bytes that the caller has already
    bool verify = true;   // off when the caller hashes; never done when offset > 0
  };
  // Pushes the blob from `offset` to its end into `sink`, each byte once. A broken, stalled or
  // short answer is continued with a Range request where it ended, if need be from the next host;
  // as long as it moves forward it is repeated without limit. FailedPrecondition: the registry
  // sends more or tells another length than the descriptor, or (verify) other bytes; sink's own
  // failures come back as they are. Layers with `urls` are fetched from there if no host has them,
  // without credentials.
  absl::Status FetchBlob(const ImageDescriptor& descriptor, const FetchOptions& options,
                         const Sink& sink);

  enum class Pushed { kUploaded, kExisted, kMounted };
  // Uploads a blob unless the registry has it; tries to mount it from `mount_from` (repositories
  // of the same registry) first. Interrupted uploads continue where the registry says they are.
  absl::StatusOr<Pushed> PushBlob(const ImageDescriptor& descriptor, const HttpBody& source,
                                  const std::vector<std::string>& mount_from);
  // Puts a manifest under `tag`, or only under its digest when `tag` is empty.
  absl::StatusOr<Pushed> PushManifest(const ImageDescriptor& descriptor, const std::string& bytes,
                                      const std::string& tag);

 private:
  RegistryClient(Reference reference, RegistryOptions options)
      : reference_(std::move(reference)), options_(std::move(options)) {}

  template <typename T>
  absl::StatusOr<T> OnEachHost(unsigned capability,
                               const std::function<absl::StatusOr<T>(Endpoint*)>& call);
  absl::StatusOr<ImageDescriptor> ResolveAt(Endpoint* endpoint);
  absl::StatusOr<ImageDescriptor> ResolveByBody(Endpoint* endpoint, const std::string& path);
  absl::Status FetchFrom(Endpoint* endpoint, const std::string& url,
                         const ImageDescriptor& descriptor, uint64_t* offset, const Sink& sink);
  absl::Status Upload(Endpoint* endpoint, const std::string& location,
                      const ImageDescriptor& descriptor, const HttpBody& source);
  std::vector<std::string> Scopes(const std::string& actions) const;
  std::string Path(const std::string& kind, const std::string& object) const;

  const Reference reference_;
  const RegistryOptions options_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
};

template <typename T>
absl::StatusOr<T> RegistryClient::OnEachHost(
    unsigned capability, const std::function<absl::StatusOr<T>(Endpoint*)>& call) {
  absl::Status last = absl::FailedPreconditionError(
      absl::StrCat("no configured host of ", reference_.host, " can do this"));
  bool tried = false;
  for (const auto& endpoint : endpoints_) {
    if ((endpoint->host().capabilities & capability) != capability) continue;
    absl::StatusOr<T> result = call(endpoint.get());
    if (result.ok() || absl::IsCancelled(result.status())) return result;
    // A mirror's "not found" says less than another host's real trouble.
    if (!tried || !absl::IsNotFound(result.status())) last = result.status();
    tried = true;
  }
  return last;
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_CLIENT_H_
