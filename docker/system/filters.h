#ifndef GANTRY_DOCKER_SYSTEM_FILTERS_H_
#define GANTRY_DOCKER_SYSTEM_FILTERS_H_

// What clients give as `filters`, and the times in them.

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/map.h"

namespace gantry::docker {

// A set of values for each name.
class Filters {
 public:
  // {"label":["a=b"]} or, as old clients write it, {"label":{"a=b":true}}; empty: none.
  // InvalidArgument "invalid filter". `allowed`: InvalidArgument "invalid filter 'x'" for others.
  static absl::StatusOr<Filters> Parse(absl::string_view text,
                                       std::initializer_list<absl::string_view> allowed);

  bool Has(absl::string_view name) const { return values_.contains(std::string(name)); }
  // Empty when it is not there.
  const std::set<std::string>& Get(absl::string_view name) const;
  // "1", "true", "0", "false" in any case; InvalidArgument "invalid filter 'dangling=[x]'".
  absl::StatusOr<bool> Bool(absl::string_view name, bool otherwise) const;
  // One of the values is `value`; true when there are none.
  bool Matches(absl::string_view name, absl::string_view value) const;
  // All of "label" hold and none of "label!".
  bool MatchLabels(const std::map<std::string, std::string>& labels) const;

  const std::map<std::string, std::set<std::string>>& all() const { return values_; }

 private:
  std::map<std::string, std::set<std::string>> values_;
};

// "24h" (before now), "1700000000[.5]", RFC 3339, or a beginning of that in UTC. InvalidArgument.
absl::StatusOr<absl::Time> ParseMoment(absl::string_view text, absl::Time now);

inline std::map<std::string, std::string> ToMap(
    const google::protobuf::Map<std::string, std::string>& from) {
  return {from.begin(), from.end()};
}

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_SYSTEM_FILTERS_H_
