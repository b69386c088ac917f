// Runs a fuzz target once over each file of the directories given: what fuzzing has found stays
// found. A failure ends the process, as under the fuzzer.

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  int inputs = 0;
  for (int i = 1; i < argc; ++i) {
    auto names = gantry::base::ListDir(argv[i]);
    if (!names.ok()) {
      fprintf(stderr, "%s\n", names.status().ToString().c_str());
      return 1;
    }
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      auto bytes = gantry::base::ReadFile(std::string(argv[i]) + "/" + name, 64 << 20);
      if (!bytes.ok()) {
        fprintf(stderr, "%s\n", bytes.status().ToString().c_str());
        return 1;
      }
      fprintf(stderr, "%s\n", name.c_str());  // the last one is the culprit
      // Cut anywhere, too: parsers meet truncated input first.
      for (size_t size : {bytes->size(), bytes->size() / 2, bytes->size() * 9 / 10, size_t{0}}) {
        // A copy of exactly that size, so that the address sanitizer sees the end.
        std::string part = bytes->substr(0, size);
        part.shrink_to_fit();
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(part.data()), part.size());
      }
      ++inputs;
    }
  }
  fprintf(stderr, "%d inputs\n", inputs);
  return inputs > 0 ? 0 : 1;
}
