#include "services/lifecycle/spec_edit.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::services::lifecycle {
namespace {

using base::Json;

constexpr absl::string_view kDirectory = "{dir}";
constexpr absl::string_view kNetns = "{netns}";
constexpr absl::string_view kRootfs = "{rootfs}";
constexpr size_t kSpecLimit = 8u << 20;

absl::StatusOr<Json> Parse(absl::string_view spec) {
  auto json = base::ParseJson(spec, {.bytes = kSpecLimit});
  if (!json.ok()) return base::Annotate(json.status(), "the specification");
  if (!json->is_object()) return absl::InvalidArgumentError("the specification is no JSON object");
  return json;
}

// Calls `edit(object)` for each object in array `key` of `parent`.
template <typename Edit>
void ForEach(Json& parent, const char* key, Edit edit) {
  if (!parent.is_object()) return;
  auto found = parent.find(key);
  if (found == parent.end() || !found->is_array()) return;
  for (Json& item : *found) {
    if (item.is_object()) edit(item);
  }
}

void ReplaceFront(absl::string_view place, absl::string_view by, Json& text) {
  if (!text.is_string()) return;
  const std::string& old = text.get_ref<const std::string&>();
  if (!absl::StartsWith(old, place)) return;
  text = absl::StrCat(by, old.substr(place.size()));
}

}  // namespace

absl::StatusOr<std::string> FillPlaces(std::string spec, absl::string_view directory,
                                       absl::string_view netns) {
  GANTRY_ASSIGN_OR_RETURN(Json json, Parse(spec));
  if (!absl::StrContains(spec, kDirectory) && !absl::StrContains(spec, kNetns) &&
      !absl::StrContains(spec, kRootfs)) {
    return spec;
  }
  ForEach(json, "mounts", [&](Json& mount) {
    if (auto source = mount.find("source"); source != mount.end())
      ReplaceFront(kDirectory, directory, *source);
  });
  if (auto linux_part = json.find("linux"); linux_part != json.end()) {
    ForEach(*linux_part, "namespaces", [&](Json& entry) {
      auto path = entry.find("path");
      if (path == entry.end()) return;
      ReplaceFront(kNetns, netns, *path);
      if (path->is_string() && path->get_ref<const std::string&>().empty()) entry.erase(path);
    });
  }
  if (auto root = json.find("root"); root != json.end() && root->is_object()) {
    if (base::JsonString(*root, "path") == kRootfs) (*root)["path"] = "rootfs";
  }
  return base::DumpJson(json);
}

absl::StatusOr<std::string> WithNamespaces(absl::string_view spec,
                                           const std::map<std::string, std::string>& namespaces) {
  GANTRY_ASSIGN_OR_RETURN(Json json, Parse(spec));
  Json& linux_part = json["linux"];
  if (!linux_part.is_object()) linux_part = Json::object();
  Json kept = Json::array();
  ForEach(linux_part, "namespaces", [&](Json& entry) {
    if (!namespaces.contains(base::JsonString(entry, "type"))) kept.push_back(std::move(entry));
  });
  for (const auto& [type, path] : namespaces) {
    if (path == "host") continue;
    Json entry = {{"type", type}};
    if (!path.empty()) entry["path"] = path;
    kept.push_back(std::move(entry));
  }
  linux_part["namespaces"] = std::move(kept);
  return base::DumpJson(json);
}

absl::StatusOr<std::string> ProcessWith(absl::string_view spec,
                                        const std::vector<std::string>& argv) {
  GANTRY_ASSIGN_OR_RETURN(Json json, Parse(spec));
  auto process = json.find("process");
  if (process == json.end() || !process->is_object()) {
    return absl::FailedPreconditionError("the specification has no process");
  }
  (*process)["args"] = argv;
  (*process)["terminal"] = false;
  process->erase("consoleSize");
  return base::DumpJson(*process);
}

}  // namespace gantry::services::lifecycle
