#include "ctl/logs.h"

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "containerd/services/version/v1/version.methods.h"

namespace gantry::ctl {
namespace {

constexpr char kDefaultLogDir[] = "/var/log/gantry/containers";

std::string LogDir() {
  const char* dir = getenv("GANTRY_LOG_DIR");
  return dir != nullptr && dir[0] == '/' ? dir : kDefaultLogDir;
}

std::string PathOf(absl::string_view uri) {
  if (!absl::ConsumePrefix(&uri, "json-file://") && !absl::ConsumePrefix(&uri, "file://"))
    return "";
  return std::string(uri.substr(0, uri.find('?')));
}

std::string Directory(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Containers' output comes from gantry-shim when the daemon is gantryd and no other shim was asked
// for.
bool OwnShim(const client::Connection& connection, const std::string& runtime) {
  if (absl::EndsWith(runtime, "gantry-shim")) return true;
  if (runtime != "io.containerd.runc.v2" && !absl::StrContains(runtime, "gantry")) return false;
  namespace version = containerd::services::version::v1;
  version::VersionResponse response;
  absl::Status status =
      connection.Call(version::VersionMethods::kVersion, google::protobuf::Empty(), &response);
  return status.ok() && (absl::StrContains(response.version(), "gantry") ||
                         absl::StrContains(response.revision(), "gantry"));
}

}  // namespace

std::string LogUri(const client::Connection& connection, const std::string& id,
                   const std::string& runtime) {
  bool own = OwnShim(connection, runtime);
  // Bounded, so that a chatty program cannot fill the disk.
  return absl::StrCat(own ? "json-file" : "file", "://", LogDir(), "/", connection.ns(), "/", id,
                      "/output.log", own ? "?max-size=64m&max-file=2" : "");
}

absl::StatusOr<std::string> LogPath(absl::string_view uri) {
  std::string path = PathOf(uri);
  if (path.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the output goes to ", uri, ", which gantryctl cannot read"));
  }
  return path;
}

absl::Status PrepareLog(absl::string_view uri) {
  std::string path = PathOf(uri);
  if (path.empty()) return absl::OkStatus();
  return base::Annotate(base::MakeDirs(Directory(path), 0700), "make the log's directory");
}

void RemoveLog(absl::string_view uri) {
  std::string path = PathOf(uri);
  // Only what LogUri() makes: <dir>/<ns>/<id>/output.log
  if (!absl::EndsWith(path, "/output.log") || !absl::StartsWith(path, LogDir() + "/")) return;
  if (absl::StrContains(path, "/../")) return;
  // Best effort: a log without a container does no harm but take space; doctor names it.
  (void)base::RemoveTree(Directory(path));
}

absl::StatusOr<LogLine> ParseLogLine(absl::string_view line) {
  GANTRY_ASSIGN_OR_RETURN(base::Json json, base::ParseJson(line));
  return LogLine{base::JsonString(json, "log"), base::JsonString(json, "stream"),
                 base::JsonString(json, "time")};
}

}  // namespace gantry::ctl
