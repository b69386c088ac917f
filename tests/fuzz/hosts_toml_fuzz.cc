// certs.d/HOST/hosts.toml.
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "services/registry/hosts.h"
#include "tests/fuzz/input.h"

namespace {

struct Directory {
  std::string path = "/tmp/gantry-fuzz-hosts-" + std::to_string(getpid());
  Directory() { std::filesystem::create_directories(path + "/registry.example"); }
  ~Directory() { std::filesystem::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Directory directory;
  std::string file = directory.path + "/registry.example/hosts.toml";
  gantry::fuzz::Check(gantry::base::WriteFile(file, gantry::fuzz::Text(data, size)).ok(),
                      "the test can write its file");
  auto hosts = gantry::services::HostsFor("registry.example", {.config_dir = directory.path});
  gantry::fuzz::Check(!hosts.ok() || !hosts->empty(), "there is always a host to ask");
  return 0;
}
