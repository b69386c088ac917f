#include "docker/images/reference.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr char kDefaultDomain[] = "docker.io";
constexpr absl::string_view kOfficial = "library/";
constexpr absl::string_view kDanglingPrefix = "moby-dangling@";
constexpr size_t kMaxName = 255;
constexpr size_t kMaxTag = 128;

absl::Status Invalid(absl::string_view why = {}) {
  return absl::InvalidArgumentError(why.empty() ? "invalid reference format"
                                                : absl::StrCat("invalid reference format: ", why));
}

bool IsLowerAlnum(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

// Runs of [a-z0-9] joined by one '.', one or two '_', or any number of '-'.
bool ValidComponent(absl::string_view text) {
  if (text.empty() || !IsLowerAlnum(text.front()) || !IsLowerAlnum(text.back())) return false;
  for (size_t i = 0; i < text.size();) {
    if (IsLowerAlnum(text[i])) {
      ++i;
      continue;
    }
    const char separator = text[i];
    size_t end = i;
    while (end < text.size() && text[end] == separator) ++end;
    const size_t length = end - i;
    if (!(separator == '-' || (separator == '.' && length == 1) ||
          (separator == '_' && length <= 2))) {
      return false;
    }
    if (!IsLowerAlnum(text[end])) return false;
    i = end;
  }
  return true;
}

bool ValidPort(absl::string_view port) {
  return !port.empty() && std::all_of(port.begin(), port.end(), absl::ascii_isdigit);
}

bool ValidDomain(absl::string_view domain) {
  absl::string_view port;
  if (absl::StartsWith(domain, "[")) {
    const size_t end = domain.find(']');
    if (end == absl::string_view::npos || end < 2) return false;
    for (char c : domain.substr(1, end - 1)) {
      if (!absl::ascii_isxdigit(c) && c != ':') return false;
    }
    absl::string_view rest = domain.substr(end + 1);
    return rest.empty() || (absl::ConsumePrefix(&rest, ":") && ValidPort(rest));
  }
  const size_t colon = domain.find(':');
  if (colon != absl::string_view::npos && !ValidPort(domain.substr(colon + 1))) return false;
  for (absl::string_view part : absl::StrSplit(domain.substr(0, colon), '.')) {
    if (part.empty() || !absl::ascii_isalnum(part.front()) || !absl::ascii_isalnum(part.back())) {
      return false;
    }
    for (char c : part) {
      if (!absl::ascii_isalnum(c) && c != '-') return false;
    }
  }
  return true;
}

bool IsHexId(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

// Whether what stands before the first '/' is a registry and no part of the path.
bool IsDomain(absl::string_view first) {
  return absl::StrContains(first, '.') || absl::StrContains(first, ':') || first == "localhost" ||
         absl::AsciiStrToLower(first) != first;
}

}  // namespace

std::string ImageReference::Repository() const { return absl::StrCat(domain, "/", path); }

std::string ImageReference::FamiliarRepository() const {
  if (domain != kDefaultDomain) return Repository();
  absl::string_view rest = path;
  if (absl::ConsumePrefix(&rest, kOfficial) && !absl::StrContains(rest, '/')) {
    return std::string(rest);
  }
  return path;
}

std::string ImageReference::str() const {
  return absl::StrCat(Repository(), tag.empty() ? "" : ":", tag, digest.empty() ? "" : "@",
                      digest.str());
}

std::string ImageReference::Familiar() const {
  return absl::StrCat(FamiliarRepository(), tag.empty() ? "" : ":", tag, digest.empty() ? "" : "@",
                      digest.str());
}

ImageReference ImageReference::WithDefaultTag() const {
  ImageReference out = *this;
  if (out.tag.empty() && out.digest.empty()) out.tag = "latest";
  return out;
}

ImageReference ImageReference::WithoutTagIfDigested() const {
  ImageReference out = *this;
  if (!out.digest.empty()) out.tag.clear();
  return out;
}

absl::Status CheckTag(absl::string_view tag) {
  auto is_word = [](char c) { return absl::ascii_isalnum(c) || c == '_'; };
  bool good = !tag.empty() && tag.size() <= kMaxTag && is_word(tag.front()) &&
              std::all_of(tag.begin(), tag.end(),
                          [&](char c) { return is_word(c) || c == '.' || c == '-'; });
  return good ? absl::OkStatus() : absl::InvalidArgumentError("invalid tag format");
}

absl::StatusOr<ImageReference> ParseImageReference(absl::string_view text) {
  if (text.empty()) return Invalid();
  if (IsHexId(text)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid repository name (", text, "), cannot specify 64-byte hexadecimal strings"));
  }
  ImageReference out;
  absl::string_view rest = text;
  if (size_t at = rest.find('@'); at != absl::string_view::npos) {
    auto digest = base::Digest::Parse(rest.substr(at + 1));
    if (!digest.ok()) return Invalid();
    out.digest = *digest;
    rest = rest.substr(0, at);
  }
  const size_t slash = rest.find('/');
  if (slash != absl::string_view::npos && IsDomain(rest.substr(0, slash))) {
    out.domain = std::string(rest.substr(0, slash));
    rest = rest.substr(slash + 1);
    if (out.domain == "index.docker.io") out.domain = kDefaultDomain;
  } else {
    out.domain = kDefaultDomain;
  }
  if (size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    out.tag = std::string(rest.substr(colon + 1));
    if (!CheckTag(out.tag).ok()) return Invalid();
    rest = rest.substr(0, colon);
  }
  out.path = out.domain == kDefaultDomain && !absl::StrContains(rest, '/')
                 ? absl::StrCat(kOfficial, rest)
                 : std::string(rest);
  if (absl::AsciiStrToLower(out.path) != out.path) {
    return Invalid(absl::StrCat("repository name (", out.path, ") must be lowercase"));
  }
  if (!ValidDomain(out.domain)) return Invalid();
  for (absl::string_view part : absl::StrSplit(out.path, '/')) {
    if (!ValidComponent(part)) return Invalid();
  }
  if (out.Repository().size() > kMaxName) {
    return Invalid(absl::StrCat("repository name must not be more than ", kMaxName, " characters"));
  }
  return out;
}

std::string DanglingName(const base::Digest& target) {
  return absl::StrCat(kDanglingPrefix, target.str());
}

bool IsDanglingName(absl::string_view name) { return absl::StartsWith(name, kDanglingPrefix); }

}  // namespace gantry::docker
