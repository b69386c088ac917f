#ifndef GANTRY_DOCKER_TYPES_JSON_OBJECT_H_
#define GANTRY_DOCKER_TYPES_JSON_OBJECT_H_

// Reads typed structures from JSON that clients send, as Go's decoder does for Docker: unknown keys
// are ignored, keys match without regard to case, null is the same as nothing, and a wrong type is
// an error that names the field.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/json.h"

namespace gantry::docker {

using StringMap = std::map<std::string, std::string>;
using StringList = std::vector<std::string>;

// The fields of one object. Each getter leaves `to` alone when the field is absent or null. The
// first thing that is wrong stays in status(): InvalidArgument "invalid JSON: json: cannot
// unmarshal number into Go struct field Config.Image of type string".
class JsonObject {
 public:
  // `name` is that of the type, for errors. `json` must outlive this; null is an empty object.
  JsonObject(const base::Json& json, std::string name);

  // Null when absent.
  const base::Json& At(absl::string_view key) const;
  bool Has(absl::string_view key) const { return !At(key).is_null(); }

  void Get(absl::string_view key, std::string* to);
  void Get(absl::string_view key, bool* to);
  void Get(absl::string_view key, int64_t* to);
  void Get(absl::string_view key, double* to);
  void Get(absl::string_view key, std::optional<int64_t>* to);
  void Get(absl::string_view key, std::optional<bool>* to);
  void Get(absl::string_view key, StringList* to);
  void Get(absl::string_view key, std::optional<StringList>* to);
  // A single string is a list of one, too (Cmd and Entrypoint of old clients).
  void GetCommand(absl::string_view key, std::optional<StringList>* to);
  void Get(absl::string_view key, StringMap* to);
  // The keys of an object: {"80/tcp": {}}.
  void GetSet(absl::string_view key, StringList* to);
  // Calls `element(json)` for each of an array, `member(key, json)` for each of an object.
  template <typename Function>
  void ForEach(absl::string_view key, Function element) {
    const base::Json& list = At(key);
    if (list.is_null()) return;
    if (!list.is_array()) return Mismatch(key, list, "[]");
    for (const base::Json& item : list) Keep(element(item));
  }
  template <typename Function>
  void ForMembers(absl::string_view key, Function member) {
    const base::Json& object = At(key);
    if (object.is_null()) return;
    if (!object.is_object()) return Mismatch(key, object, "map");
    for (const auto& item : object.items()) Keep(member(item.key(), item.value()));
  }

  // The first error of a part.
  void Keep(absl::Status status) { status_.Update(status); }
  const absl::Status& status() const { return status_; }

 private:
  void Mismatch(absl::string_view key, const base::Json& value, absl::string_view type);

  const base::Json& json_;
  std::string name_;
  absl::Status status_;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_TYPES_JSON_OBJECT_H_
