#include "shim/oci/json_reader.h"

#include "absl/strings/str_cat.h"

namespace gantry::oci {
namespace {
const base::Json& NullJson() {
  static const base::Json* null = new base::Json();
  return *null;
}
}  // namespace

void JsonReader::Fail(absl::string_view what) const {
  if (status_->ok()) *status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
}

JsonReader JsonReader::At(absl::string_view key) const {
  std::string path = path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  if (!present()) return JsonReader(NullJson(), std::move(path), status_);
  if (!value_->is_object()) {
    Fail("must be an object");
    return JsonReader(NullJson(), std::move(path), status_);
  }
  return JsonReader(base::JsonAt(*value_, key), std::move(path), status_);
}

std::vector<JsonReader> JsonReader::Items() const {
  std::vector<JsonReader> items;
  if (!present()) return items;
  if (!value_->is_array()) {
    Fail("must be an array");
    return items;
  }
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i) {
    items.emplace_back((*value_)[i], absl::StrCat(path_, "[", i, "]"), status_);
  }
  return items;
}

std::string JsonReader::AsString() const {
  if (!present()) return {};
  if (!value_->is_string()) {
    Fail("must be a string");
    return {};
  }
  const auto& text = value_->get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos) {
    Fail("contains a NUL byte");
    return {};
  }
  return text;
}

std::optional<uint64_t> JsonReader::AsUint(uint64_t max) const {
  if (!present()) return std::nullopt;
  if (!value_->is_number_unsigned() || value_->get<uint64_t>() > max) {
    Fail(absl::StrCat("must be a whole number from 0 to ", max));
    return std::nullopt;
  }
  return value_->get<uint64_t>();
}

std::string JsonReader::String(absl::string_view key) const { return At(key).AsString(); }

bool JsonReader::Bool(absl::string_view key) const {
  JsonReader at = At(key);
  if (!at.present()) return false;
  if (!at.value_->is_boolean()) {
    at.Fail("must be true or false");
    return false;
  }
  return at.value_->get<bool>();
}

std::optional<int64_t> JsonReader::Int(absl::string_view key, int64_t min, int64_t max) const {
  JsonReader at = At(key);
  if (!at.present()) return std::nullopt;
  bool fits = at.value_->is_number_integer() &&
              (!at.value_->is_number_unsigned() ||
               at.value_->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  int64_t number = fits ? at.value_->get<int64_t>() : 0;
  if (!fits || number < min || number > max) {
    at.Fail(absl::StrCat("must be a whole number from ", min, " to ", max));
    return std::nullopt;
  }
  return number;
}

std::optional<uint64_t> JsonReader::Uint(absl::string_view key, uint64_t max) const {
  return At(key).AsUint(max);
}

std::optional<uint32_t> JsonReader::Uint32(absl::string_view key) const {
  auto number = Uint(key, UINT32_MAX);
  return number ? std::optional<uint32_t>(static_cast<uint32_t>(*number)) : std::nullopt;
}

std::optional<uint16_t> JsonReader::Uint16(absl::string_view key) const {
  auto number = Uint(key, UINT16_MAX);
  return number ? std::optional<uint16_t>(static_cast<uint16_t>(*number)) : std::nullopt;
}

std::vector<std::string> JsonReader::Strings(absl::string_view key) const {
  std::vector<std::string> strings;
  for (const JsonReader& item : At(key).Items()) strings.push_back(item.AsString());
  return strings;
}

std::map<std::string, std::string> JsonReader::StringMap(absl::string_view key) const {
  std::map<std::string, std::string> map;
  JsonReader at = At(key);
  if (!at.present()) return map;
  if (!at.value_->is_object()) {
    at.Fail("must be an object");
    return map;
  }
  for (const auto& [name, value] : at.value_->items()) {
    map[name] = JsonReader(value, absl::StrCat(at.path_, ".", name), status_).AsString();
  }
  return map;
}

}  // namespace gantry::oci
