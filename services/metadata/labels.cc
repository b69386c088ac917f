#include "services/metadata/labels.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::services {

absl::Status ValidateLabel(absl::string_view key, absl::string_view value) {
  constexpr size_t kMaxBytes = 4096;
  if (key.size() + value.size() <= kMaxBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("label key and value length (", key.size() + value.size(),
                   " bytes) greater than maximum size (", kMaxBytes,
                   " bytes), key: ", key.substr(0, 64), ": invalid argument"));
}

absl::Status ValidateLabels(absl::string_view what,
                            const google::protobuf::Map<std::string, std::string>& labels) {
  for (const auto& [key, value] : labels) {
    GANTRY_RETURN_IF_ERROR(base::Annotate(ValidateLabel(key, value), what));
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
