#include "docker/system/publish.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "client/any.h"
#include "containerd/services/events/v1/events.methods.h"
#include "containerd/services/events/v1/events.pb.h"
#include "gantry/types/object_event.pb.h"

namespace gantry::docker {
namespace {

namespace api = containerd::services::events::v1;
constexpr absl::Duration kPatience = absl::Seconds(5);

}  // namespace

void PublishEvent(const client::Connection& gantryd, const std::string& kind,
                  const std::string& action, const std::string& id,
                  const std::map<std::string, std::string>& attributes) {
  gantry::types::ObjectEvent event;
  event.set_kind(kind);
  event.set_action(action);
  event.set_id(id);
  event.mutable_attributes()->insert(attributes.begin(), attributes.end());
  api::PublishRequest request;
  request.set_topic(absl::StrCat("/", kind, "/", action.substr(0, action.find(':'))));
  *request.mutable_event() = client::PackAny(event);
  google::protobuf::Empty nothing;
  absl::Status status = gantryd.Call(api::EventsMethods::kPublish, request, &nothing, kPatience);
  if (!status.ok()) {
    base::LogWarn("publish an event", {{"kind", kind}, {"error", status.message()}});
  }
}

}  // namespace gantry::docker
