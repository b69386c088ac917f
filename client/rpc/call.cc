#include "client/rpc/call.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/rpc/transport.h"
#include "client/rpc/wire.h"

namespace gantry::client::rpc {

using google::protobuf::MessageLite;

Call::Call(std::shared_ptr<Transport> transport, const CallHead& head, const MessageLite* only)
    : transport_(std::move(transport)),
      stream_(std::make_unique<Stream>()),
      deadline_(head.deadline) {
  absl::Status framed = only == nullptr ? absl::OkStatus() : AppendMessage(*only, &stream_->out);
  stream_->out_ended = only != nullptr;
  if (framed.ok()) {
    transport_->Open(stream_.get(), head);
  } else {
    stream_->finished = true;
    stream_->result = framed;
  }
}

Call::Call(absl::Status result) : stream_(std::make_unique<Stream>()) {
  stream_->finished = true;
  stream_->result = std::move(result);
}

Call::Call(Call&&) noexcept = default;

Call::~Call() {
  if (transport_ != nullptr && stream_ != nullptr) transport_->Close(stream_.get());
}

bool Call::Write(const MessageLite& message) {
  if (transport_ == nullptr) return false;
  std::string framed;
  if (absl::Status status = AppendMessage(message, &framed); !status.ok()) {
    transport_->Cancel(stream_.get(), status);
    return false;
  }
  bool sent = transport_->Send(stream_.get(), framed, deadline_);
  ExpireIfLate();
  return sent;
}

void Call::WritesDone() {
  if (transport_ != nullptr) transport_->EndSending(stream_.get());
}

bool Call::Read(MessageLite* message) {
  if (transport_ == nullptr) return false;
  if (!transport_->AwaitMessage(stream_.get(), deadline_)) ExpireIfLate();
  return TakeMessage(message);
}

bool Call::TryRead(MessageLite* message) { return transport_ != nullptr && TakeMessage(message); }

bool Call::TakeMessage(MessageLite* message) {
  std::string bytes;
  if (!transport_->TakeMessage(stream_.get(), &bytes)) return false;
  if (message->ParseFromString(bytes)) return true;
  malformed_ =
      absl::InternalError(absl::StrCat("the daemon sent a malformed ", message->GetTypeName()));
  transport_->Cancel(stream_.get(), malformed_);
  return false;
}

absl::Status Call::Finish() {
  if (transport_ == nullptr) return stream_->result;
  // Messages that nobody reads must not keep the end from coming.
  std::string dropped;
  while (!transport_->Finished(stream_.get())) {
    if (transport_->TakeMessage(stream_.get(), &dropped)) continue;
    if (!transport_->AwaitMessage(stream_.get(), deadline_)) ExpireIfLate();
  }
  return malformed_.ok() ? transport_->Result(stream_.get()) : malformed_;
}

absl::Status Call::FinishUnary(MessageLite* response) {
  bool answered = Read(response);
  absl::Status status = Finish();
  if (!status.ok() || answered) return status;
  return absl::InternalError("the daemon ended the call without an answer");
}

void Call::Cancel() {
  if (transport_ == nullptr) return;
  transport_->Cancel(stream_.get(), absl::CancelledError("the call was cancelled"));
}

void Call::ExpireIfLate() {
  if (absl::Now() < deadline_) return;
  transport_->Cancel(stream_.get(),
                     absl::DeadlineExceededError("the daemon did not answer in time"));
}

bool Call::finished() const { return transport_ == nullptr || transport_->Finished(stream_.get()); }

void Call::WaitForAnything() {
  if (finished()) return;
  transport_->AwaitAnything(deadline_);
  ExpireIfLate();
}

pollfd Call::descriptor() const { return finished() ? pollfd{-1, 0, 0} : transport_->Descriptor(); }

void Call::Process() {
  if (!finished()) transport_->Process();
}

}  // namespace gantry::client::rpc
