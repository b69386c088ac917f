#ifndef GANTRY_CLIENT_ANY_H_
#define GANTRY_CLIENT_ANY_H_

// Typed google.protobuf.Any with either runtime. containerd's type URLs are bare message names.

#include "absl/strings/string_view.h"
#include "google/protobuf/any.pb.h"

namespace gantry::client {

template <typename Message>
google::protobuf::Any PackAny(const Message& message) {
  google::protobuf::Any any;
  any.set_type_url(message.GetTypeName());
  any.set_value(message.SerializeAsString());
  return any;
}

// The name in a type URL, with or without a host before it.
inline absl::string_view TypeName(const google::protobuf::Any& any) {
  absl::string_view url = any.type_url();
  size_t slash = url.rfind('/');
  return slash == absl::string_view::npos ? url : url.substr(slash + 1);
}

// False when it is another message, or malformed.
template <typename Message>
bool UnpackAny(const google::protobuf::Any& any, Message* message) {
  return TypeName(any) == message->GetTypeName() && message->ParseFromString(any.value());
}

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_ANY_H_
