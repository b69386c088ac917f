#ifndef GANTRY_SHIM_FLAGS_H_
#define GANTRY_SHIM_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gantry::shim {

// The command line as containerd gives it: Go's flags ("-id x", "--id=x"), then the action.
struct Flags {
  std::string ns;
  std::string id;
  std::string address;
  std::string publish_binary;
  std::string bundle;
  std::string socket;  // accepted for old daemons, not used
  bool debug = false;
  bool version = false;
  bool info = false;
  bool zygote = false;
  std::string action;  // "start", "delete" or empty; words behind it are ignored
};

// InvalidArgument for unknown flags and missing values.
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_FLAGS_H_
