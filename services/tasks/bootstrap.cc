#include "services/tasks/bootstrap.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr int kNewestVersion = 3;
constexpr size_t kMaxOutput = 64u << 10;
// sun_path with its final zero.
constexpr size_t kMaxSocketPath = 107;

absl::Status CheckAddress(absl::string_view address) {
  absl::string_view path = address;
  if (!absl::ConsumePrefix(&path, "unix://") && !absl::StartsWith(path, "/")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the shim printed \"", absl::CHexEscape(address.substr(0, 200)),
        "\" instead of its address (unix:///PATH, or JSON with version, address and protocol)"));
  }
  bool plain = absl::StartsWith(path, "/") && path.size() <= kMaxSocketPath &&
               path.find_first_of(absl::string_view("\0\n\r", 3)) == absl::string_view::npos;
  if (plain) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the shim's address is not the path of a socket: ",
                   absl::CHexEscape(address.substr(0, 200))));
}

}  // namespace

absl::StatusOr<ShimBootstrap> ParseBootstrap(absl::string_view output) {
  absl::string_view text = absl::StripAsciiWhitespace(output);
  if (text.size() > kMaxOutput) {
    return absl::FailedPreconditionError("the shim printed far more than its address");
  }
  ShimBootstrap bootstrap;
  absl::StatusOr<base::Json> json = base::ParseJson(text);
  if (json.ok() && json->is_object() && base::JsonInt(*json, "version") >= 2) {
    int64_t version = base::JsonInt(*json, "version");
    if (version > kNewestVersion) {
      return absl::UnimplementedError(absl::StrCat("unsupported shim version (", version, ")"));
    }
    bootstrap.version = static_cast<int>(version);
    bootstrap.address = base::JsonString(*json, "address");
    bootstrap.protocol = absl::AsciiStrToLower(base::JsonString(*json, "protocol"));
  } else {
    bootstrap.address = std::string(text);
  }
  if (bootstrap.protocol != "ttrpc") {
    return absl::UnimplementedError(absl::StrCat(
        "the shim wants to be spoken to in \"", bootstrap.protocol, "\"; only ttrpc is supported"));
  }
  GANTRY_RETURN_IF_ERROR(CheckAddress(bootstrap.address));
  return bootstrap;
}

absl::Status WriteBootstrap(const Bundle& bundle, const ShimBootstrap& bootstrap) {
  base::OrderedJson json;
  json["version"] = bootstrap.version;
  json["address"] = bootstrap.address;
  json["protocol"] = bootstrap.protocol;
  return base::WriteFile(bundle.File("bootstrap.json"), json.dump(), 0644);
}

absl::StatusOr<ShimBootstrap> ReadBootstrap(const Bundle& bundle) {
  absl::StatusOr<std::string> text = base::ReadFile(bundle.File("bootstrap.json"), kMaxOutput);
  if (absl::IsNotFound(text.status())) text = base::ReadFile(bundle.File("address"), kMaxOutput);
  if (!text.ok()) return base::Annotate(text.status(), "find the shim's address");
  return ParseBootstrap(*text);
}

}  // namespace gantry::services
