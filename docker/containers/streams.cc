// Attaching to containers.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "docker/containers/log_reader.h"
#include "docker/containers/lookup.h"
#include "docker/containers/service.h"

namespace gantry::docker {
namespace {

AttachStreams WantedStreams(const http::Query& query, const ContainerConfig& config) {
  AttachStreams streams;
  streams.in = query.Bool("stdin") && config.open_stdin;
  streams.out = query.Bool("stdout");
  streams.err = query.Bool("stderr");
  return streams;
}

absl::Status CheckAttachable(const FoundContainer& found) {
  const std::string& status = found.state().status();
  if (status == "paused") {
    return absl::FailedPreconditionError(
        absl::StrCat("container ", found.id(), " is paused, unpause the container before attach"));
  }
  if (status == "restarting") {
    return absl::FailedPreconditionError(absl::StrCat(
        "container ", found.id(), " is restarting, wait until the container is running"));
  }
  return absl::OkStatus();
}

// What was written before, for the query key "logs".
void SendLogs(const FoundContainer& found, const AttachStreams& streams, http::RawStream* client) {
  LogOptions options;
  options.out = streams.out;
  options.err = streams.err;
  options.frames = !found.document.config.tty;
  LogReader reader(found.state().log_path(), options);
  while (true) {
    auto piece = reader.Next();
    if (!piece.ok() || piece->empty() || !client->Write(*std::move(piece))) return;
  }
}

}  // namespace

absl::Status ContainerService::Attach(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context_, exchange->Var("name")));
  GANTRY_RETURN_IF_ERROR(CheckAttachable(found));
  const http::Query& query = exchange->query();
  AttachStreams streams = WantedStreams(query, found.document.config);
  base::UniqueFd fd;
  if (query.Bool("stream") && found.running()) {
    GANTRY_ASSIGN_OR_RETURN(fd, client::Attach(found.state().attach_path(), streams));
  }
  auto client = exchange->Hijack(StreamType(exchange->request(), found.document.config.tty));
  if (client == nullptr) return absl::OkStatus();
  if (query.Bool("logs")) SendLogs(found, streams, client.get());
  if (fd) {
    client->Splice(std::move(fd));
  } else if (query.Bool("stream")) {
    early_.Add(found.id(), std::move(client), streams);
  }
  return absl::OkStatus();
}

absl::Status ContainerService::AttachWebSocket(const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context_, exchange->Var("name")));
  GANTRY_RETURN_IF_ERROR(CheckAttachable(found));
  if (!found.running()) {
    return absl::FailedPreconditionError(absl::StrCat("container ", found.id(), " is not running"));
  }
  AttachStreams streams = WantedStreams(exchange->query(), found.document.config);
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, client::Attach(found.state().attach_path(), streams));
  auto client = exchange->AcceptWebSocket();
  if (client != nullptr) client->Splice(std::move(fd));
  return absl::OkStatus();
}

}  // namespace gantry::docker
