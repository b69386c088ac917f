#ifndef GANTRY_DOCKER_HTTP_ROUTER_H_
#define GANTRY_DOCKER_HTTP_ROUTER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "docker/http/exchange.h"

namespace gantry::docker::http {

// Answers, or keeps the exchange to answer later; an error that is returned becomes the answer.
// Runs on a worker thread and may block.
using Handler = std::function<absl::Status(const std::shared_ptr<Exchange>&)>;

struct Route {
  std::string method;
  // "/containers/{name:.*}/json": a placeholder with ":.*" matches slashes, too.
  std::string pattern;
  Handler handler;
  // For docs/docker.md: empty for what works as Docker documents it, else a sentence about what
  // does not.
  std::string note = "";
};

// The table of all endpoints.
class Router {
 public:
  void Add(std::string method, std::string pattern, Handler handler, std::string note = "");
  const std::vector<Route>& routes() const { return routes_; }

  // Finds the route of the exchange's request by method and path, earlier ones first, and runs it.
  // Understands "/v1.43" before the path; versions that are too old or too new are refused in
  // Docker's words, what no route has with 404 "page not found".
  void Serve(const std::shared_ptr<Exchange>& exchange) const;

  // The table of docs/docker.md, in Markdown, sorted by path.
  std::string Table() const;

 private:
  std::vector<Route> routes_;
};

// Whether `path` is one of `pattern`; what its placeholders match goes to `vars`.
bool MatchPattern(absl::string_view pattern, absl::string_view path,
                  std::map<std::string, std::string>* vars);

}  // namespace gantry::docker::http

#endif  // GANTRY_DOCKER_HTTP_ROUTER_H_
