#ifndef GANTRY_DOCKER_IMAGES_LINE_STREAM_H_
#define GANTRY_DOCKER_IMAGES_LINE_STREAM_H_

#include <memory>

#include "absl/status/status.h"
#include "base/json.h"
#include "docker/http/exchange.h"

namespace gantry::docker {

// An answer of JSON objects, one a line, that begins with the first of them: an error before it is
// an answer of its own, with its status; one after it is the last line. One thread at a time.
class LineStream {
 public:
  explicit LineStream(std::shared_ptr<http::Exchange> exchange);

  // Blocks while the client does not read.
  void Emit(const base::OrderedJson& line);
  // Ends the answer. What it returns is for the router: the error that nobody has been told of yet.
  absl::Status End(const absl::Status& status);
  // The client is gone.
  bool closed() const { return gone_ || exchange_->closed(); }

 private:
  std::shared_ptr<http::Exchange> exchange_;
  std::shared_ptr<http::ResponseStream> stream_;
  bool gone_ = false;
};

}  // namespace gantry::docker

#endif  // GANTRY_DOCKER_IMAGES_LINE_STREAM_H_
