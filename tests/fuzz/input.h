#ifndef GANTRY_TESTS_FUZZ_INPUT_H_
#define GANTRY_TESTS_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/string_view.h"

namespace gantry::fuzz {

inline absl::string_view Text(const uint8_t* data, size_t size) {
  return absl::string_view(reinterpret_cast<const char*>(data), size);
}

// A property that every input must have.
inline void Check(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "does not hold: %s\n", what);
  abort();
}

}  // namespace gantry::fuzz

#endif  // GANTRY_TESTS_FUZZ_INPUT_H_
