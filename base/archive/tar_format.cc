#include "base/archive/tar_format.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

absl::Status BadNumber(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("tar: bad number \"", absl::CHexEscape(text.substr(0, 32)), "\""));
}

absl::StatusOr<int64_t> ParseBase256(absl::string_view field) {
  bool negative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
  // Bits that the sign fills: 0 or all ones.
  unsigned char fill = negative ? 0xff : 0;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(field[i]);
    if (i == 0) byte = negative ? (byte | 0x80) : (byte & 0x7f);
    if (i + 8 < field.size()) {
      if (byte != fill) return BadNumber(field);
      continue;
    }
    value = (value << 8) | byte;
  }
  if (field.size() < 8 && negative) value |= ~uint64_t{0} << (8 * field.size());
  int64_t result = static_cast<int64_t>(value);
  if ((result < 0) != negative) return BadNumber(field);
  return result;
}

}  // namespace

absl::string_view FieldText(absl::string_view block, TarField field) {
  absl::string_view bytes = FieldBytes(block, field);
  return bytes.substr(0, bytes.find('\0'));
}

absl::StatusOr<int64_t> ParseTarNumber(absl::string_view field) {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80)) return ParseBase256(field);
  // Spaces and NULs stand around the digits, in either order.
  auto is_padding = [](char c) { return c == ' ' || c == '\0'; };
  absl::string_view digits = field;
  while (!digits.empty() && is_padding(digits.front())) digits.remove_prefix(1);
  digits = digits.substr(0, digits.find('\0'));
  while (!digits.empty() && is_padding(digits.back())) digits.remove_suffix(1);
  if (digits.size() > 21) return BadNumber(field);
  uint64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '7' || (value >> 60) != 0) return BadNumber(field);
    value = value * 8 + static_cast<uint64_t>(c - '0');
  }
  return static_cast<int64_t>(value);
}

uint32_t ComputeChecksum(absl::string_view block) {
  uint32_t sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    bool in_checksum =
        i >= kChecksumField.offset && i < kChecksumField.offset + kChecksumField.size;
    sum += in_checksum ? uint32_t{' '} : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

bool ChecksumMatches(absl::string_view block) {
  auto stored = ParseTarNumber(FieldBytes(block, kChecksumField));
  if (!stored.ok()) return false;
  if (*stored == ComputeChecksum(block)) return true;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < kTarBlock; ++i) {
    bool in_checksum =
        i >= kChecksumField.offset && i < kChecksumField.offset + kChecksumField.size;
    signed_sum += in_checksum ? ' ' : static_cast<signed char>(block[i]);
  }
  return *stored == signed_sum;
}

absl::Status ParsePaxRecords(
    absl::string_view data,
    const std::function<absl::Status(absl::string_view, absl::string_view)>& record) {
  while (!data.empty()) {
    size_t space = data.find(' ');
    if (space == absl::string_view::npos || space > 10) {
      return absl::InvalidArgumentError("tar: pax record without a length");
    }
    auto length = base::ParseDecimal(data.substr(0, space), data.size());
    if (!length.ok() || *length < space + 3 || data[*length - 1] != '\n') {
      return absl::InvalidArgumentError("tar: pax record with a wrong length");
    }
    absl::string_view body = data.substr(space + 1, *length - space - 2);
    size_t equals = body.find('=');
    if (equals == absl::string_view::npos || equals == 0) {
      return absl::InvalidArgumentError("tar: pax record without a key");
    }
    GANTRY_RETURN_IF_ERROR(record(body.substr(0, equals), body.substr(equals + 1)));
    data.remove_prefix(*length);
  }
  return absl::OkStatus();
}

std::string FormatPaxRecord(absl::string_view key, absl::string_view value) {
  size_t rest = key.size() + value.size() + 3;  // space, '=', newline
  size_t total = rest + absl::StrCat(rest).size();
  // The digits of the length count too and may themselves add a digit.
  total = rest + absl::StrCat(total).size();
  return absl::StrCat(total, " ", key, "=", value, "\n");
}

absl::StatusOr<timespec> ParsePaxTime(absl::string_view text) {
  absl::string_view digits = text;
  bool negative = !digits.empty() && digits[0] == '-';
  if (negative) digits.remove_prefix(1);
  size_t dot = digits.find('.');
  auto seconds = ParsePaxNumber(digits.substr(0, dot), INT64_MAX / 2);
  if (!seconds.ok()) return BadNumber(text);
  absl::string_view fraction =
      dot == absl::string_view::npos ? absl::string_view() : digits.substr(dot + 1);
  int64_t nanos = 0;
  bool rest = false;
  for (size_t i = 0; i < std::max<size_t>(fraction.size(), 9); ++i) {
    char c = i < fraction.size() ? fraction[i] : '0';
    if (c < '0' || c > '9') return BadNumber(text);
    if (i < 9) {
      nanos = nanos * 10 + (c - '0');
    } else {
      rest = rest || c != '0';
    }
  }
  if (!negative) return timespec{*seconds, nanos};
  // -1.25 is two seconds before plus 0.75.
  if (rest) ++nanos;
  if (nanos == 0) return timespec{-*seconds, 0};
  return timespec{-*seconds - 1, 1'000'000'000 - nanos};
}

std::string FormatPaxTime(const timespec& time) {
  int64_t seconds = time.tv_sec;
  int64_t nanos = time.tv_nsec;
  const char* sign = "";
  if (seconds < 0) {
    sign = "-";
    seconds = -seconds;
    if (nanos != 0) {
      --seconds;
      nanos = 1'000'000'000 - nanos;
    }
  }
  std::string text = absl::StrCat(sign, seconds);
  if (nanos == 0) return text;
  absl::StrAppendFormat(&text, ".%09d", nanos);
  while (text.back() == '0') text.pop_back();
  return text;
}

absl::StatusOr<int64_t> ParsePaxNumber(absl::string_view text, int64_t max) {
  auto value = base::ParseDecimal(text, static_cast<uint64_t>(max));
  if (!value.ok()) return BadNumber(text);
  return static_cast<int64_t>(*value);
}

}  // namespace gantry::archive
