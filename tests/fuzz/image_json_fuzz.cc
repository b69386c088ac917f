// Manifests, indexes and configs of a hostile registry.
#include "services/registry/image.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = gantry::fuzz::Text(data, size);
  (void)gantry::services::ParseIndex(text, "application/vnd.oci.image.index.v1+json");
  auto manifest =
      gantry::services::ParseManifest(text, "application/vnd.oci.image.manifest.v1+json");
  if (manifest.ok()) {
    for (const auto& layer : manifest->layers) {
      gantry::fuzz::Check(!layer.digest.empty() && layer.size >= 0, "a layer has digest and size");
    }
  }
  (void)gantry::services::ParseConfig(text);
  (void)gantry::services::DetectManifestType(text);
  return 0;
}
