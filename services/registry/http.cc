#include "services/registry/http.h"

#include <curl/curl.h>

#include <cstring>

#include "absl/base/call_once.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxHeaderBytes = 256u << 10;
constexpr size_t kMaxIdleHandles = 8;

struct SlistDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Slist = std::unique_ptr<curl_slist, SlistDeleter>;

struct EasyDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlDeleter>;

// Everything curl's callbacks need for one exchange.
struct Exchange {
  const HttpRequest* request;
  const HttpCall* call;
  HttpResponse* response;
  const std::function<bool()>* cancelled;
  size_t header_bytes = 0;
  uint64_t sent = 0;
  bool decided = false;
  bool to_sink = false;
  absl::Status failure;  // of sink, source, limit or cancellation
};

size_t OnHeader(char* data, size_t size, size_t count, void* opaque) {
  auto* x = static_cast<Exchange*>(opaque);
  absl::string_view line(data, size * count);
  x->header_bytes += line.size();
  if (x->header_bytes > kMaxHeaderBytes) {
    x->failure = absl::ResourceExhaustedError("response headers are too large");
    return 0;
  }
  if (absl::StartsWith(line, "HTTP/")) {  // a new response begins (after 100 Continue)
    x->response->headers.clear();
    x->response->content_length = -1;
    size_t space = line.find(' ');
    int status = 0;
    if (space == absl::string_view::npos || !absl::SimpleAtoi(line.substr(space + 1, 3), &status)) {
      status = 0;
    }
    x->response->status = status;
    return line.size();
  }
  size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return line.size();
  std::string name(line.substr(0, colon));
  std::string value(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  if (absl::EqualsIgnoreCase(name, "content-length")) {
    int64_t length = -1;
    if (absl::SimpleAtoi(value, &length)) x->response->content_length = length;
  }
  x->response->headers.emplace_back(std::move(name), std::move(value));
  return line.size();
}

size_t OnBody(char* data, size_t size, size_t count, void* opaque) {
  auto* x = static_cast<Exchange*>(opaque);
  absl::string_view chunk(data, size * count);
  if (!x->decided) {
    x->decided = true;
    x->to_sink = x->call->accept && x->call->accept(*x->response);
  }
  if (x->to_sink) {
    x->failure = x->call->sink(chunk);
    if (!x->failure.ok()) {
      x->response->callback_failed = true;
      return 0;
    }
    return chunk.size();
  }
  std::string& body = x->response->body;
  size_t room = x->call->body_limit - std::min(x->call->body_limit, body.size());
  if (chunk.size() > room && x->call->body_must_fit) {
    x->failure = absl::ResourceExhaustedError(
        absl::StrCat("response is larger than ", x->call->body_limit, " bytes"));
    return 0;
  }
  body.append(chunk.data(), std::min(room, chunk.size()));
  return chunk.size();
}

size_t OnRead(char* to, size_t size, size_t count, void* opaque) {
  auto* x = static_cast<Exchange*>(opaque);
  const HttpBody& upload = *x->request->upload;
  size_t want = static_cast<size_t>(std::min<uint64_t>(size * count, upload.size - x->sent));
  if (want == 0) return 0;
  size_t got = 0;
  x->failure = upload.read(x->sent, to, want, &got);
  if (x->failure.ok() && got == 0) x->failure = absl::DataLossError("the source ended too early");
  if (!x->failure.ok()) {
    x->response->callback_failed = true;
    return CURL_READFUNC_ABORT;
  }
  x->sent += got;
  return got;
}

int OnSeek(void* opaque, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Exchange*>(opaque)->sent = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int OnProgress(void* opaque, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto* x = static_cast<Exchange*>(opaque);
  if (*x->cancelled && (*x->cancelled)()) {
    x->failure = absl::CancelledError("transfer was cancelled");
    return 1;
  }
  return 0;
}

absl::Status FromCurl(CURLcode code, const char* detail, const HttpRequest& request) {
  std::string message = absl::StrCat(request.method, " ", request.url, ": ",
                                     detail[0] != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return absl::InvalidArgumentError(message);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(
          absl::StrCat(message, "; put the registry's CA into its hosts.toml (ca = …)"));
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

absl::string_view FindHeader(const HttpHeaders& headers, absl::string_view name) {
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) return value;
  }
  return {};
}

std::vector<std::string> FindHeaders(const HttpHeaders& headers, absl::string_view name) {
  std::vector<std::string> out;
  for (const auto& [key, value] : headers) {
    if (absl::EqualsIgnoreCase(key, name)) out.push_back(value);
  }
  return out;
}

struct HttpClient::Impl {
  HttpOptions options;
  absl::Status broken;    // CA files that could not be read
  std::string ca_bundle;  // PEM: the system's and the configured ones
  absl::Mutex mu;
  std::vector<Easy> idle;

  Easy Take() {
    {
      absl::MutexLock lock(&mu);
      if (!idle.empty()) {
        Easy handle = std::move(idle.back());
        idle.pop_back();
        return handle;
      }
    }
    return Easy(curl_easy_init());
  }
  void Give(Easy handle) {
    curl_easy_reset(handle.get());  // keeps the connections
    absl::MutexLock lock(&mu);
    if (idle.size() < kMaxIdleHandles) idle.push_back(std::move(handle));
  }
  void SetTls(CURL* h);
};

HttpClient::HttpClient(HttpOptions options) : impl_(std::make_unique<Impl>()) {
  static absl::once_flag once;
  absl::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  impl_->options = std::move(options);
  if (impl_->options.ca_files.empty()) return;
  // curl takes one blob: the system's certificates stay trusted next to the configured ones.
  if (auto system = base::ReadFile("/etc/ssl/certs/ca-certificates.crt", 8u << 20); system.ok()) {
    impl_->ca_bundle = *std::move(system);
  }
  for (const std::string& file : impl_->options.ca_files) {
    auto pem = base::ReadFile(file, 4u << 20);
    if (!pem.ok()) {
      impl_->broken = base::WithCode(base::Annotate(pem.status(), "read CA certificate"),
                                     absl::StatusCode::kFailedPrecondition);
      return;
    }
    absl::StrAppend(&impl_->ca_bundle, "\n", *pem);
  }
}

HttpClient::~HttpClient() = default;

void HttpClient::Impl::SetTls(CURL* h) {
  if (!ca_bundle.empty()) {
    curl_blob blob{const_cast<char*>(ca_bundle.data()), ca_bundle.size(), CURL_BLOB_NOCOPY};
    curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &blob);
  }
  if (!options.client_cert.empty()) {
    const std::string& key = options.client_key.empty() ? options.client_cert : options.client_key;
    curl_easy_setopt(h, CURLOPT_SSLCERT, options.client_cert.c_str());
    curl_easy_setopt(h, CURLOPT_SSLKEY, key.c_str());
  }
  curl_easy_setopt(h, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (options.skip_verify) {
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
  }
}

namespace {

Slist MakeHeaderList(const HttpRequest& request) {
  curl_slist* list = nullptr;
  for (const auto& [name, value] : request.headers) {
    // "Name;" is how curl is told of a header without a value.
    std::string line = value.empty() ? name + ";" : absl::StrCat(name, ": ", value);
    list = curl_slist_append(list, line.c_str());
  }
  // No round trip spent on asking whether a body may be sent.
  list = curl_slist_append(list, "Expect:");
  return Slist(list);
}

void SetMethod(CURL* h, const HttpRequest& request, Exchange* x) {
  if (request.upload != nullptr) {
    curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.upload->size));
    curl_easy_setopt(h, CURLOPT_READFUNCTION, OnRead);
    curl_easy_setopt(h, CURLOPT_READDATA, x);
    curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, OnSeek);
    curl_easy_setopt(h, CURLOPT_SEEKDATA, x);
    curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
  } else if (request.method == "HEAD") {
    curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    curl_easy_setopt(h, CURLOPT_POST, 1L);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, request.body.data());
  }
  if (request.method != "HEAD" && request.method != "GET") {
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

}  // namespace

