#include "docker/types/json_object.h"

#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::docker {
namespace {

using base::Json;

const Json& Null() {
  static const Json* const null = new Json;
  return *null;
}

absl::string_view TypeName(const Json& value) {
  if (value.is_string()) return "string";
  if (value.is_boolean()) return "bool";
  if (value.is_number()) return "number";
  if (value.is_array()) return "array";
  return "object";
}

bool FitsInt64(const Json& value) {
  if (!value.is_number_integer()) return false;
  return !value.is_number_unsigned() ||
         value.get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max());
}

}  // namespace

JsonObject::JsonObject(const Json& json, std::string name) : json_(json), name_(std::move(name)) {
  if (!json.is_object() && !json.is_null()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(
        "invalid JSON: json: cannot unmarshal ", TypeName(json), " into Go value of type ", name_));
  }
}

const Json& JsonObject::At(absl::string_view key) const {
  if (!json_.is_object()) return Null();
  auto exact = json_.find(std::string(key));
  if (exact != json_.end()) return *exact;
  for (const auto& item : json_.items()) {
    if (absl::EqualsIgnoreCase(item.key(), key)) return item.value();
  }
  return Null();
}

void JsonObject::Mismatch(absl::string_view key, const Json& value, absl::string_view type) {
  Keep(absl::InvalidArgumentError(absl::StrCat("invalid JSON: json: cannot unmarshal ",
                                               TypeName(value), " into Go struct field ", name_,
                                               ".", key, " of type ", type)));
}

void JsonObject::Get(absl::string_view key, std::string* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_string()) return Mismatch(key, value, "string");
  *to = value.get<std::string>();
}

void JsonObject::Get(absl::string_view key, bool* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_boolean()) return Mismatch(key, value, "bool");
  *to = value.get<bool>();
}

void JsonObject::Get(absl::string_view key, int64_t* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!FitsInt64(value)) return Mismatch(key, value, "int64");
  *to = value.get<int64_t>();
}

void JsonObject::Get(absl::string_view key, double* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_number()) return Mismatch(key, value, "float64");
  *to = value.get<double>();
}

void JsonObject::Get(absl::string_view key, std::optional<int64_t>* to) {
  if (!Has(key)) return;
  int64_t value = 0;
  Get(key, &value);
  *to = value;
}

void JsonObject::Get(absl::string_view key, std::optional<bool>* to) {
  if (!Has(key)) return;
  bool value = false;
  Get(key, &value);
  *to = value;
}

void JsonObject::Get(absl::string_view key, StringList* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_array()) return Mismatch(key, value, "[]string");
  to->clear();
  for (const Json& item : value) {
    if (!item.is_string()) return Mismatch(key, item, "string");
    to->push_back(item.get<std::string>());
  }
}

void JsonObject::Get(absl::string_view key, std::optional<StringList>* to) {
  if (!Has(key)) return;
  StringList list;
  Get(key, &list);
  *to = std::move(list);
}

void JsonObject::GetCommand(absl::string_view key, std::optional<StringList>* to) {
  const Json& value = At(key);
  if (value.is_string()) {
    *to = StringList{value.get<std::string>()};
    return;
  }
  Get(key, to);
}

void JsonObject::Get(absl::string_view key, StringMap* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_object()) return Mismatch(key, value, "map[string]string");
  to->clear();
  for (const auto& item : value.items()) {
    if (item.value().is_null()) {
      (*to)[item.key()] = "";
    } else if (!item.value().is_string()) {
      return Mismatch(key, item.value(), "string");
    } else {
      (*to)[item.key()] = item.value().get<std::string>();
    }
  }
}

void JsonObject::GetSet(absl::string_view key, StringList* to) {
  const Json& value = At(key);
  if (value.is_null()) return;
  if (!value.is_object()) return Mismatch(key, value, "map[string]struct {}");
  to->clear();
  for (const auto& item : value.items()) to->push_back(item.key());
}

}  // namespace gantry::docker
