#include "docker/http/exchange.h"

#include <sys/socket.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "docker/http/errors.h"
#include "docker/http/session.h"
#include "docker/http/websocket.h"

namespace gantry::docker::http {
namespace {

template <typename J>
std::string Dump(const J& json) {
  return json.dump(-1, ' ', false, J::error_handler_t::replace) + "\n";
}

// As Transfer-Encoding: chunked has it.
std::string Chunk(std::string data) {
  return absl::StrCat(absl::Hex(data.size()), "\r\n", data, "\r\n");
}

// The text of an error for people: what was looked for, not how it travelled.
base::Json ErrorBody(const absl::Status& error) {
  return {{"message", std::string(error.message())}};
}

}  // namespace

// --- ResponseStream

ResponseStream::ResponseStream(std::shared_ptr<Session> session) : session_(std::move(session)) {}

ResponseStream::~ResponseStream() {
  if (!finished_) session_->Abort();
}

bool ResponseStream::Write(std::string data) {
  if (data.empty()) return !session_->closed();
  session_->Write(session_->chunked() ? Chunk(std::move(data)) : std::move(data), nullptr);
  return session_->AwaitRoom();
}

void ResponseStream::WriteAsync(std::string data, std::function<void(bool)> done) {
  if (data.empty()) return session_->Write("", std::move(done));
  session_->Write(session_->chunked() ? Chunk(std::move(data)) : std::move(data), std::move(done));
}

void ResponseStream::Finish() {
  if (std::exchange(finished_, true)) return;
  if (session_->chunked()) session_->Write("0\r\n\r\n", nullptr);
  session_->EndAnswer();
}

// --- RawStream

RawStream::RawStream(std::shared_ptr<Session> session, bool websocket)
    : session_(std::move(session)), websocket_(websocket) {}

RawStream::~RawStream() {
  if (!taken_) session_->EndAnswer();
}

bool RawStream::Write(std::string data) {
  session_->Write(websocket_ ? WebSocketFrame(data) : std::move(data), nullptr);
  return session_->AwaitRoom();
}

void RawStream::Splice(base::UniqueFd peer, std::function<void()> done) {
  taken_ = true;
  session_->Splice(std::move(peer), websocket_, std::move(done));
}

// --- Exchange

Exchange::Exchange(std::shared_ptr<Session> session, Request request)
    : session_(std::move(session)), request_(std::move(request)) {}

Exchange::~Exchange() {
  if (Claim())
    Send(500, Dump(ErrorBody(absl::InternalError("the request was not answered"))),
         "application/json");
}

bool Exchange::Claim() { return !claimed_.exchange(true) && !session_->Claim(); }
bool Exchange::closed() const { return session_->closed(); }
void Exchange::OnClosed(std::function<void()> callback) { session_->Watch(std::move(callback)); }

absl::StatusOr<std::string> Exchange::ReadBodySome() {
  absl::Notification done;
  absl::StatusOr<std::string> piece;
  session_->ReadBody([&](absl::StatusOr<std::string> got) {
    piece = std::move(got);
    done.Notify();
  });
  done.WaitForNotification();
  return piece;
}

absl::StatusOr<std::string> Exchange::ReadBody(size_t limit) {
  std::string body;
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(std::string piece, ReadBodySome());
    if (piece.empty()) return body;
    if (body.size() + piece.size() > limit) {
      return absl::InvalidArgumentError("http: request body too large");
    }
    body += piece;
  }
}

bool Exchange::HasBody() const {
  const std::string& length = request_.Header("content-length");
  return !request_.Header("transfer-encoding").empty() || !(length.empty() || length == "0");
}

absl::StatusOr<base::Json> Exchange::ReadJson(size_t limit) {
  if (!HasBody()) return base::Json();
  const std::string& type = request_.Header("content-type");
  if (!type.empty() && !absl::StartsWithIgnoreCase(type, "application/json")) {
    return absl::InvalidArgumentError(
        absl::StrCat("unsupported Content-Type header (", type, "): must be 'application/json'"));
  }
  GANTRY_ASSIGN_OR_RETURN(std::string body, ReadBody(limit));
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return base::Json();
  auto json = base::ParseJson(body, {.bytes = limit});
  if (json.ok()) return json;
  return absl::InvalidArgumentError(absl::StrCat("invalid JSON: ", json.status().message()));
}

