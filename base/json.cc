#include "base/json.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"

namespace gantry::base {
namespace {

// Builds the document like nlohmann's own builder, but stops at a depth and keeps the error.
class LimitedBuilder : public nlohmann::detail::json_sax_dom_parser<Json> {
  using Base = nlohmann::detail::json_sax_dom_parser<Json>;

 public:
  LimitedBuilder(Json& root, int max_depth) : Base(root, false), max_depth_(max_depth) {}

  bool start_object(std::size_t n) { return Enter() && Base::start_object(n); }
  bool end_object() {
    --depth_;
    return Base::end_object();
  }
  bool start_array(std::size_t n) { return Enter() && Base::start_array(n); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) {
    message_ = absl::StrCat("malformed JSON at byte ", position, ": ", e.what());
    return false;
  }

  bool too_deep() const { return too_deep_; }
  const std::string& message() const { return message_; }

 private:
  bool Enter() {
    if (++depth_ > max_depth_) too_deep_ = true;
    return !too_deep_;
  }

  int max_depth_;
  int depth_ = 0;
  bool too_deep_ = false;
  std::string message_;
};

void AppendString(const std::string& string, std::string* to) {
  bool plain = std::all_of(string.begin(), string.end(),
                           [](char c) { return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f; });
  if (plain) {
    absl::StrAppend(to, "\"", string, "\"");
  } else {
    to->append(Json(string).dump(-1, ' ', false, Json::error_handler_t::replace));
  }
}

// What nlohmann's dump() writes; but that looks at every byte of every string for UTF-8, which is
// what most of the time goes into.
void AppendJson(const Json& value, std::string* to) {
  const char* separator = "";
  if (value.is_object()) {
    to->push_back('{');
    for (const auto& [key, member] : value.get_ref<const Json::object_t&>()) {
      to->append(separator);
      AppendString(key, to);
      to->push_back(':');
      AppendJson(member, to);
      separator = ",";
    }
    to->push_back('}');
  } else if (value.is_array()) {
    to->push_back('[');
    for (const Json& item : value) {
      to->append(separator);
      AppendJson(item, to);
      separator = ",";
    }
    to->push_back(']');
  } else if (value.is_string()) {
    AppendString(value.get_ref<const std::string&>(), to);
  } else if (value.is_number_unsigned()) {
    absl::StrAppend(to, value.get<uint64_t>());
  } else {
    to->append(value.dump());
  }
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "JSON document of ", text.size(), " bytes; at most ", limits.bytes, " are allowed"));
  }
  Json root;
  LimitedBuilder builder(root, limits.depth);
  bool ok = Json::sax_parse(text.begin(), text.end(), &builder);
  if (builder.too_deep()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("JSON document nested deeper than ", limits.depth, " levels"));
  }
  if (!ok) {
    return absl::InvalidArgumentError(builder.message().empty() ? "malformed JSON"
                                                                : builder.message());
  }
  return root;
}

const Json& JsonAt(const Json& value, absl::string_view key) {
  static const Json* const kNull = new Json();
  if (!value.is_object()) return *kNull;
  auto it = value.find(key);
  return it == value.end() ? *kNull : *it;
}

std::string JsonString(const Json& value, absl::string_view key, absl::string_view otherwise) {
  const Json& found = JsonAt(value, key);
  return found.is_string() ? found.get<std::string>() : std::string(otherwise);
}

int64_t JsonInt(const Json& value, absl::string_view key, int64_t otherwise) {
  const Json& found = JsonAt(value, key);
  if (found.is_number_unsigned()) {
    uint64_t number = found.get<uint64_t>();
    return number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
               ? static_cast<int64_t>(number)
               : otherwise;
  }
  return found.is_number_integer() ? found.get<int64_t>() : otherwise;
}

bool JsonBool(const Json& value, absl::string_view key, bool otherwise) {
  const Json& found = JsonAt(value, key);
  return found.is_boolean() ? found.get<bool>() : otherwise;
}

std::string DumpJson(const Json& value, int indent) {
  if (indent >= 0) return value.dump(indent, ' ', false, Json::error_handler_t::replace);
  std::string text;
  AppendJson(value, &text);
  return text;
}

}  // namespace gantry::base
