#include "ctl/event_text.h"

#include <string>

#include "base/clock.h"
#include "client/any.h"
#include "containerd/events/container.json.h"
#include "containerd/events/content.json.h"
#include "containerd/events/image.json.h"
#include "containerd/events/namespace.json.h"
#include "containerd/events/sandbox.json.h"
#include "containerd/events/snapshot.json.h"
#include "containerd/events/task.json.h"

namespace gantry::ctl {
namespace {

namespace events = ::containerd::events;

base::OrderedJson Payload(const google::protobuf::Any& any) {
  std::string type(client::TypeName(any));
  base::OrderedJson json;
  for (auto* writer : {events::TaskToJson, events::ContainerToJson, events::ContentToJson,
                       events::NamespaceToJson, events::SandboxToJson, events::SnapshotToJson,
                       ::containerd::services::images::v1::ImageToJson}) {
    if (writer(type, any.value(), &json)) return json;
  }
  return proto::ToJson(any);
}

}  // namespace

base::OrderedJson EventJson(const ::containerd::types::Envelope& envelope) {
  return {{"time", base::FormatRfc3339(base::GetTimestamp(envelope.timestamp()))},
          {"namespace", envelope.namespace_()},
          {"topic", envelope.topic()},
          {"event", Payload(envelope.event())}};
}

}  // namespace gantry::ctl
