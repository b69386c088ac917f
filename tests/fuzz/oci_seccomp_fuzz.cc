// A seccomp profile, up to the program that the kernel would get.
#include "shim/oci/seccomp.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto program = gantry::oci::CompileSeccomp(gantry::fuzz::Text(data, size));
  gantry::fuzz::Check(!program.ok() || program->filter.size() <= BPF_MAXINSNS,
                      "the kernel takes what was compiled");
  return 0;
}
