#include "docker/containers/logs.h"

#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "docker/containers/attach.h"
#include "docker/containers/log_config.h"
#include "docker/containers/log_reader.h"
#include "docker/containers/lookup.h"
#include "docker/system/filters.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;

constexpr absl::Duration kRetry = absl::Milliseconds(500);

absl::StatusOr<LogOptions> ReadOptions(const http::Query& query, bool terminal) {
  LogOptions options;
  options.out = query.Bool("stdout");
  options.err = query.Bool("stderr");
  if (!options.out && !options.err) {
    return absl::InvalidArgumentError("Bad parameters: you must choose at least one stream");
  }
  options.frames = !terminal;
  options.timestamps = query.Bool("timestamps");
  options.details = query.Bool("details");
  for (auto [key, time] :
       {std::make_pair("since", &options.since), std::make_pair("until", &options.until)}) {
    const std::string& text = query.Get(key);
    if (text.empty() || text == "0") continue;
    GANTRY_ASSIGN_OR_RETURN(*time, ParseMoment(text, absl::Now()));
  }
  // What is no number is "all", as Docker has it.
  if (!absl::SimpleAtoi(query.Get("tail"), &options.tail) || options.tail < 0) options.tail = -1;
  return options;
}

// One client that follows a log. It is pumped by at most one worker at a time: whoever has news
// (the file, the client that has taken a piece, the end of the container) asks for one.
class Follower : public std::enable_shared_from_this<Follower> {
 public:
  Follower(const Context& context, const FoundContainer& found, const LogOptions& options,
           std::shared_ptr<http::ResponseStream> stream)
      : context_(context),
        id_(found.id()),
        directory_(found.state().directory()),
        reader_(found.state().log_path(), options),
        stream_(std::move(stream)) {}

  void Begin(const std::shared_ptr<http::Exchange>& exchange) {
    auto watch = context_.files.Add(directory_, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->Wake();
    });
    // Without it, what is written is seen at the end.
    if (watch.ok()) watch_ = *watch;
    // The exchange keeps us, and goes with its connection.
    exchange->OnClosed([self = shared_from_this()] { self->End(/*with_rest=*/false); });
    AwaitEnd();
    Wake();
  }

 private:
  void AwaitEnd() {
    lifecycle::WaitRequest request;
    request.set_id(id_);
    auto call = context_.rpc.Start<lifecycle::WaitRequest, lifecycle::WaitResponse>(
        lifecycle::LifecycleMethods::kWait, request,
        [self = shared_from_this()](const absl::Status& status, const lifecycle::WaitResponse&) {
          if (!absl::IsUnavailable(status)) return self->End(/*with_rest=*/true);
          self->context_.server.After(kRetry, [self] { self->AwaitEnd(); });
        });
    absl::MutexLock lock(&mutex_);
    call_ = call;
  }

  void End(bool with_rest) {
    {
      absl::MutexLock lock(&mutex_);
      ending_ = true;
      if (!with_rest) gone_ = true;
    }
    Wake();
  }

  // There is, or may be, something to do.
  void Wake() {
    {
      absl::MutexLock lock(&mutex_);
      news_ = true;
      if (busy_ || done_) return;
      busy_ = true;
    }
    context_.workers.Run([self = shared_from_this()] { self->Pump(); });
  }

  void Pump() {
    bool ending, gone;
    {
      absl::MutexLock lock(&mutex_);
      news_ = false;
      ending = ending_;
      gone = gone_;
    }
    if (gone) return Finish();
    auto piece = reader_.Next();
    if (piece.ok() && !piece->empty()) {
      // The client's pace is ours: the next piece when this one is out.
      stream_->WriteAsync(*std::move(piece), [self = shared_from_this()](bool sent) {
        if (!sent) {
          absl::MutexLock lock(&self->mutex_);
          self->gone_ = true;
        }
        self->context_.workers.Run([self] { self->Pump(); });
      });
      return;
    }
    if (!piece.ok() || ending || reader_.past_end()) return Finish();
    bool again;
    {
      absl::MutexLock lock(&mutex_);
      again = news_;
      busy_ = again;
    }
    if (again) context_.workers.Run([self = shared_from_this()] { self->Pump(); });
  }

  void Finish() {
    RpcLoop::CallId call;
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(done_, true)) return;
      call = call_;
    }
    if (watch_ != 0) context_.files.Remove(watch_);
    context_.rpc.Cancel(call);
    stream_->Finish();
  }

  const Context& context_;
  const std::string id_;
  const std::string directory_;
  LogReader reader_;
  const std::shared_ptr<http::ResponseStream> stream_;
  FileWatch::Id watch_ = 0;
  absl::Mutex mutex_;
  RpcLoop::CallId call_ ABSL_GUARDED_BY(mutex_) = 0;
  bool news_ ABSL_GUARDED_BY(mutex_) = false;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;    // a worker has it, or a piece is on its way
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // the container has ended
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;    // the client has
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::Status ContainerLogs(const Context& context,
                           const std::shared_ptr<http::Exchange>& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer found, FindContainer(context, exchange->Var("name")));
  bool terminal = found.document.config.tty;
  GANTRY_ASSIGN_OR_RETURN(LogOptions options, ReadOptions(exchange->query(), terminal));
  GANTRY_ASSIGN_OR_RETURN(HostConfig host, found.document.Host());
  if (!IsReadableDriver(host.log_type)) {
    return absl::UnimplementedError("configured logging driver does not support reading");
  }
  auto stream = exchange->StartStream(200, StreamType(exchange->request(), terminal));
  if (stream == nullptr) return absl::OkStatus();
  if (exchange->query().Bool("follow")) {
    std::make_shared<Follower>(context, found, options, std::move(stream))->Begin(exchange);
    return absl::OkStatus();
  }
  LogReader reader(found.state().log_path(), options);
  while (true) {
    auto piece = reader.Next();
    // An answer that is cut tells the client that something is missing.
    if (!piece.ok()) return absl::OkStatus();
    if (piece->empty()) break;
    if (!stream->Write(*std::move(piece))) return absl::OkStatus();
  }
  stream->Finish();
  return absl::OkStatus();
}

}  // namespace gantry::docker
