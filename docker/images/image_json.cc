#include "docker/images/image_json.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;

OrderedJson Strings(const std::vector<ImageReference>& references) {
  OrderedJson out = OrderedJson::array();
  for (const ImageReference& reference : references) out.push_back(reference.Familiar());
  return out;
}

OrderedJson Ordered(const Json& json) { return OrderedJson(json); }

// The value when it is of the kind that `otherwise` is, or null where that is null.
OrderedJson Or(const Json& object, const char* key, OrderedJson otherwise) {
  const Json& value = base::JsonAt(object, key);
  if (value.is_null()) return otherwise;
  return Ordered(value);
}

bool IsEmpty(const OrderedJson& value) {
  if (value.is_null()) return true;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_structured() && value.empty();
}

// Since API 1.50 only what the OCI specification and Docker's additions to it have, without what is
// empty.
OrderedJson OciConfig(const Json& config) {
  OrderedJson out = OrderedJson::object();
  for (const char* key :
       {"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
        "StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"}) {
    OrderedJson value = Or(config, key, OrderedJson());
    if (!IsEmpty(value)) out[key] = std::move(value);
  }
  return out;
}

std::string CreatedText(const ImageContent& content) {
  std::string created = base::JsonString(content.config, "created");
  return created.empty() ? "0001-01-01T00:00:00Z" : created;
}

bool HasChildren(const std::vector<LocalImage>& all, const LocalImage& image) {
  return std::any_of(all.begin(), all.end(),
                     [&](const LocalImage& other) { return other.parent == image.id(); });
}

absl::StatusOr<absl::Time> CreatedOf(const std::vector<LocalImage>& all, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(LocalImage image, FindAmong(all, name));
  return image.content->created;
}

// Takes what no pattern matches out of the image; false when nothing is left.
bool KeepMatching(const std::set<std::string>& patterns, LocalImage* image) {
  auto unwanted = [&](const ImageReference& reference) {
    return std::none_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
      return MatchesPattern(reference, pattern);
    });
  };
  std::erase_if(image->tags, unwanted);
  std::erase_if(image->digests, unwanted);
  return !image->tags.empty() || !image->digests.empty();
}

}  // namespace

std::map<std::string, std::string> ImageLabels(const ImageContent& content) {
  std::map<std::string, std::string> labels;
  const Json& found = base::JsonAt(base::JsonAt(content.config, "config"), "Labels");
  if (!found.is_object()) return labels;
  for (const auto& [key, value] : found.items()) {
    if (value.is_string()) labels[key] = value.get<std::string>();
  }
  return labels;
}

OrderedJson DockerConfig(const Json& config) {
  OrderedJson out;
  for (const char* key : {"Hostname", "Domainname", "User"}) {
    out[key] = base::JsonString(config, key);
  }
  for (const char* key : {"AttachStdin", "AttachStdout", "AttachStderr"}) {
    out[key] = base::JsonBool(config, key);
  }
  OrderedJson ports = Or(config, "ExposedPorts", OrderedJson());
  if (!IsEmpty(ports)) out["ExposedPorts"] = ports;
  for (const char* key : {"Tty", "OpenStdin", "StdinOnce"}) out[key] = base::JsonBool(config, key);
  out["Env"] = Or(config, "Env", OrderedJson());
  out["Cmd"] = Or(config, "Cmd", OrderedJson());
  for (const char* key : {"Healthcheck", "ArgsEscaped"}) {
    OrderedJson value = Or(config, key, OrderedJson());
    if (!IsEmpty(value)) out[key] = value;
  }
  out["Image"] = base::JsonString(config, "Image");
  out["Volumes"] = Or(config, "Volumes", OrderedJson());
  out["WorkingDir"] = base::JsonString(config, "WorkingDir");
  out["Entrypoint"] = Or(config, "Entrypoint", OrderedJson());
  out["OnBuild"] = Or(config, "OnBuild", OrderedJson());
  out["Labels"] = Or(config, "Labels", OrderedJson());
  for (const char* key : {"StopSignal", "StopTimeout", "Shell"}) {
    OrderedJson value = Or(config, key, OrderedJson());
    if (!IsEmpty(value)) out[key] = value;
  }
  return out;
}

OrderedJson ImageSummary(const LocalImage& image, int64_t size, int64_t containers,
                         int64_t shared_size, const ImageJsonOptions& options) {
  OrderedJson out;
  out["Containers"] = containers;
  out["Created"] = absl::ToUnixSeconds(image.content->created);
  out["Id"] = image.id().str();
  const auto labels = ImageLabels(*image.content);
  out["Labels"] = labels.empty() ? OrderedJson() : OrderedJson(labels);
  out["ParentId"] = image.parent.str();
  out["RepoDigests"] = Strings(image.digests);
  out["RepoTags"] = Strings(image.tags);
  if (options.minor_version < 43 && image.tags.empty() && image.digests.empty()) {
    out["RepoDigests"].push_back("<none>@<none>");
    out["RepoTags"].push_back("<none>:<none>");
  }
  out["SharedSize"] = shared_size;
  out["Size"] = size;
  if (options.minor_version < 44) out["VirtualSize"] = size;
  return out;
}

