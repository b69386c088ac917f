#include "services/registry/platform.h"

#include <sys/utsname.h>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::services {
namespace {

int VariantNumber(const std::string& variant) {
  int number = 0;
  if (variant.size() < 2 || variant[0] != 'v') return 0;
  return absl::SimpleAtoi(variant.substr(1), &number) ? number : 0;
}

// What runs on `want`, best first.
std::vector<Platform> Runnable(const Platform& want) {
  std::vector<Platform> out = {want};
  auto add = [&](const char* architecture, const std::string& variant) {
    out.push_back(NormalizePlatform({want.os, architecture, variant, want.os_version}));
  };
  if (want.architecture == "amd64") {
    for (int v = VariantNumber(want.variant) - 1; v >= 1; --v) add("amd64", absl::StrCat("v", v));
    add("386", "");
  } else if (want.architecture == "arm") {
    for (int v = VariantNumber(want.variant) - 1; v >= 5; --v) add("arm", absl::StrCat("v", v));
  } else if (want.architecture == "arm64") {
    for (int v = 8; v >= 5; --v) add("arm", absl::StrCat("v", v));
  }
  return out;
}

}  // namespace

std::string Platform::str() const {
  std::string out = absl::StrCat(os, "/", architecture);
  if (!variant.empty()) absl::StrAppend(&out, "/", variant);
  return out;
}

Platform NormalizePlatform(Platform p) {
  p.os = absl::AsciiStrToLower(p.os);
  p.architecture = absl::AsciiStrToLower(p.architecture);
  p.variant = absl::AsciiStrToLower(p.variant);
  if (p.os == "macos") p.os = "darwin";
  std::string& a = p.architecture;
  if (a == "x86_64" || a == "x86-64") a = "amd64";
  if (a == "i386" || a == "i686") a = "386";
  if (a == "aarch64") a = "arm64";
  if (a == "armhf") a = "arm", p.variant = "v7";
  if (a == "armel") a = "arm", p.variant = "v6";
  if (a == "amd64" && p.variant == "v1") p.variant.clear();
  if (a == "386") p.variant.clear();
  if (a == "arm64" && (p.variant == "8" || p.variant == "v8")) p.variant.clear();
  if (a == "arm") {
    if (p.variant.empty()) p.variant = "v7";
    if (p.variant[0] != 'v') p.variant = "v" + p.variant;
  }
  return p;
}

absl::StatusOr<Platform> ParsePlatform(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, '/');
  for (const std::string& part : parts) {
    if (part.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no platform"));
    }
  }
  if (parts.size() > 3) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is no platform"));
  }
  Platform out;
  if (parts.size() == 1) {
    Platform host = ThisPlatform();
    bool is_os = parts[0] == "linux" || parts[0] == "windows" || parts[0] == "darwin" ||
                 parts[0] == "freebsd" || parts[0] == "macos";
    out = is_os ? Platform{parts[0], host.architecture, host.variant, ""}
                : Platform{host.os, parts[0], "", ""};
    return NormalizePlatform(out);
  }
  out.os = parts[0];
  out.architecture = parts[1];
  if (parts.size() == 3) out.variant = parts[2];
  return NormalizePlatform(out);
}

Platform ThisPlatform() {
  utsname name{};
  uname(&name);
  std::string machine = name.machine;
  Platform p{"linux", machine, "", ""};
  if (machine == "armv7l") p.architecture = "arm", p.variant = "v7";
  if (machine == "armv6l") p.architecture = "arm", p.variant = "v6";
  return NormalizePlatform(p);
}

int PlatformScore(const Platform& want, const Platform& have) {
  Platform w = NormalizePlatform(want);
  Platform h = NormalizePlatform(have);
  if (w.os != h.os) return 0;
  std::vector<Platform> runnable = Runnable(w);
  for (size_t i = 0; i < runnable.size(); ++i) {
    if (runnable[i].architecture == h.architecture && runnable[i].variant == h.variant) {
      return static_cast<int>(runnable.size() - i);
    }
  }
  return 0;
}

}  // namespace gantry::services
