#include "services/events/event_fields.h"

#include "absl/strings/string_view.h"
#include "containerd/events/container.pb.h"
#include "containerd/events/content.pb.h"
#include "containerd/events/image.pb.h"
#include "containerd/events/namespace.pb.h"
#include "containerd/events/sandbox.pb.h"
#include "containerd/events/snapshot.pb.h"
#include "containerd/events/task.pb.h"
#include "google/protobuf/descriptor.h"
#include "services/metadata/filters.h"

namespace gantry::services {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Types of a static library exist for reflection only if something refers to them.
void LinkEventTypes() {
  google::protobuf::LinkMessageReflection<containerd::events::ContainerCreate>();
  google::protobuf::LinkMessageReflection<containerd::events::ContentDelete>();
  google::protobuf::LinkMessageReflection<containerd::services::images::v1::ImageCreate>();
  google::protobuf::LinkMessageReflection<containerd::events::NamespaceCreate>();
  google::protobuf::LinkMessageReflection<containerd::events::SandboxCreate>();
  google::protobuf::LinkMessageReflection<containerd::events::SnapshotPrepare>();
  google::protobuf::LinkMessageReflection<containerd::events::TaskCreate>();
}

std::optional<std::string> NonEmpty(std::string value) {
  if (value.empty()) return std::nullopt;
  return value;
}

std::optional<std::string> MapValue(const Message& message, const FieldDescriptor& field,
                                    absl::Span<const std::string> rest) {
  google::protobuf::Map<std::string, std::string> labels;
  const auto* reflection = message.GetReflection();
  const FieldDescriptor* key = field.message_type()->map_key();
  const FieldDescriptor* value = field.message_type()->map_value();
  if (key->cpp_type() != FieldDescriptor::CPPTYPE_STRING ||
      value->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
    return std::nullopt;
  }
  for (int i = 0; i < reflection->FieldSize(message, &field); ++i) {
    const Message& entry = reflection->GetRepeatedMessage(message, &field, i);
    labels[entry.GetReflection()->GetString(entry, key)] =
        entry.GetReflection()->GetString(entry, value);
  }
  return LookupLabel(labels, rest);
}

std::optional<std::string> MessageField(const Message& message, absl::Span<const std::string> path);

std::optional<std::string> Nested(const Message& message, absl::Span<const std::string> rest) {
  const auto* any = dynamic_cast<const google::protobuf::Any*>(&message);
  if (any == nullptr) return MessageField(message, rest);
  std::unique_ptr<Message> inside = UnpackKnown(*any);
  return inside == nullptr ? std::nullopt : MessageField(*inside, rest);
}

std::optional<std::string> MessageField(const Message& message,
                                        absl::Span<const std::string> path) {
  if (path.empty()) return std::nullopt;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(path[0]);
  if (field == nullptr) return std::nullopt;
  const auto* reflection = message.GetReflection();
  if (field->is_map()) return MapValue(message, *field, path.subspan(1));
  if (field->is_repeated()) return std::nullopt;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (field->type() != FieldDescriptor::TYPE_STRING) return std::nullopt;
      return NonEmpty(reflection->GetString(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (!reflection->HasField(message, field)) return std::nullopt;
      return Nested(reflection->GetMessage(message, field), path.subspan(1));
    default:
      return std::nullopt;
  }
}

}  // namespace

std::unique_ptr<Message> UnpackKnown(const google::protobuf::Any& any) {
  LinkEventTypes();
  const std::string& url = any.type_url();
  std::string name = url.substr(url.rfind('/') + 1);
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (descriptor == nullptr) return nullptr;
  const Message* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor);
  if (prototype == nullptr) return nullptr;
  std::unique_ptr<Message> message(prototype->New());
  if (!message->ParseFromString(any.value())) return nullptr;
  return message;
}

std::optional<std::string> EventFields::Lookup(absl::Span<const std::string> fieldpath) {
  if (fieldpath.empty()) return std::nullopt;
  if (fieldpath[0] == "namespace") return NonEmpty(envelope_.namespace_());
  if (fieldpath[0] == "topic") return NonEmpty(envelope_.topic());
  if (fieldpath[0] != "event") return std::nullopt;
  if (!unpacked_) {
    unpacked_ = true;
    event_ = UnpackKnown(envelope_.event());
  }
  return event_ == nullptr ? std::nullopt : MessageField(*event_, fieldpath.subspan(1));
}

}  // namespace gantry::services
