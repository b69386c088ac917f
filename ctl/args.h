#ifndef GANTRY_CTL_ARGS_H_
#define GANTRY_CTL_ARGS_H_

// The command line: a table of commands and flags, from which parsing, help and shell completion
// come. A parser of our own because it starts in microseconds (docs: gantryctl must feel instant).

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::ctl {

enum class FlagKind {
  kBool,    // --x, --x=false
  kString,  // --x V, --x=V, -x V, -xV; the last one wins
  kList,    // as kString; each adds one
};

struct Flag {
  const char* name;  // without dashes
  char letter;       // '\0': none
  FlagKind kind;
  const char* value;  // what the value is called in help; "" for kBool
  const char* help;
};

// What was given.
class Arguments {
 public:
  bool Has(absl::string_view flag) const;
  bool Bool(absl::string_view flag) const;
  std::string String(absl::string_view flag, absl::string_view otherwise = "") const;
  const std::vector<std::string>& List(absl::string_view flag) const;
  const std::vector<std::string>& positional() const { return positional_; }

  void Add(absl::string_view flag, std::string value);
  void AddPositional(std::string value) { positional_.push_back(std::move(value)); }

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> positional_;
};

// Parses `args` by `flags`. Short flags may be joined ("-it"). "--" ends the flags; with
// `stop_at_positional` so does the first argument that is none, or the one after `skip` of them
// (the command of a container has flags of its own). InvalidArgument with a sentence for people.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args,
                                         const std::vector<Flag>& flags,
                                         bool stop_at_positional = false);

// Two columns of flags for help texts.
std::string FormatFlags(const std::vector<Flag>& flags);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_ARGS_H_