void Exchange::SetHeader(std::string name, std::string value) {
  extra_headers_.emplace_back(std::move(name), std::move(value));
}

std::string Exchange::Head(int status, absl::string_view content_type, int64_t length,
                           bool chunked) {
  std::string head = absl::StrCat("HTTP/1.1 ", status, " ", ReasonPhrase(status), "\r\n",
                                  "Api-Version: ", kApiVersion.str(), "\r\n");
  if (!content_type.empty()) absl::StrAppend(&head, "Content-Type: ", content_type, "\r\n");
  absl::StrAppend(
      &head, "Docker-Experimental: false\r\nOstype: linux\r\nServer: ", kServerName,
      "\r\nDate: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
      "\r\n");
  for (const auto& [name, value] : extra_headers_) {
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  if (chunked) absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
  if (length >= 0) absl::StrAppend(&head, "Content-Length: ", length, "\r\n");
  if (!session_->keeps_alive()) {
    absl::StrAppend(&head, "Connection: close\r\n");
  } else if (request_.http_1_0) {
    absl::StrAppend(&head, "Connection: keep-alive\r\n");
  }
  return absl::StrCat(head, "\r\n");
}

void Exchange::Send(int status, std::string body, absl::string_view content_type) {
  bool bodyless = status == 204 || status == 304;
  std::string bytes = Head(status, content_type, bodyless ? -1 : int64_t(body.size()), false);
  if (request_.method != "HEAD" && !bodyless) bytes += body;
  session_->Write(std::move(bytes), nullptr);
  session_->EndAnswer();
}

void Exchange::Reply(int status, std::string body, absl::string_view content_type) {
  if (Claim()) Send(status, std::move(body), content_type);
}

void Exchange::ReplyEmpty(int status) { Reply(status, "", ""); }

void Exchange::ReplyJson(int status, const base::Json& json) {
  Reply(status, Dump(json), "application/json");
}
void Exchange::ReplyJson(int status, const base::OrderedJson& json) {
  Reply(status, Dump(json), "application/json");
}
void Exchange::ReplyError(const absl::Status& error) {
  Reply(HttpStatus(error), Dump(ErrorBody(error)), "application/json");
}

std::shared_ptr<ResponseStream> Exchange::StartStream(int status, absl::string_view content_type) {
  if (!Claim()) return nullptr;
  bool chunked = !request_.http_1_0;
  if (!chunked) session_->CloseAfterAnswer();
  session_->set_chunked(chunked);
  session_->Write(Head(status, content_type, -1, chunked), nullptr);
  return std::make_shared<ResponseStream>(session_);
}

std::shared_ptr<RawStream> Exchange::Hijack(absl::string_view content_type) {
  if (session_->closed() || !Claim()) return nullptr;
  session_->CloseAfterAnswer();
  // What proxies would change does not pass them: as Docker, no headers but these.
  std::string head =
      absl::EqualsIgnoreCase(request_.Header("upgrade"), "tcp")
          ? absl::StrCat("HTTP/1.1 101 UPGRADED\r\nContent-Type: ", content_type,
                         "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
          : absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: ", content_type, "\r\n\r\n");
  session_->Write(std::move(head), nullptr);
  return std::make_shared<RawStream>(session_, /*websocket=*/false);
}

std::shared_ptr<RawStream> Exchange::AcceptWebSocket() {
  const std::string& key = request_.Header("sec-websocket-key");
  if (!absl::EqualsIgnoreCase(request_.Header("upgrade"), "websocket") || key.empty()) {
    ReplyError(absl::InvalidArgumentError("the request asks for no websocket"));
    return nullptr;
  }
  if (session_->closed() || !Claim()) return nullptr;
  session_->CloseAfterAnswer();
  session_->Write(absl::StrCat("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: ",
                               WebSocketAccept(key), "\r\n\r\n"),
                  nullptr);
  return std::make_shared<RawStream>(session_, /*websocket=*/true);
}

}  // namespace gantry::docker::http
