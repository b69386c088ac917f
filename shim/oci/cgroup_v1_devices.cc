#include "shim/oci/cgroup_v1_devices.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

bool IsAll(const DeviceRule& rule) { return rule.type == 'a' && rule.major < 0 && rule.minor < 0; }

std::string Text(const DeviceRule& rule) {
  if (IsAll(rule)) return "a";
  auto number = [](int64_t n) { return n < 0 ? std::string("*") : absl::StrCat(n); };
  return absl::StrCat(std::string(1, rule.type), " ", number(rule.major), ":", number(rule.minor),
                      " ", rule.access);
}

std::vector<DeviceRule> ParseList(absl::string_view text) {
  std::vector<DeviceRule> list;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(" :"));
    if (fields.size() != 4 || fields[0].size() != 1) continue;
    DeviceRule rule{true, fields[0][0], -1, -1, std::string(fields[3])};
    if (fields[1] != "*" && !absl::SimpleAtoi(fields[1], &rule.major)) continue;
    if (fields[2] != "*" && !absl::SimpleAtoi(fields[2], &rule.minor)) continue;
    list.push_back(rule);
  }
  return list;
}

bool CoversNumber(int64_t wide, int64_t narrow) { return wide < 0 || wide == narrow; }
bool MeetNumber(int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; }
bool MeetType(char a, char b) { return a == 'a' || b == 'a' || a == b; }

bool Covers(const DeviceRule& wide, const DeviceRule& narrow) {
  return (wide.type == 'a' || wide.type == narrow.type) && CoversNumber(wide.major, narrow.major) &&
         CoversNumber(wide.minor, narrow.minor);
}

bool Meet(const DeviceRule& a, const DeviceRule& b) {
  return MeetType(a.type, b.type) && MeetNumber(a.major, b.major) && MeetNumber(a.minor, b.minor) &&
         a.access.find_first_of(b.access) != std::string::npos;
}

void Without(absl::string_view letters, std::string* access) {
  access->erase(std::remove_if(access->begin(), access->end(),
                               [&](char c) { return absl::StrContains(letters, c); }),
                access->end());
}

}  // namespace

absl::StatusOr<std::vector<DeviceWrite>> PlanDeviceWrites(absl::string_view devices_list,
                                                          const std::vector<DeviceRule>& rules) {
  std::vector<DeviceRule> allowed = ParseList(devices_list);
  std::vector<DeviceWrite> writes;
  for (const DeviceRule& rule : rules) {
    if (IsAll(rule)) allowed.clear();
    if (rule.allow || IsAll(rule)) {
      // What is allowed already need not be written again.
      if (rule.allow && std::any_of(allowed.begin(), allowed.end(), [&](const DeviceRule& entry) {
            return Text(entry) == Text(rule);
          })) {
        continue;
      }
      if (rule.allow) allowed.push_back(rule);
      writes.push_back({rule.allow, Text(rule)});
      continue;
    }
    for (DeviceRule& entry : allowed) {
      if (!Meet(rule, entry)) continue;
      if (!Covers(rule, entry)) {
        return absl::InvalidArgumentError(absl::StrCat(
            "linux.resources.devices: cgroup v1 cannot deny \"", Text(rule), "\", a part of \"",
            Text(entry), "\" that is allowed: name the allowed devices one by one"));
      }
      writes.push_back({false, Text({false, entry.type, entry.major, entry.minor, rule.access})});
      Without(rule.access, &entry.access);
    }
  }
  return writes;
}

}  // namespace gantry::oci
