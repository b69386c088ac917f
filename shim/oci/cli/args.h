#ifndef GANTRY_SHIM_OCI_CLI_ARGS_H_
#define GANTRY_SHIM_OCI_CLI_ARGS_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::oci {

// One flag: its long name, its one-letter name or 0, and whether it takes a value.
struct Flag {
  const char* name;
  char letter;
  bool takes_value;
};

// Flags before the first word that is none, as runc's parser reads them: --name value,
// --name=value, -n value, and one dash with a long name too. "--" ends them.
class Args {
 public:
  // Takes the flags off `words`' front; InvalidArgument for unknown ones and missing values.
  static absl::StatusOr<Args> Parse(const std::vector<Flag>& flags,
                                    const std::vector<std::string>& words);

  bool Has(absl::string_view name) const { return values_.count(std::string(name)) != 0; }
  // The last value given, or `otherwise`.
  std::string Get(absl::string_view name, absl::string_view otherwise = "") const;
  std::vector<std::string> All(absl::string_view name) const;
  const std::vector<std::string>& rest() const { return rest_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> rest_;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CLI_ARGS_H_
