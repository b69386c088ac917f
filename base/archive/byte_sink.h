#ifndef GANTRY_BASE_ARCHIVE_BYTE_SINK_H_
#define GANTRY_BASE_ARCHIVE_BYTE_SINK_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::archive {

// Takes the next bytes of a stream; the view is valid during the call only. A status that is not OK
// ends the stream.
using ByteSink = std::function<absl::Status(absl::string_view)>;

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_BYTE_SINK_H_
