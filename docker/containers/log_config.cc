#include "docker/containers/log_config.h"

#include <array>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

// What Docker's driver "local" does unless told otherwise.
constexpr char kLocalSize[] = "20m";
constexpr char kLocalFiles[] = "5";

constexpr std::array kSyslogOptions = {
    "syslog-address", "syslog-facility", "syslog-tls-ca-cert",    "syslog-tls-cert",
    "syslog-tls-key", "syslog-format",   "syslog-tls-skip-verify"};

// Builds "scheme://path?a=b&c=d".
class Uri {
 public:
  explicit Uri(std::string text) : text_(std::move(text)) {}

  void Add(absl::string_view key, absl::string_view value) {
    absl::StrAppend(&text_, absl::StrContains(text_, '?') ? "&" : "?", Escape(key), "=",
                    Escape(value));
  }
  const std::string& text() const { return text_; }

 private:
  static std::string Escape(absl::string_view text) {
    std::string out;
    for (unsigned char c : text) {
      if (absl::ascii_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || c == '/') {
        out.push_back(static_cast<char>(c));
      } else {
        absl::StrAppend(&out, "%", absl::Hex(c, absl::kZeroPad2));
      }
    }
    return out;
  }

  std::string text_;
};

// The templates of Docker's option "tag" that people use.
std::string ExpandTag(absl::string_view tag, const LogSubject& s) {
  return absl::StrReplaceAll(tag, {{"{{.ID}}", s.id.substr(0, 12)},
                                   {"{{.FullID}}", s.id},
                                   {"{{.Name}}", s.name},
                                   {"{{.ImageID}}", s.image_id.substr(0, 19)},
                                   {"{{.ImageFullID}}", s.image_id},
                                   {"{{.ImageName}}", s.image},
                                   {"{{.DaemonName}}", "docker"},
                                   {"{{.Command}}", s.command}});
}

// What the options labels and env make of a container.
void AddAttributes(const StringMap& options, const ContainerConfig& config, Uri* uri) {
  auto list = [&options](const char* key) -> std::vector<std::string> {
    auto found = options.find(key);
    if (found == options.end()) return {};
    return absl::StrSplit(found->second, ',', absl::SkipEmpty());
  };
  for (const std::string& label : list("labels")) {
    auto found = config.labels.find(label);
    if (found != config.labels.end()) uri->Add(absl::StrCat("attr.", label), found->second);
  }
  for (const std::string& name : list("env")) {
    for (const std::string& entry : config.env.value_or(StringList())) {
      std::pair<std::string, std::string> parts = absl::StrSplit(entry, absl::MaxSplits('=', 1));
      if (parts.first == name) uri->Add(absl::StrCat("attr.", name), parts.second);
    }
  }
}

bool IsCommon(absl::string_view key) {
  return key == "labels" || key == "env" || key == "tag" || key == "mode" ||
         key == "max-buffer-size" || key == "labels-regex" || key == "env-regex";
}

absl::Status Unknown(absl::string_view key, absl::string_view driver) {
  return absl::InvalidArgumentError(
      absl::StrCat("unknown log opt '", key, "' for ", driver, " log driver"));
}

absl::StatusOr<std::string> FileUri(const std::string& driver, const StringMap& options,
                                    const LogSubject& subject, const ContainerConfig& config) {
  Uri uri(absl::StrCat("json-file://{dir}/", subject.id, "-json.log"));
  bool local = driver == "local";
  if (local && !options.contains("max-size")) uri.Add("max-size", kLocalSize);
  if (local && !options.contains("max-file")) uri.Add("max-file", kLocalFiles);
  for (const auto& [key, value] : options) {
    if (key == "max-size" || key == "max-file" || key == "mode" || key == "max-buffer-size") {
      if (key != "max-size" || value != "-1") uri.Add(key, value);
    } else if (key == "tag") {
      uri.Add("attr.tag", ExpandTag(value, subject));
    } else if (key != "compress" && !IsCommon(key)) {
      return Unknown(key, driver);
    }
  }
  AddAttributes(options, config, &uri);
  return uri.text();
}

absl::StatusOr<std::string> DaemonUri(const std::string& driver, const StringMap& options,
                                      const LogSubject& subject, const ContainerConfig& config) {
  Uri uri(absl::StrCat(driver, ":///"));
  auto tag = options.find("tag");
  uri.Add("tag", tag == options.end() ? subject.id.substr(0, 12) : ExpandTag(tag->second, subject));
  bool journald = driver == "journald";
  if (journald) {
    uri.Add("container-id", subject.id);
    uri.Add("container-name", subject.name);
    uri.Add("image-name", subject.image);
    AddAttributes(options, config, &uri);
  }
  for (const auto& [key, value] : options) {
    if (key == "mode" || key == "max-buffer-size" ||
        (!journald && absl::c_linear_search(kSyslogOptions, key))) {
      uri.Add(key, value);
    } else if (!IsCommon(key)) {
      return Unknown(key, driver);
    }
  }
  return uri.text();
}

}  // namespace

absl::StatusOr<std::string> LogUri(const std::string& driver, const StringMap& options,
                                   const LogSubject& subject, const ContainerConfig& config) {
  if (driver == "none") return std::string();
  if (driver.empty() || driver == "json-file" || driver == "local") {
    return FileUri(driver.empty() ? "json-file" : driver, options, subject, config);
  }
  if (driver == "syslog" || driver == "journald")
    return DaemonUri(driver, options, subject, config);
  return absl::InvalidArgumentError(
      absl::StrCat("logger: no log driver named '", driver, "' is registered"));
}

bool IsReadableDriver(const std::string& driver) {
  return driver.empty() || driver == "json-file" || driver == "local";
}

}  // namespace gantry::docker
