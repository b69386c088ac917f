#ifndef GANTRY_SERVICES_REGISTRY_REFERENCE_H_
#define GANTRY_SERVICES_REGISTRY_REFERENCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace gantry::services {

// A full image reference as containerd's API carries it: "HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]".
// Short names ("busybox") are completed by clients, never here. Every part is checked, so it may be
// put into a URL.
struct Reference {
  std::string host;        // "docker.io", "127.0.0.1:5000", "[::1]:5000"
  std::string repository;  // "library/busybox"
  std::string tag;         // may be empty
  base::Digest digest;     // may be empty

  // What a registry is asked for: the digest if there is one, else the tag.
  std::string object() const { return digest.empty() ? tag : digest.str(); }
  std::string locator() const { return host + "/" + repository; }
  std::string str() const;
};

// InvalidArgument for anything that is not such a reference: no host, no repository, characters
// that registries do not know, "." or ".." as a path component, a malformed tag or digest.
absl::StatusOr<Reference> ParseReference(absl::string_view text);

// As Docker's clients complete short names: "busybox" is "docker.io/library/busybox:latest". Used
// for the tags inside docker-archive tars, which are short.
absl::StatusOr<std::string> NormalizeDockerReference(absl::string_view text);
// The way back: "docker.io/library/busybox:1" is "busybox:1"; digests are dropped by the caller.
std::string FamiliarReference(absl::string_view full);

// Whether the host part (with or without a port) is this machine: localhost, 127.0.0.0/8, ::1.
bool IsLoopbackHost(absl::string_view host_and_port);
// The port of "host:port" and "[v6]:port"; empty if there is none.
absl::string_view PortOf(absl::string_view host_and_port);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_REGISTRY_REFERENCE_H_
