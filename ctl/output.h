#ifndef GANTRY_CTL_OUTPUT_H_
#define GANTRY_CTL_OUTPUT_H_

// What people and scripts read: tables, JSON, sizes, ages, errors.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "ctl/args.h"

namespace gantry::ctl {

void PrintOut(absl::string_view text);
// "gantryctl: MESSAGE" on stderr, in one line.
void PrintError(const absl::Status& status);
void PrintNote(absl::string_view text);  // stderr

// Text from the daemon, an image or a container on its way to a terminal: control characters are
// shown as "?", so that a name cannot move the cursor.
std::string Printable(absl::string_view text);

// Columns separated by three spaces, as wide as their widest cell; the last one unpadded.
std::string FormatTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows);

std::string FormatBytes(int64_t bytes);       // "1.5 GiB", "17 B"
std::string FormatAge(absl::Duration since);  // "3 minutes ago"
std::string ShortId(absl::string_view id);    // 12 characters of a hexadecimal id, else all of it
std::string ShortDigest(absl::string_view digest);

// Sizes as people write them: 512, 64k, 1.5g (1024-based; k, m, g, t, with or without b/ib). 0 is
// refused, and what does not fit.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// The flags that listing commands share, and what they ask for.
enum class Format { kTable, kQuiet, kJson };
absl::StatusOr<Format> ListFormat(const Arguments& args);
std::vector<Flag> ListFlags(std::vector<Flag> more = {});

// One listing: rows for people, `ids` for --quiet, `json` (an array) for --format json.
struct Listing {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> ids;
  base::OrderedJson json = base::OrderedJson::array();
};
void PrintListing(const Listing& listing, Format format);
std::string DumpOrdered(const base::OrderedJson& json);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_OUTPUT_H_
