// The daemon's config.toml. What was understood is printed and read back the same.
#include "services/supervisor/config.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto config = gantry::services::ParseConfig(gantry::fuzz::Text(data, size), "fuzz");
  if (!config.ok()) return 0;
  std::string text = gantry::services::FormatConfig(*config);
  auto again = gantry::services::ParseConfig(text, "dump");
  gantry::fuzz::Check(again.ok() && gantry::services::FormatConfig(*again) == text,
                      "a dump is read back the same");
  return 0;
}
