// config.json as a client or an image's tools wrote it.
#include "shim/oci/spec.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spec = gantry::oci::ParseSpec(gantry::fuzz::Text(data, size));
  if (!spec.ok()) {
    gantry::fuzz::Check(!spec.status().message().empty(), "an error says what is wrong");
    return 0;
  }
  for (const auto& ns : spec->linux_.namespaces) {
    gantry::fuzz::Check(spec->FindNamespace(ns.flag) != nullptr, "a namespace is found");
  }
  return 0;
}
