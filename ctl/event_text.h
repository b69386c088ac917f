#ifndef GANTRY_CTL_EVENT_TEXT_H_
#define GANTRY_CTL_EVENT_TEXT_H_

#include "base/json.h"
#include "containerd/types/event.pb.h"

namespace gantry::ctl {

// An event as JSON: time, namespace, topic, and its payload where its type is known (all of
// containerd's are); an unknown one by type and size.
base::OrderedJson EventJson(const ::containerd::types::Envelope& envelope);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_EVENT_TEXT_H_
