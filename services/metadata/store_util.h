#ifndef GANTRY_SERVICES_METADATA_STORE_UTIL_H_
#define GANTRY_SERVICES_METADATA_STORE_UTIL_H_

// What the stores of this folder share. Internal to it.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/metadata/filters.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// `text` in double quotes, with escapes where Go's %q has them.
std::string Quoted(absl::string_view text);

// `WHAT "NAME": not found` and its like, with the words that containerd's clients know.
absl::Status NotFound(absl::string_view what, absl::string_view name);
absl::Status AlreadyExists(absl::string_view what, absl::string_view name);
// "MESSAGE: invalid argument".
absl::Status InvalidArgument(absl::string_view message);

// Filters of a list request. containerd wraps their error twice, which is seen on the wire.
absl::StatusOr<Filter> ParseListFilters(const std::vector<std::string>& filters);

// OK, or why `text` is no digest, in the words of containerd's digest library, without a code's
// text.
absl::Status CheckDigest(absl::string_view text);

// containerd stores no label or annotation with an empty value.
void DropEmpty(LabelMap* map);

// A path of a field mask for one entry of a map: true for "labels.KEY" with prefix "labels.".
inline bool PathKey(absl::string_view path, absl::string_view prefix, std::string* key) {
  if (!absl::StartsWith(path, prefix)) return false;
  *key = std::string(path.substr(prefix.size()));
  return true;
}

// to[key] = from[key]; removed when absent or empty there.
void CopyEntry(const LabelMap& from, const std::string& key, LabelMap* to);

// An optional string for filters: absent when empty.
inline std::optional<std::string> IfNotEmpty(const std::string& value) {
  if (value.empty()) return std::nullopt;
  return value;
}

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_STORE_UTIL_H_
