#include "ctl/event_text.h"

#include <memory>

#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "containerd/events/container.pb.h"
#include "containerd/events/content.pb.h"
#include "containerd/events/image.pb.h"
#include "containerd/events/namespace.pb.h"
#include "containerd/events/sandbox.pb.h"
#include "containerd/events/snapshot.pb.h"
#include "containerd/events/task.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"

namespace gantry::ctl {
namespace {

namespace events = ::containerd::events;

// One message of each file, so that the linker keeps all of them.
void KeepDescriptors() {
  (void)events::ContainerCreate::descriptor();
  (void)events::ContentDelete::descriptor();
  (void)::containerd::services::images::v1::ImageCreate::descriptor();
  (void)events::NamespaceCreate::descriptor();
  (void)events::SandboxCreate::descriptor();
  (void)events::SnapshotPrepare::descriptor();
  (void)events::TaskCreate::descriptor();
}

base::OrderedJson Payload(const google::protobuf::Any& any) {
  KeepDescriptors();
  std::vector<std::string> parts = absl::StrSplit(any.type_url(), '/');
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(parts.back());
  if (descriptor != nullptr) {
    std::unique_ptr<google::protobuf::Message> message(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
    std::string text;
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    if (message->ParseFromString(any.value()) &&
        google::protobuf::util::MessageToJsonString(*message, &text, options).ok()) {
      auto json = base::OrderedJson::parse(text, nullptr, false);
      if (!json.is_discarded()) return json;
    }
  }
  return {{"type", any.type_url()}, {"bytes", any.value().size()}};
}

}  // namespace

base::OrderedJson EventJson(const ::containerd::types::Envelope& envelope) {
  return {{"time", base::FormatRfc3339(base::GetTimestamp(envelope.timestamp()))},
          {"namespace", envelope.namespace_()},
          {"topic", envelope.topic()},
          {"event", Payload(envelope.event())}};
}

}  // namespace gantry::ctl
