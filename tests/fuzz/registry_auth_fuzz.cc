// WWW-Authenticate headers, one a line.
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "services/registry/auth.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<std::string> headers = absl::StrSplit(gantry::fuzz::Text(data, size), '\n');
  (void)gantry::services::ParseChallenges(headers);
  return 0;
}
