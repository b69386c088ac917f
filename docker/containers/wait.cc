#include "docker/containers/wait.h"

#include <atomic>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "docker/containers/lookup.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"

namespace gantry::docker {
namespace {

namespace lifecycle = gantry::services::lifecycle::v1;

constexpr absl::Duration kRetry = absl::Milliseconds(200);
// After this the wait has long reached gantryd: an exit that is recorded by then and was not told
// came before it.
constexpr absl::Duration kLookBack = absl::Seconds(1);

// One client that waits. Kept alive by the calls and timers under way.
class WaitJob : public std::enable_shared_from_this<WaitJob> {
 public:
  WaitJob(const Context& context, std::shared_ptr<http::Exchange> exchange,
          const lifecycle::Container& container, std::string condition)
      : context_(context),
        exchange_(std::move(exchange)),
        id_(container.id()),
        condition_(std::move(condition)),
        finished_before_(base::GetTimestamp(container.state().finished_at())) {}

  void Begin() {
    Call();
    // The answer's head says that we wait: it goes out when gantryd has got the call, which on one
    // connection is before it answers the next.
    lifecycle::GetRequest request;
    request.set_id(id_);
    context_.rpc.Start<lifecycle::GetRequest, lifecycle::GetResponse>(
        lifecycle::LifecycleMethods::kGet, request,
        [self = shared_from_this()](const absl::Status&, const lifecycle::GetResponse&) {
          self->Open();
        });
  }

 private:
  void Call() {
    lifecycle::WaitRequest request;
    request.set_id(id_);
    request.set_condition(condition_);
    call_ = context_.rpc.Start<lifecycle::WaitRequest, lifecycle::WaitResponse>(
        lifecycle::LifecycleMethods::kWait, request,
        [self = shared_from_this()](const absl::Status& status,
                                    const lifecycle::WaitResponse& response) {
          self->Ended(status, response);
        });
  }

  void Open() {
    stream_ = exchange_->StartStream(200, "application/json");
    exchange_->OnClosed([weak = weak_from_this()] {
      if (auto self = weak.lock()) self->Leave();
    });
    bool waiting;
    {
      absl::MutexLock lock(&mutex_);
      opened_ = true;
      waiting = result_.empty();
    }
    if (!waiting) return Send();
    if (condition_ == "next-exit") LookBackLater(kLookBack, /*call_again=*/false);
  }

  void Ended(const absl::Status& status, const lifecycle::WaitResponse& response) {
    if (left_ || answered_) return;
    if (absl::IsUnavailable(status)) return LookBackLater(kRetry, /*call_again=*/true);
    if (status.ok()) return Answer(response.exit_code(), response.error());
    if (absl::IsNotFound(status)) return Answer(0, "");
    Answer(0, std::string(status.message()));
  }

  // Looks on a worker whether what is waited for has happened unseen.
  void LookBackLater(absl::Duration delay, bool call_again) {
    context_.server.After(delay, [self = shared_from_this(), call_again] {
      if (self->left_ || self->answered_) return;
      self->context_.workers.Run([self, call_again] { self->LookBack(call_again); });
    });
  }

  void LookBack(bool call_again) {
    auto found = FindRecord(context_, id_);
    if (absl::IsUnavailable(found.status())) return LookBackLater(kRetry, call_again);
    if (!found.ok()) return Answer(0, "");
    const lifecycle::State& state = found->state();
    bool ended = base::GetTimestamp(state.finished_at()) != finished_before_;
    if (ended && condition_ == "next-exit") return Answer(state.exit_code(), state.error());
    if (call_again) Call();
  }

  void Answer(uint32_t code, const std::string& error) {
    if (answered_.exchange(true)) return;
    base::OrderedJson json = {{"StatusCode", code}};
    if (!error.empty()) json["Error"] = {{"Message", error}};
    bool opened;
    {
      absl::MutexLock lock(&mutex_);
      result_ = json.dump(-1, ' ', false, base::OrderedJson::error_handler_t::replace) + "\n";
      opened = opened_;
    }
    if (opened) Send();
  }

  void Send() {
    if (stream_ == nullptr || sent_.exchange(true)) return;
    std::string result;
    {
      absl::MutexLock lock(&mutex_);
      result = result_;
    }
    stream_->WriteAsync(std::move(result), nullptr);
    stream_->Finish();
  }

  void Leave() {
    left_ = true;
    context_.rpc.Cancel(call_);
  }

  const Context& context_;
  const std::shared_ptr<http::Exchange> exchange_;
  const std::string id_;
  const std::string condition_;
  const absl::Time finished_before_;
  std::shared_ptr<http::ResponseStream> stream_;
  std::atomic<RpcLoop::CallId> call_{0};
  std::atomic<bool> answered_{false}, sent_{false}, left_{false};
  absl::Mutex mutex_;
  std::string result_ ABSL_GUARDED_BY(mutex_);
  bool opened_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

absl::Status WaitContainer(const Context& context,
                           const std::shared_ptr<http::Exchange>& exchange) {
  const std::string& condition = exchange->query().Get("condition");
  if (condition != "" && condition != "not-running" && condition != "next-exit" &&
      condition != "removed") {
    return absl::InvalidArgumentError(absl::StrCat("invalid condition: \"", condition, "\""));
  }
  GANTRY_ASSIGN_OR_RETURN(lifecycle::Container container,
                          FindRecord(context, exchange->Var("name")));
  std::make_shared<WaitJob>(context, exchange, container, condition)->Begin();
  return absl::OkStatus();
}

}  // namespace gantry::docker
