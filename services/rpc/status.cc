#include "services/rpc/status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

namespace {

// A message travels in a header, percent-encoded; clients refuse headers beyond 8 KiB and then see
// another code. What a client sent can be in it at any length.
constexpr size_t kMaxMessage = 2048;

std::string Fit(absl::string_view message) {
  if (message.size() <= kMaxMessage) return std::string(message);
  return absl::StrCat(message.substr(0, kMaxMessage / 2), " [...] ",
                      message.substr(message.size() - kMaxMessage / 2));
}

}  // namespace

// Both libraries number the codes as gRPC's protocol does.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), Fit(status.message())};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

}  // namespace gantry::services