absl::Status HttpClient::Do(const HttpRequest& request, const HttpCall& call,
                            HttpResponse* response) {
  *response = HttpResponse();
  GANTRY_RETURN_IF_ERROR(impl_->broken);
  Easy handle = impl_->Take();
  if (handle == nullptr) return absl::ResourceExhaustedError("no memory for an HTTP request");
  CURL* h = handle.get();
  Exchange x{&request, &call, response, &impl_->options.cancelled};
  char detail[CURL_ERROR_SIZE] = "";
  Slist headers = MakeHeaderList(request);
  curl_easy_setopt(h, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(h, CURLOPT_USERAGENT, "gantry/0.1.0");
  curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(h, CURLOPT_HEADERDATA, &x);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &x);
  curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(h, CURLOPT_XFERINFODATA, &x);
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(impl_->options.connect_timeout)));
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(absl::ToInt64Seconds(
                       absl::Ceil(impl_->options.stall_timeout, absl::Seconds(1)))));
  impl_->SetTls(h);
  SetMethod(h, request, &x);
  CURLcode code = curl_easy_perform(h);
  impl_->Give(std::move(handle));
  if (!x.failure.ok()) return x.failure;
  if (code != CURLE_OK) return FromCurl(code, detail, request);
  // A body of no bytes still has to be accepted by somebody.
  if (!x.decided && call.accept) call.accept(*response);
  return absl::OkStatus();
}

std::string ResolveUrl(const std::string& base, const std::string& location) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) return "";
  if (curl_url_set(url.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) return "";
  char* text = nullptr;
  if (curl_url_get(url.get(), CURLUPART_URL, &text, 0) != CURLUE_OK) return "";
  std::string out(text);
  curl_free(text);
  if (!absl::StartsWith(out, "http://") && !absl::StartsWith(out, "https://")) return "";
  return out;
}

std::string OriginOf(const std::string& text) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) return "";
  std::string out;
  auto part = [&](CURLUPart which, unsigned flags) {
    char* value = nullptr;
    if (curl_url_get(url.get(), which, &value, flags) != CURLUE_OK) return std::string();
    std::string copy(value);
    curl_free(value);
    return copy;
  };
  return absl::AsciiStrToLower(absl::StrCat(part(CURLUPART_SCHEME, 0), "://",
                                            part(CURLUPART_HOST, 0), ":",
                                            part(CURLUPART_PORT, CURLU_DEFAULT_PORT)));
}

std::string UrlEscape(absl::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(static_cast<char>(c));
    } else {
      static const char kHex[] = "0123456789ABCDEF";
      out.push_back('%');
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
  }
  return out;
}

}  // namespace gantry::services
