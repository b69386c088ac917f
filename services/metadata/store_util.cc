#include "services/metadata/store_util.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

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
