// An archive: headers, pax records, sparse maps, long names. What was read is read again in other
// pieces and must be the same.
#include "base/archive/collecting_sink.h"
#include "base/archive/compression.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view text = gantry::fuzz::Text(data, size);
  auto whole = gantry::archive::ReadTar(text);
  auto pieces = gantry::archive::ReadTar(text, 7);
  gantry::fuzz::Check(whole.ok() == pieces.ok(), "the size of the pieces does not matter");
  return 0;
}
