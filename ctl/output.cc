#include "ctl/output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace gantry::ctl {

void PrintOut(absl::string_view text) { fwrite(text.data(), 1, text.size(), stdout); }

void PrintNote(absl::string_view text) {
  fflush(stdout);
  fwrite(text.data(), 1, text.size(), stderr);
}

void PrintError(const absl::Status& status) {
  PrintNote(absl::StrCat("gantryctl: ", Printable(status.message()), "\n"));
}

std::string Printable(absl::string_view text) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    bool control = byte < 0x20 || byte == 0x7f;
    if (c == '\n' || c == '\t') {
      out.push_back(' ');
    } else {
      out.push_back(control ? '?' : c);
    }
  }
  return out;
}

std::string FormatTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(header.size(), 0);
  auto measure = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  };
  measure(header);
  for (const auto& row : rows) measure(row);
  std::string text;
  auto add = [&](const std::vector<std::string>& row) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] + 3 - row[i].size(), ' ');
    }
    text += '\n';
  };
  add(header);
  for (const auto& row : rows) add(row);
  return text;
}

std::string FormatBytes(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return value < 10 ? absl::StrFormat("%.1f %s", value, kUnits[unit])
                    : absl::StrFormat("%.0f %s", value, kUnits[unit]);
}

std::string FormatAge(absl::Duration since) {
  struct Unit {
    absl::Duration length;
    const char* name;
  };
  const Unit kUnits[] = {{absl::Hours(24 * 365), "year"}, {absl::Hours(24 * 7), "week"},
                         {absl::Hours(24), "day"},        {absl::Hours(1), "hour"},
                         {absl::Minutes(1), "minute"},    {absl::Seconds(1), "second"}};
  for (const Unit& unit : kUnits) {
    int64_t count = since / unit.length;
    if (count >= 1) return absl::StrCat(count, " ", unit.name, count == 1 ? "" : "s", " ago");
  }
  return "just now";
}

std::string ShortId(absl::string_view id) {
  bool hex = id.size() == 64 && std::all_of(id.begin(), id.end(), [](unsigned char c) {
               return absl::ascii_isxdigit(c);
             });
  return hex ? std::string(id.substr(0, 12)) : Printable(id);
}

std::string ShortDigest(absl::string_view digest) {
  size_t colon = digest.find(':');
  return colon == absl::string_view::npos ? Printable(digest)
                                          : std::string(digest.substr(colon + 1, 12));
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  std::string lower = absl::AsciiStrToLower(text);
  absl::string_view rest = lower;
  // "b" and "ib" after a unit, or "b" alone.
  if (absl::EndsWith(rest, "ib")) {
    rest.remove_suffix(2);
  } else if (absl::EndsWith(rest, "b")) {
    rest.remove_suffix(1);
  }
  double factor = 1;
  constexpr absl::string_view kUnits = "kmgt";
  size_t unit = rest.empty() ? absl::string_view::npos : kUnits.find(rest.back());
  if (unit != absl::string_view::npos) {
    for (size_t i = 0; i <= unit; ++i) factor *= 1024;
    rest.remove_suffix(1);
  }
  double number = 0;
  bool digits = !rest.empty() && rest.find_first_not_of("0123456789.") == absl::string_view::npos;
  if (!digits || !absl::SimpleAtod(rest, &number)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no size; examples: 64m, 512k, 1.5g"));
  }
  double bytes = number * factor;
  if (bytes < 1 || bytes >= static_cast<double>(std::numeric_limits<int64_t>::max())) {
    return absl::InvalidArgumentError(absl::StrCat("size \"", text, "\" is out of range"));
  }
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<Format> ListFormat(const Arguments& args) {
  std::string format = args.String("format", "table");
  if (format == "json") return Format::kJson;
  if (format != "table") {
    return absl::InvalidArgumentError(
        absl::StrCat("--format is \"table\" or \"json\", not \"", format, "\""));
  }
  return args.Bool("quiet") ? Format::kQuiet : Format::kTable;
}

std::vector<Flag> ListFlags(std::vector<Flag> more) {
  more.push_back({"quiet", 'q', FlagKind::kBool, "", "print only names or ids, one a line"});
  more.push_back({"format", '\0', FlagKind::kString, "table|json", "how to print"});
  return more;
}

void PrintListing(const Listing& listing, Format format) {
  switch (format) {
    case Format::kJson:
      PrintOut(DumpOrdered(listing.json) + "\n");
      return;
    case Format::kQuiet:
      for (const std::string& id : listing.ids) PrintOut(id + "\n");
      return;
    case Format::kTable:
      PrintOut(FormatTable(listing.header, listing.rows));
      return;
  }
}

std::string DumpOrdered(const base::OrderedJson& json) {
  return json.dump(2, ' ', false, base::OrderedJson::error_handler_t::replace);
}

}  // namespace gantry::ctl