OrderedJson ImageInspect(const LocalImage& image, int64_t size, absl::string_view driver,
                         const ImageJsonOptions& options) {
  const Json& config = image.content->config;
  const Json& run = base::JsonAt(config, "config");
  OrderedJson out;
  out["Id"] = image.id().str();
  out["RepoTags"] = Strings(image.tags);
  out["RepoDigests"] = Strings(image.digests);
  out["Parent"] = image.parent.str();
  out["Comment"] = base::JsonString(config, "comment");
  const Json& history = base::JsonAt(config, "history");
  if (history.is_array() && !history.empty() && out["Comment"] == "") {
    out["Comment"] = base::JsonString(history.back(), "comment");
  }
  out["Created"] = CreatedText(*image.content);
  if (options.minor_version < 45) {
    out["Container"] = base::JsonString(config, "container");
    out["ContainerConfig"] = DockerConfig(base::JsonAt(config, "container_config"));
  }
  out["DockerVersion"] = base::JsonString(config, "docker_version");
  out["Author"] = base::JsonString(config, "author");
  out["Config"] = options.minor_version < 50 ? DockerConfig(run) : OciConfig(run);
  out["Architecture"] = image.content->platform.architecture;
  if (!image.content->platform.variant.empty()) out["Variant"] = image.content->platform.variant;
  out["Os"] = image.content->platform.os;
  std::string os_version = base::JsonString(config, "os.version");
  if (!os_version.empty()) out["OsVersion"] = os_version;
  out["Size"] = size;
  if (options.minor_version < 44) out["VirtualSize"] = size;
  out["GraphDriver"] = {{"Data", nullptr}, {"Name", std::string(driver)}};
  OrderedJson layers = OrderedJson::array();
  for (const base::Digest& diff : image.content->diff_ids) layers.push_back(diff.str());
  out["RootFS"] = {{"Type", "layers"}};
  if (!layers.empty()) out["RootFS"]["Layers"] = layers;
  out["Metadata"] = {{"LastTagTime", image.tagged == absl::InfinitePast()
                                         ? "0001-01-01T00:00:00Z"
                                         : base::FormatRfc3339(image.tagged)}};
  if (options.minor_version >= 48) {
    out["Descriptor"] = {{"mediaType", image.target.media_type},
                         {"digest", image.target.digest.str()},
                         {"size", image.target.size}};
  }
  return out;
}

OrderedJson ImageHistory(const LocalImage& image, const std::vector<int64_t>& sizes) {
  OrderedJson out = OrderedJson::array();
  size_t layer = 0;
  const Json& history = base::JsonAt(image.content->config, "history");
  if (history.is_array()) {
    for (const Json& entry : history) {
      OrderedJson line;
      auto created = base::ParseRfc3339(base::JsonString(entry, "created"));
      const bool empty = base::JsonBool(entry, "empty_layer");
      line["Comment"] = base::JsonString(entry, "comment");
      // Go's zero time, in seconds of the epoch, where none is given.
      line["Created"] = created.ok() ? absl::ToUnixSeconds(*created) : -62135596800;
      line["CreatedBy"] = base::JsonString(entry, "created_by");
      line["Id"] = "<missing>";
      line["Size"] = !empty && layer < sizes.size() ? sizes[layer] : 0;
      line["Tags"] = nullptr;
      if (!empty) ++layer;
      out.push_back(std::move(line));
    }
  }
  // Images without a history still have their layers.
  for (; out.empty() && layer < sizes.size(); ++layer) {
    out.push_back({{"Comment", ""},
                   {"Created", absl::ToUnixSeconds(image.content->created)},
                   {"CreatedBy", ""},
                   {"Id", "<missing>"},
                   {"Size", sizes[layer]},
                   {"Tags", nullptr}});
  }
  std::reverse(out.begin(), out.end());
  if (!out.empty()) {
    out[0]["Id"] = image.id().str();
    if (!image.tags.empty()) out[0]["Tags"] = Strings(image.tags);
  }
  return out;
}

bool MatchesPattern(const ImageReference& reference, const std::string& pattern) {
  for (const std::string& shown : {reference.Familiar(), reference.FamiliarRepository()}) {
    if (fnmatch(pattern.c_str(), shown.c_str(), FNM_PATHNAME) == 0) return true;
  }
  return false;
}

absl::StatusOr<std::vector<LocalImage>> FilterImages(const std::vector<LocalImage>& all,
                                                     const Filters& filters, bool with_parents,
                                                     absl::Time now) {
  absl::Time before = absl::InfiniteFuture();
  absl::Time since = absl::InfinitePast();
  for (const std::string& name : filters.Get("before")) {
    GANTRY_ASSIGN_OR_RETURN(absl::Time created, CreatedOf(all, name));
    before = std::min(before, created);
  }
  for (const std::string& moment : filters.Get("until")) {
    GANTRY_ASSIGN_OR_RETURN(absl::Time time, ParseMoment(moment, now));
    before = std::min(before, time);
  }
  for (const std::string& name : filters.Get("since")) {
    GANTRY_ASSIGN_OR_RETURN(absl::Time created, CreatedOf(all, name));
    since = std::max(since, created);
  }
  GANTRY_ASSIGN_OR_RETURN(bool dangling, filters.Bool("dangling", false));
  std::vector<LocalImage> out;
  for (const LocalImage& image : all) {
    if (image.content->created >= before || image.content->created <= since) continue;
    if (!filters.MatchLabels(ImageLabels(*image.content))) continue;
    const bool nameless = image.tags.empty() && image.digests.empty();
    if (nameless && HasChildren(all, image) && !with_parents) continue;
    if (filters.Has("dangling") && dangling != image.tags.empty()) continue;
    LocalImage kept = image;
    if (filters.Has("reference") && !KeepMatching(filters.Get("reference"), &kept)) continue;
    out.push_back(std::move(kept));
  }
  return out;
}

}  // namespace gantry::docker
