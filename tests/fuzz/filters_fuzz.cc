// containerd's filter language, from any client.
#include <optional>
#include <string>
#include <vector>

#include "services/metadata/filters.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(gantry::fuzz::Text(data, size));
  auto filter = gantry::services::Filter::Parse(std::vector<std::string>{text});
  if (!filter.ok()) return 0;
  auto lookup = [](absl::Span<const std::string> path) -> std::optional<std::string> {
    if (path[0] == "name") return "docker.io/library/busybox:latest";
    return std::nullopt;
  };
  bool matches = filter->Match(lookup);
  gantry::fuzz::Check(filter->Match(lookup) == matches, "a filter has no memory");
  return 0;
}
