// The user of an image, its /etc/passwd and its /etc/group: the parts of the input between zero
// bytes.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/file.h"
#include "client/spec/user.h"
#include "tests/fuzz/input.h"

namespace {

struct Root {
  std::string path = "/tmp/gantry-fuzz-users-" + std::to_string(getpid());
  gantry::base::UniqueFd fd;
  Root() {
    std::filesystem::create_directories(path + "/etc");
    fd.Reset(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~Root() { std::filesystem::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Root root;
  std::vector<std::string> parts =
      absl::StrSplit(gantry::fuzz::Text(data, size), absl::MaxSplits('\0', 2));
  parts.resize(3);
  auto request = gantry::client::ParseUser(parts[0]);
  if (!request.ok()) return 0;
  bool written = gantry::base::WriteFile(root.path + "/etc/passwd", parts[1]).ok() &&
                 gantry::base::WriteFile(root.path + "/etc/group", parts[2]).ok();
  gantry::fuzz::Check(written, "the test can write its files");
  (void)gantry::client::ResolveUser(root.fd.get(), *request);
  return 0;
}
