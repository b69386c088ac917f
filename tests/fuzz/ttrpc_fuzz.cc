// The bytes that come from a shim, or from whoever connects to one.
#include <string>
#include <vector>

#include "base/ttrpc/frame.h"
#include "tests/fuzz/input.h"

namespace {

std::vector<std::string> Frames(absl::string_view bytes, size_t piece) {
  gantry::base::ttrpc::FrameReader reader;
  std::vector<std::string> frames;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    reader.Append(bytes.substr(at, piece));
    while (auto frame = reader.Next()) {
      gantry::fuzz::Check(frame->data.size() <= gantry::base::ttrpc::kMaxMessage,
                          "no frame is too large");
      frames.push_back(std::to_string(frame->stream) + frame->data);
    }
  }
  return frames;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::string_view bytes = gantry::fuzz::Text(data, size);
  gantry::fuzz::Check(Frames(bytes, 1 << 20) == Frames(bytes, 3), "pieces do not matter");
  std::string path;
  (void)gantry::base::ttrpc::ParseUnixAddress(bytes, &path);
  return 0;
}
