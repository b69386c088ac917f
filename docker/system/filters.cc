#include "docker/system/filters.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;

constexpr size_t kMaxText = 1u << 20;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("invalid filter", what.empty() ? "" : " '", what, what.empty() ? "" : "'"));
}

// "k" or "k=v".
bool HasLabel(const std::map<std::string, std::string>& labels, absl::string_view wanted) {
  std::pair<std::string, std::string> pair = absl::StrSplit(wanted, absl::MaxSplits('=', 1));
  auto found = labels.find(pair.first);
  return found != labels.end() && (!absl::StrContains(wanted, '=') || found->second == pair.second);
}

}  // namespace

absl::StatusOr<Filters> Filters::Parse(absl::string_view text,
                                       std::initializer_list<absl::string_view> allowed) {
  Filters out;
  if (text.empty()) return out;
  auto document = base::ParseJson(text, {.bytes = kMaxText, .depth = 8});
  if (!document.ok() || !document->is_object()) return Invalid("");
  for (const auto& [name, given] : document->items()) {
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end()) return Invalid(name);
    std::set<std::string>& values = out.values_[name];
    if (given.is_array()) {
      for (const Json& value : given) {
        if (!value.is_string()) return Invalid("");
        values.insert(value.get<std::string>());
      }
    } else if (given.is_object()) {
      for (const auto& [value, on] : given.items()) {
        if (!on.is_boolean()) return Invalid("");
        if (on.get<bool>()) values.insert(value);
      }
    } else {
      return Invalid("");
    }
    if (values.empty()) out.values_.erase(name);
  }
  return out;
}

const std::set<std::string>& Filters::Get(absl::string_view name) const {
  static const auto* none = new std::set<std::string>();
  auto found = values_.find(std::string(name));
  return found == values_.end() ? *none : found->second;
}

absl::StatusOr<bool> Filters::Bool(absl::string_view name, bool otherwise) const {
  const std::set<std::string>& values = Get(name);
  if (values.empty()) return otherwise;
  bool yes = false;
  bool no = false;
  for (const std::string& value : values) {
    std::string lower = absl::AsciiStrToLower(value);
    yes |= lower == "1" || lower == "true";
    no |= lower == "0" || lower == "false";
  }
  if (yes == no) return Invalid(absl::StrCat(name, "=[", absl::StrJoin(values, " "), "]"));
  return yes;
}

bool Filters::Matches(absl::string_view name, absl::string_view value) const {
  const std::set<std::string>& values = Get(name);
  return values.empty() || values.contains(std::string(value));
}

bool Filters::MatchLabels(const std::map<std::string, std::string>& labels) const {
  for (const std::string& wanted : Get("label")) {
    if (!HasLabel(labels, wanted)) return false;
  }
  for (const std::string& unwanted : Get("label!")) {
    if (HasLabel(labels, unwanted)) return false;
  }
  return true;
}

absl::StatusOr<absl::Time> ParseMoment(absl::string_view text, absl::Time now) {
  absl::Duration ago;
  double seconds = 0;
  if (!text.empty() && absl::ascii_isdigit(text[0]) && absl::SimpleAtod(text, &seconds)) {
    std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, '.');
    int64_t whole = 0;
    int64_t nanos = 0;
    std::string fraction(parts.second.substr(0, 9));
    fraction.resize(9, '0');
    if (absl::SimpleAtoi(parts.first, &whole) && absl::SimpleAtoi(fraction, &nanos)) {
      return absl::FromUnixSeconds(whole) + absl::Nanoseconds(nanos);
    }
  } else if (absl::ParseDuration(text, &ago)) {
    return now - ago;
  }
  if (auto exact = base::ParseRfc3339(text); exact.ok()) return *exact;
  for (const char* form : {"%Y-%m-%dT%H:%M:%E*S%Ez", "%Y-%m-%dT%H:%M:%E*S", "%Y-%m-%dT%H:%M",
                           "%Y-%m-%dT%H", "%Y-%m-%d"}) {
    absl::Time time;
    if (absl::ParseTime(form, text, absl::UTCTimeZone(), &time, nullptr)) return time;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("failed to parse value as time or duration: \"", text, "\""));
}

}  // namespace gantry::docker
