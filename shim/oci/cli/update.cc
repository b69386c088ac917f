#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/cli/commands.h"

namespace gantry::oci {
namespace {

enum class Kind { kNumber, kBytes, kText };

// A flag of update and the member of linux.resources that it sets.
struct Limit {
  const char* flag;
  const char* section;
  const char* key;
  Kind kind;
};
constexpr Limit kLimits[] = {{"blkio-weight", "blockIO", "weight", Kind::kNumber},
                             {"cpu-period", "cpu", "period", Kind::kNumber},
                             {"cpu-quota", "cpu", "quota", Kind::kNumber},
                             {"cpu-burst", "cpu", "burst", Kind::kNumber},
                             {"cpu-share", "cpu", "shares", Kind::kNumber},
                             {"cpu-rt-period", "cpu", "realtimePeriod", Kind::kNumber},
                             {"cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::kNumber},
                             {"cpuset-cpus", "cpu", "cpus", Kind::kText},
                             {"cpuset-mems", "cpu", "mems", Kind::kText},
                             {"cpu-idle", "cpu", "idle", Kind::kNumber},
                             {"memory", "memory", "limit", Kind::kBytes},
                             {"memory-reservation", "memory", "reservation", Kind::kBytes},
                             {"memory-swap", "memory", "swap", Kind::kBytes},
                             {"pids-limit", "pids", "limit", Kind::kNumber}};

// "64m" as bytes; a suffix counts in powers of 1024.
absl::StatusOr<int64_t> ParseNumber(absl::string_view text, bool bytes) {
  std::string digits = absl::AsciiStrToLower(text);
  int64_t unit = 1;
  if (bytes && absl::EndsWith(digits, "b")) digits.pop_back();
  size_t suffix = digits.empty() ? std::string::npos : std::string("kmgt").find(digits.back());
  if (bytes && suffix != std::string::npos) {
    unit <<= 10 * (suffix + 1);
    digits.pop_back();
  }
  int64_t number = 0;
  if (!absl::SimpleAtoi(digits, &number) || number > INT64_MAX / unit || number < -1) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no valid number"));
  }
  return number * unit;
}

absl::StatusOr<base::Json> ResourcesOfFlags(const Args& args) {
  base::Json resources = base::Json::object();
  for (const Limit& limit : kLimits) {
    if (!args.Has(limit.flag)) continue;
    base::Json& value = resources[limit.section][limit.key];
    if (limit.kind == Kind::kText) {
      value = args.Get(limit.flag);
      continue;
    }
    auto number = ParseNumber(args.Get(limit.flag), limit.kind == Kind::kBytes);
    if (!number.ok()) return base::Annotate(number.status(), absl::StrCat("--", limit.flag));
    if (*number < 0) {
      value = *number;
    } else {
      value = static_cast<uint64_t>(*number);
    }
  }
  if (!resources.empty()) return resources;
  return absl::InvalidArgumentError("update: needs --resources FILE or a flag with a new limit");
}

absl::StatusOr<std::string> ResourcesText(const Args& args) {
  if (!args.Has("resources")) {
    GANTRY_ASSIGN_OR_RETURN(base::Json resources, ResourcesOfFlags(args));
    return base::DumpJson(resources);
  }
  std::string file = args.Get("resources");
  return file == "-" ? base::ReadFd(0) : base::ReadFile(file);
}

absl::StatusOr<int> RunUpdate(const Globals& globals, const Args& args) {
  GANTRY_ASSIGN_OR_RETURN(std::string id, IdOf(args));
  GANTRY_ASSIGN_OR_RETURN(Record record, Store(globals.root).Load(id));
  GANTRY_ASSIGN_OR_RETURN(std::string text, ResourcesText(args));
  GANTRY_ASSIGN_OR_RETURN(Resources resources, ParseResources(text));
  GANTRY_ASSIGN_OR_RETURN(std::string status, record.Status());
  if (status == "stopped") return absl::FailedPreconditionError("container not running");
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, record.Open());
  GANTRY_RETURN_IF_ERROR(container->Update(resources));
  return 0;
}

std::vector<Flag> UpdateFlags() {
  std::vector<Flag> flags = {{"resources", 'r', true}};
  for (const Limit& limit : kLimits) flags.push_back({limit.flag, 0, true});
  return flags;
}

}  // namespace

Command UpdateCommand() {
  return {"update", "[--resources FILE] [limits] ID", UpdateFlags(), RunUpdate, false};
}

}  // namespace gantry::oci
