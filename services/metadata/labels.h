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

// containerd keeps no label whose value is empty in a field-mask update ("labels.x" with "" removes
// x): sets or erases.
void SetLabel(google::protobuf::Map<std::string, std::string>* labels, const std::string& key,
              const std::string& value);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_LABELS_H_
