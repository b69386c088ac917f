// Names of images as people and clients write them.
#include "services/registry/reference.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = gantry::fuzz::Text(data, size);
  auto reference = gantry::services::ParseReference(text);
  if (reference.ok()) {
    auto again = gantry::services::ParseReference(reference->str());
    gantry::fuzz::Check(again.ok() && again->str() == reference->str(), "a name is stable");
  }
  auto docker = gantry::services::NormalizeDockerReference(text);
  if (docker.ok()) {
    gantry::fuzz::Check(gantry::services::ParseReference(*docker).ok(),
                        "a normalized name can be parsed");
  }
  return 0;
}
