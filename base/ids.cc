#include "base/ids.h"

#include <sys/random.h>

#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::base {

std::string RandomHex(size_t bytes) {
  std::string raw(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    ssize_t n = getrandom(raw.data() + done, bytes - done, 0);
    if (n > 0) done += static_cast<size_t>(n);
  }
  return absl::BytesToHexString(raw);
}

absl::Status ValidateIdentifier(absl::string_view id) {
  constexpr size_t kMaxLength = 76;
  if (id.empty())
    return absl::InvalidArgumentError("identifier must not be empty: invalid argument");
  if (id.size() > kMaxLength) {
    return absl::InvalidArgumentError(absl::StrCat("identifier \"", absl::CEscape(id),
                                                   "\" greater than maximum length (", kMaxLength,
                                                   " characters): invalid argument"));
  }
  bool after_separator = true;
  bool valid = true;
  for (char c : id) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      after_separator = false;
    } else if ((c == '.' || c == '-' || c == '_') && !after_separator) {
      after_separator = true;
    } else {
      valid = false;
      break;
    }
  }
  if (!valid || after_separator) {
    return absl::InvalidArgumentError(
        absl::StrCat("identifier \"", absl::CEscape(id),
                     "\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ParseDecimal(absl::string_view text, uint64_t max) {
  if (text.empty() || text.size() > 20) {
    return absl::InvalidArgumentError(absl::StrCat("not a number: \"", absl::CEscape(text), "\""));
  }
  uint64_t value = 0;
  for (char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError(
          absl::StrCat("not a number: \"", absl::CEscape(text), "\""));
    }
    uint64_t digit = static_cast<uint64_t>(c - '0');
    if (digit > max || value > (max - digit) / 10) {
      return absl::InvalidArgumentError(absl::StrCat("number out of range: ", text));
    }
    value = value * 10 + digit;
  }
  return value;
}

}  // namespace gantry::base
