#include "services/registry/queries.h"

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxAnswer = 8u << 20;
constexpr size_t kMaxTags = 100'000;
constexpr uint32_t kMaxResults = 100;

HttpCall Whole() {
  HttpCall call;
  call.body_limit = kMaxAnswer;
  call.body_must_fit = true;
  return call;
}

// The first host that answers.
absl::Status AskHosts(std::vector<RegistryHost> hosts, const RegistryOptions& options,
                      const std::function<absl::Status(Endpoint*)>& ask) {
  absl::Status last = absl::NotFoundError("no host is configured for this registry");
  for (RegistryHost& host : hosts) {
    Endpoint endpoint(std::move(host), options.endpoint);
    last = ask(&endpoint);
    if (!absl::IsUnavailable(last)) return last;
  }
  return last;
}

// What follows `Link: </v2/x/tags/list?last=y>; rel="next"`.
std::string NextPage(const HttpResponse& response) {
  absl::string_view link = FindHeader(response.headers, "link");
  const size_t open = link.find('<');
  const size_t close = link.find('>');
  if (open == absl::string_view::npos || close == absl::string_view::npos || close < open ||
      !absl::StrContains(link.substr(close), "next")) {
    return "";
  }
  return std::string(link.substr(open + 1, close - open - 1));
}

absl::Status TagsAt(Endpoint* endpoint, const std::string& repository,
                    std::vector<std::string>* tags) {
  std::string page = absl::StrCat("/", repository, "/tags/list");
  const std::vector<std::string> scopes = {absl::StrCat("repository:", repository, ":pull")};
  while (!page.empty()) {
    HttpResponse response;
    GANTRY_RETURN_IF_ERROR(endpoint->Do({"GET", page}, scopes, Whole(), &response));
    if (response.status != 200) return StatusOfResponse("list tags", response);
    GANTRY_ASSIGN_OR_RETURN(base::Json answer, base::ParseJson(response.body));
    for (const base::Json& tag : base::JsonAt(answer, "tags")) {
      if (tag.is_string()) tags->push_back(tag.get<std::string>());
    }
    if (tags->size() > kMaxTags) return absl::ResourceExhaustedError("too many tags");
    const std::string next = NextPage(response);
    page = next.empty() ? "" : ResolveUrl(endpoint->host().base_url(), next);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLogin(const std::string& host, const RegistryOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<RegistryHost> hosts, HostsFor(host, options.hosts));
  // A mirror's opinion does not matter.
  while (hosts.size() > 1 && !(hosts.front().capabilities & RegistryHost::kPush)) {
    hosts.erase(hosts.begin());
  }
  return AskHosts(std::move(hosts), options, [](Endpoint* endpoint) {
    HttpResponse response;
    GANTRY_RETURN_IF_ERROR(endpoint->Do({"GET", "/"}, {}, {}, &response));
    if (response.status == 200) return absl::OkStatus();
    return StatusOfResponse("login", response);
  });
}

absl::StatusOr<std::string> SearchRegistry(const std::string& host, const std::string& term,
                                           uint32_t limit, const RegistryOptions& options) {
  const std::string registry =
      host.empty() || host == "docker.io" ? std::string("index.docker.io") : host;
  GANTRY_ASSIGN_OR_RETURN(std::vector<RegistryHost> hosts, HostsFor(registry, options.hosts));
  for (RegistryHost& candidate : hosts) candidate.path = "/v1";
  std::string answer;
  absl::Status status = AskHosts(std::move(hosts), options, [&](Endpoint* endpoint) {
    HttpResponse response;
    const std::string path = absl::StrCat("/search?q=", UrlEscape(term),
                                          "&n=", std::min(limit == 0 ? 25u : limit, kMaxResults));
    GANTRY_RETURN_IF_ERROR(endpoint->Do({"GET", path}, {}, Whole(), &response));
    if (response.status != 200) return StatusOfResponse("search", response);
    answer = std::move(response.body);
    return absl::OkStatus();
  });
  GANTRY_RETURN_IF_ERROR(status);
  GANTRY_RETURN_IF_ERROR(base::Annotate(base::ParseJson(answer).status(), "answer to the search"));
  return answer;
}

absl::StatusOr<std::vector<std::string>> ListTags(const std::string& repository,
                                                  const RegistryOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(Reference reference, ParseReference(repository));
  GANTRY_ASSIGN_OR_RETURN(std::vector<RegistryHost> hosts, HostsFor(reference.host, options.hosts));
  std::vector<std::string> tags;
  GANTRY_RETURN_IF_ERROR(AskHosts(std::move(hosts), options, [&](Endpoint* endpoint) {
    tags.clear();
    return TagsAt(endpoint, reference.repository, &tags);
  }));
  return tags;
}

}  // namespace gantry::services
