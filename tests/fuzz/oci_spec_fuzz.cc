// config.json as a client or an image's tools wrote it.
#include "base/json.h"
#include "shim/oci/spec.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spec = gantry::oci::ParseSpec(gantry::fuzz::Text(data, size));
  if (!spec.ok()) {
    gantry::fuzz::Check(!spec.status().message().empty(), "an error says what is wrong");
    return 0;
  }
  // The profile travels as text, cut out of the document: it must never get lost on the way.
  auto document = gantry::base::ParseJson(gantry::fuzz::Text(data, size));
  if (document.ok()) {
    const auto& linux_object = gantry::base::JsonAt(*document, "linux");
    bool wanted = gantry::base::JsonAt(linux_object, "seccomp").is_object();
    gantry::fuzz::Check(!wanted || !spec->linux_.seccomp_json.empty(), "a profile is kept");
  }
  for (const auto& ns : spec->linux_.namespaces) {
    gantry::fuzz::Check(spec->FindNamespace(ns.flag) != nullptr, "a namespace is found");
  }
  return 0;
}
