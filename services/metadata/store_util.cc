#include "services/metadata/store_util.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"

namespace gantry::services {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text), "\"");
}

absl::Status NotFound(absl::string_view what, absl::string_view name) {
  return absl::NotFoundError(absl::StrCat(what, " ", Quoted(name), ": not found"));
}

absl::Status AlreadyExists(absl::string_view what, absl::string_view name) {
  return absl::AlreadyExistsError(absl::StrCat(what, " ", Quoted(name), ": already exists"));
}

absl::Status InvalidArgument(absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(message, ": invalid argument"));
}

absl::StatusOr<Filter> ParseListFilters(const std::vector<std::string>& filters) {
  absl::StatusOr<Filter> filter = Filter::Parse(filters);
  if (!filter.ok()) return InvalidArgument(filter.status().message());
  return filter;
}

absl::Status CheckDigest(absl::string_view text) {
  if (base::Digest::Parse(text).ok()) return absl::OkStatus();
  const absl::string_view format = "invalid checksum digest format";
  const size_t colon = text.find(':');
  if (colon == 0 || colon == absl::string_view::npos || colon + 1 == text.size()) {
    return absl::InvalidArgumentError(format);
  }
  const absl::string_view algorithm = text.substr(0, colon);
  if (algorithm != "sha256" && algorithm != "sha512") {
    return absl::InvalidArgumentError("unsupported digest algorithm");
  }
  const size_t digits = algorithm == "sha256" ? 64 : 128;
  return absl::InvalidArgumentError(
      text.size() - colon - 1 == digits ? format : "invalid checksum digest length");
}

void DropEmpty(LabelMap* map) {
  for (auto it = map->begin(); it != map->end();) {
    it = it->second.empty() ? map->erase(it) : std::next(it);
  }
}

void CopyEntry(const LabelMap& from, const std::string& key, LabelMap* to) {
  auto it = from.find(key);
  if (it == from.end() || it->second.empty()) {
    to->erase(key);
  } else {
    (*to)[key] = it->second;
  }
}

}  // namespace gantry::services
