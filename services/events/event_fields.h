#ifndef GANTRY_SERVICES_EVENTS_EVENT_FIELDS_H_
#define GANTRY_SERVICES_EVENTS_EVENT_FIELDS_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "containerd/types/event.pb.h"
#include "google/protobuf/message.h"

namespace gantry::services {

// The fields that filters may ask of an envelope, as containerd's adaptor gives them: topic,
// namespace, and event.PATH into the message inside. Only fields that are not empty are present;
// of the message: strings, booleans ("true", "false"), nested messages by further components, maps
// of strings by the rest of the path, Any by what is inside. Numbers and lists are not present.
//
// The message is unpacked at the first question about it. Not thread-safe; `envelope` must outlive
// the object.
class EventFields {
 public:
  explicit EventFields(const containerd::types::Envelope& envelope) : envelope_(envelope) {}

  std::optional<std::string> Lookup(absl::Span<const std::string> fieldpath);

 private:
  const containerd::types::Envelope& envelope_;
  bool unpacked_ = false;
  std::unique_ptr<google::protobuf::Message> event_;  // null: of a type that is not known here
};

// The message inside `any`, whose type URL may have a prefix up to a '/'. Null for unknown types
// and bytes that do not parse.
std::unique_ptr<google::protobuf::Message> UnpackKnown(const google::protobuf::Any& any);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EVENTS_EVENT_FIELDS_H_
