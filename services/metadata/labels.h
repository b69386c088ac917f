#ifndef GANTRY_SERVICES_METADATA_LABELS_H_
#define GANTRY_SERVICES_METADATA_LABELS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/map.h"

namespace gantry::services {

// InvalidArgument with containerd's text when key and value together exceed 4096 bytes.
absl::Status ValidateLabel(absl::string_view key, absl::string_view value);

// ValidateLabel for each; WHAT ("image.Labels") goes before the message.
absl::Status ValidateLabels(absl::string_view what,
                            const google::protobuf::Map<std::string, std::string>& labels);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_LABELS_H_
