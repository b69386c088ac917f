#ifndef GANTRY_PROTO_JSON_H_
#define GANTRY_PROTO_JSON_H_

// What the generated x.json.h build on: writers of JSON for messages that people read (events), in
// the names of the .proto file, without reflection, so that they work with the lite runtime. As in
// proto3's own mapping, fields with their default are left out and 64-bit numbers are strings.

#include <string>

#include "base/clock.h"
#include "base/json.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace gantry::proto {

inline base::OrderedJson ToJson(const google::protobuf::Timestamp& time) {
  return base::FormatRfc3339(base::GetTimestamp(time));
}

// What is inside is anybody's.
inline base::OrderedJson ToJson(const google::protobuf::Any& any) {
  return {{"type", any.type_url()}, {"bytes", any.value().size()}};
}

// False for malformed bytes.
template <typename Message>
bool ParseToJson(const std::string& bytes, base::OrderedJson* json) {
  Message message;
  if (!message.ParseFromString(bytes)) return false;
  *json = ToJson(message);
  return true;
}

}  // namespace gantry::proto

#endif  // GANTRY_PROTO_JSON_H_
