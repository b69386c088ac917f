#include "docker/images/line_stream.h"

#include "docker/images/progress.h"

namespace gantry::docker {

LineStream::LineStream(std::shared_ptr<http::Exchange> exchange) : exchange_(std::move(exchange)) {
  // Without a callback nobody notices that the client has left.
  exchange_->OnClosed([] {});
}

void LineStream::Emit(const base::OrderedJson& line) {
  if (gone_) return;
  if (stream_ == nullptr) stream_ = exchange_->StartStream(200, "application/json");
  // Bytes that are no UTF-8 become U+FFFD.
  std::string text =
      line.dump(-1, ' ', false, base::OrderedJson::error_handler_t::replace) + "\r\n";
  gone_ = stream_ == nullptr || !stream_->Write(std::move(text));
}

absl::Status LineStream::End(const absl::Status& status) {
  if (stream_ == nullptr) {
    if (!status.ok()) return status;
    stream_ = exchange_->StartStream(200, "application/json");
  } else if (!status.ok()) {
    Emit(ErrorLine(status.message()));
  }
  if (stream_ != nullptr) stream_->Finish();
  return absl::OkStatus();
}

}  // namespace gantry::docker
