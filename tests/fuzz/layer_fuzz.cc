// A layer, unpacked as root into a directory: a file outside of it must stay as it is.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "services/diff/layer_applier.h"
#include "tests/fuzz/input.h"

namespace {

namespace fs = std::filesystem;

struct Place {
  std::string path = "/tmp/gantry-fuzz-layer-" + std::to_string(getpid());
  Place() {
    fs::create_directories(path);
    gantry::fuzz::Check(gantry::base::WriteFile(path + "/canary", "sings").ok(), "a place to work");
  }
  ~Place() { fs::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Place place;
  const std::string target = place.path + "/layer";
  fs::create_directory(target);
  gantry::base::UniqueFd root(open(target.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  gantry::services::LayerApplierOptions options;
  options.max_bytes = 1 << 20;
  options.max_entries = 1000;
  auto applier = gantry::services::LayerApplier::Create(std::move(root), options);
  gantry::fuzz::Check(applier.ok(), "an applier can be made");
  if ((*applier)->Write(gantry::fuzz::Text(data, size)).ok()) (void)(*applier)->Finish();
  applier->reset();
  auto canary = gantry::base::ReadFile(place.path + "/canary");
  gantry::fuzz::Check(canary.ok() && *canary == "sings", "nothing outside changes");
  gantry::fuzz::Check(gantry::base::ListDir(place.path)->size() == 2, "nothing appears outside");
  gantry::fuzz::Check(gantry::base::RemoveTree(target).ok(), "a layer can be removed");
  return 0;
}
