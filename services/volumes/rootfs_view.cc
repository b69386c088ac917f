#include "services/volumes/rootfs_view.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::services {
namespace {

void DropUpper(base::Mount* mount) {
  std::string upper, lower;
  std::vector<std::string> rest;
  for (const std::string& option : mount->options) {
    absl::string_view value = option;
    if (absl::ConsumePrefix(&value, "upperdir=")) {
      upper = std::string(value);
    } else if (absl::ConsumePrefix(&value, "lowerdir=")) {
      lower = std::string(value);
    } else if (!absl::StartsWith(option, "workdir=")) {
      rest.push_back(option);
    }
  }
  if (upper.empty()) return;  // a view: nothing but lower directories
  rest.push_back(absl::StrCat("lowerdir=", upper, lower.empty() ? "" : ":", lower));
  mount->options = std::move(rest);
}

}  // namespace

std::vector<base::Mount> ReadOnlyMounts(std::vector<base::Mount> mounts) {
  for (base::Mount& mount : mounts) {
    if (mount.type == "overlay") DropUpper(&mount);
    std::erase(mount.options, "rw");
    if (std::find(mount.options.begin(), mount.options.end(), "ro") == mount.options.end())
      mount.options.push_back("ro");
  }
  return mounts;
}

}  // namespace gantry::services
