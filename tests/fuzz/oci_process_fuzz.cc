// What exec and update requests carry: process and resources objects.
#include "shim/oci/spec.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = gantry::fuzz::Text(data, size);
  auto process = gantry::oci::ParseProcess(text);
  if (process.ok()) {
    for (const std::string& argument : process->args) {
      gantry::fuzz::Check(argument.find('\0') == std::string::npos, "arguments are C strings");
    }
  }
  (void)gantry::oci::ParseResources(text);
  return 0;
}
