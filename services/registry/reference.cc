#include "services/registry/reference.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace gantry::services {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("invalid reference \"", text.substr(0, 300), "\": ", why));
}

bool ValidPort(absl::string_view port) {
  if (port.empty() || port.size() > 5) return false;
  for (char c : port) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return true;
}

bool ValidHost(absl::string_view host) {
  if (absl::StartsWith(host, "[")) {
    size_t end = host.find(']');
    if (end == absl::string_view::npos || end < 3) return false;
    for (char c : host.substr(1, end - 1)) {
      if (!absl::ascii_isxdigit(c) && c != ':' && c != '.') return false;
    }
    absl::string_view rest = host.substr(end + 1);
    return rest.empty() || (rest[0] == ':' && ValidPort(rest.substr(1)));
  }
  size_t colon = host.find(':');
  absl::string_view name = host.substr(0, colon);
  if (colon != absl::string_view::npos && !ValidPort(host.substr(colon + 1))) return false;
  if (name.empty() || name[0] == '-' || name[0] == '.' || absl::StrContains(name, "..")) {
    return false;
  }
  for (char c : name) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_') return false;
  }
  return true;
}

bool ValidRepository(absl::string_view repository) {
  if (repository.empty() || repository.size() > 255) return false;
  for (absl::string_view part : absl::StrSplit(repository, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
    for (char c : part) {
      if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_') return false;
    }
  }
  return true;
}

bool ValidTag(absl::string_view tag) {
  if (tag.empty() || tag.size() > 128 || tag[0] == '.' || tag[0] == '-') return false;
  for (char c : tag) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '-' && c != '_') return false;
  }
  return true;
}

}  // namespace

std::string Reference::str() const {
  std::string out = locator();
  if (!tag.empty()) absl::StrAppend(&out, ":", tag);
  if (!digest.empty()) absl::StrAppend(&out, "@", digest.str());
  return out;
}

absl::StatusOr<Reference> ParseReference(absl::string_view text) {
  size_t slash = text.find('/');
  if (slash == absl::string_view::npos || slash == 0) {
    return Invalid(text, "hostname required, as in docker.io/library/busybox:latest");
  }
  Reference out;
  out.host = std::string(text.substr(0, slash));
  absl::string_view rest = text.substr(slash + 1);
  if (size_t at = rest.find('@'); at != absl::string_view::npos) {
    auto digest = base::Digest::Parse(rest.substr(at + 1));
    if (!digest.ok()) return Invalid(text, digest.status().message());
    out.digest = *std::move(digest);
    rest = rest.substr(0, at);
  }
  if (size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    out.tag = std::string(rest.substr(colon + 1));
    if (!ValidTag(out.tag)) return Invalid(text, "malformed tag");
    rest = rest.substr(0, colon);
  }
  out.repository = std::string(rest);
  if (!ValidHost(out.host)) return Invalid(text, "malformed host");
  if (!ValidRepository(out.repository)) return Invalid(text, "malformed repository");
  return out;
}

absl::StatusOr<std::string> NormalizeDockerReference(absl::string_view text) {
  size_t slash = text.find('/');
  absl::string_view first = text.substr(0, slash);
  bool has_host = slash != absl::string_view::npos &&
                  (absl::StrContains(first, ".") || absl::StrContains(first, ":") ||
                   first == "localhost" || first != absl::AsciiStrToLower(first));
  std::string full = has_host                           ? std::string(text)
                     : slash == absl::string_view::npos ? absl::StrCat("docker.io/library/", text)
                                                        : absl::StrCat("docker.io/", text);
  if (absl::StartsWith(full, "index.docker.io/")) full = "docker.io/" + full.substr(16);
  GANTRY_ASSIGN_OR_RETURN(Reference reference, ParseReference(full));
  if (reference.tag.empty() && reference.digest.empty()) reference.tag = "latest";
  return reference.str();
}

std::string FamiliarReference(absl::string_view full) {
  if (absl::StartsWith(full, "docker.io/library/")) return std::string(full.substr(18));
  if (absl::StartsWith(full, "docker.io/")) return std::string(full.substr(10));
  return std::string(full);
}

absl::string_view PortOf(absl::string_view host) {
  size_t bracket = host.rfind(']');
  size_t colon = host.rfind(':');
  if (colon == absl::string_view::npos) return {};
  if (bracket != absl::string_view::npos && colon < bracket) return {};
  return host.substr(colon + 1);
}

bool IsLoopbackHost(absl::string_view host) {
  absl::string_view port = PortOf(host);
  absl::string_view name = port.empty() ? host : host.substr(0, host.size() - port.size() - 1);
  if (name == "localhost" || name == "[::1]" || name == "::1") return true;
  if (!absl::StartsWith(name, "127.")) return false;
  for (char c : name) {  // "127.evil.example" is a name, not an address
    if (!absl::ascii_isdigit(c) && c != '.') return false;
  }
  return true;
}

}  // namespace gantry::services
