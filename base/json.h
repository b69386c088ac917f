#ifndef GANTRY_BASE_JSON_H_
#define GANTRY_BASE_JSON_H_

#include <cstddef>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace gantry::base {

using Json = nlohmann::json;
// Keeps the order of keys; for documents whose bytes people compare.
using OrderedJson = nlohmann::ordered_json;

struct JsonLimits {
  size_t bytes = 16u << 20;
  // Arrays and objects inside one another (CVE-2019-11254).
  int depth = 64;
};

// Parses one document. InvalidArgument with the position for malformed text, ResourceExhausted
// beyond the limits. Throws nothing.
absl::StatusOr<Json> ParseJson(absl::string_view text, const JsonLimits& limits = {});

// Lookups that never throw: the default when `value` is no object, has no such key, or has it with
// another type. Numbers: only if they fit.
const Json& JsonAt(const Json& value, absl::string_view key);  // a null value if absent
std::string JsonString(const Json& value, absl::string_view key, absl::string_view otherwise = "");
int64_t JsonInt(const Json& value, absl::string_view key, int64_t otherwise = 0);
bool JsonBool(const Json& value, absl::string_view key, bool otherwise = false);

// Serializes; bytes that are no UTF-8 become U+FFFD instead of an exception.
std::string DumpJson(const Json& value, int indent = -1);

}  // namespace gantry::base

#endif  // GANTRY_BASE_JSON_H_
