#include "docker/http/router.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::docker::http {
namespace {

// Takes "/v1.43" off the path. OK also when there is none.
absl::Status TakeVersion(Request& request) {
  absl::string_view path = request.path;
  if (!absl::StartsWith(path, "/v")) return absl::OkStatus();
  size_t slash = path.find('/', 1);
  if (slash == absl::string_view::npos) return absl::OkStatus();
  auto version = ApiVersion::Parse(path.substr(2, slash - 2));
  if (!version.ok()) return absl::OkStatus();  // a path that begins so, like /version
  request.version = *version;
  request.path = std::string(path.substr(slash));
  return absl::OkStatus();
}

absl::Status CheckVersion(const ApiVersion& version) {
  if (version < kMinApiVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "client version ", version.str(), " is too old. Minimum supported API version is ",
        kMinApiVersion.str(), ", please upgrade your client to a newer version"));
  }
  if (version > kApiVersion) {
    return absl::InvalidArgumentError(absl::StrCat("client version ", version.str(),
                                                   " is too new. Maximum supported API version is ",
                                                   kApiVersion.str()));
  }
  return absl::OkStatus();
}

}  // namespace

bool MatchPattern(absl::string_view pattern, absl::string_view path,
                  std::map<std::string, std::string>* vars) {
  size_t open = pattern.find('{');
  if (open == absl::string_view::npos) return pattern == path;
  if (!absl::StartsWith(path, pattern.substr(0, open))) return false;
  size_t close = pattern.find('}', open);
  absl::string_view inside = pattern.substr(open + 1, close - open - 1);
  bool slashes = absl::EndsWith(inside, ":.*");
  absl::string_view name = inside.substr(0, inside.find(':'));
  absl::string_view rest = pattern.substr(close + 1);
  path.remove_prefix(open);
  // The longest first, as a regular expression takes it; never an empty one.
  size_t longest = slashes ? path.size() : std::min(path.find('/'), path.size());
  for (size_t length = longest; length > 0; --length) {
    // Only what the text after the placeholder can follow on.
    if (!rest.empty() && rest[0] != '{' && (length == path.size() || path[length] != rest[0])) {
      continue;
    }
    if (MatchPattern(rest, path.substr(length), vars)) {
      (*vars)[std::string(name)] = std::string(path.substr(0, length));
      return true;
    }
  }
  return false;
}

void Router::Add(std::string method, std::string pattern, Handler handler, std::string note) {
  routes_.push_back({std::move(method), std::move(pattern), std::move(handler), std::move(note)});
}

void Router::Serve(const std::shared_ptr<Exchange>& exchange) const {
  Request& request = exchange->mutable_request();
  absl::Status status = TakeVersion(request);
  const Route* found = nullptr;
  for (const Route& route : routes_) {
    if (route.method != request.method) continue;
    std::map<std::string, std::string> vars;
    if (!MatchPattern(route.pattern, request.path, &vars)) continue;
    request.vars = std::move(vars);
    found = &route;
    break;
  }
  if (found == nullptr) {
    status = absl::NotFoundError("page not found");
  } else {
    status.Update(CheckVersion(request.version));
    if (status.ok()) status = found->handler(exchange);
  }
  if (!status.ok()) exchange->ReplyError(status);
}

std::string Router::Table() const {
  std::vector<const Route*> sorted;
  for (const Route& route : routes_) sorted.push_back(&route);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Route* a, const Route* b) {
    return std::tie(a->pattern, a->method) < std::tie(b->pattern, b->method);
  });
  std::string table = "| method | path | state |\n|---|---|---|\n";
  for (const Route* route : sorted) {
    std::string path = route->pattern;
    for (size_t at; (at = path.find(":.*}")) != std::string::npos;) path.erase(at, 3);
    absl::StrAppend(&table, "| ", route->method, " | ", path, " | ",
                    route->note.empty() ? "yes" : route->note, " |\n");
  }
  return table;
}

}  // namespace gantry::docker::http
