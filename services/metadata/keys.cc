#include "services/metadata/keys.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace gantry::services {
namespace {

constexpr absl::string_view kSeparator("\0", 1);

}  // namespace

std::string Key(std::initializer_list<absl::string_view> components) {
  return absl::StrJoin(components, kSeparator);
}

std::string KeyPrefix(std::initializer_list<absl::string_view> components) {
  return absl::StrCat(Key(components), kSeparator);
}

std::vector<absl::string_view> SplitKey(absl::string_view key) {
  return absl::StrSplit(key, kSeparator);
}

absl::Status CheckKeyComponent(absl::string_view what, absl::string_view value) {
  if (value.empty()) return absl::InvalidArgumentError(absl::StrCat(what, " must not be empty"));
  if (absl::StrContains(value, kSeparator)) {
    return absl::InvalidArgumentError(absl::StrCat(what, " must not contain a zero byte"));
  }
  return absl::OkStatus();
}

std::string EventKeyNumber(uint64_t sequence) {
  return absl::StrCat(absl::Hex(sequence, absl::kZeroPad16));
}

absl::StatusOr<uint64_t> ParseEventKeyNumber(absl::string_view text) {
  uint64_t sequence = 0;
  if (text.size() != 16 || !absl::SimpleHexAtoi(text, &sequence)) {
    return absl::DataLossError(absl::StrCat("event key ", text, " is not a number"));
  }
  return sequence;
}

}  // namespace gantry::services
