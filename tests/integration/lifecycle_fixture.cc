#include "tests/integration/lifecycle_fixture.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "client/image.h"
#include "client/spec/spec.h"
#include "gantry/services/events/v1/history.methods.h"
#include "gantry/services/events/v1/history.pb.h"
#include "gantry/types/object_event.pb.h"

namespace gantry::tests {

absl::StatusOr<life::Container> LifecycleTest::TryCreate(
    const std::string& id, const std::string& script,
    const std::function<void(life::CreateRequest*)>& change) {
  client::Connection connection = Connect();
  GANTRY_ASSIGN_OR_RETURN(client::ImageRecord record, client::FindImage(connection, kBusybox));
  GANTRY_ASSIGN_OR_RETURN(client::ResolvedImage image, client::ResolveImage(connection, record));
  client::SpecOptions options;
  options.id = id;
  options.ns = ns();
  options.args = {"sh", "-c", script};
  client::ResolvedUser root;
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::BuildSpec(image.config, root, options));
  life::CreateRequest request;
  request.set_id(id);
  request.set_image(record.name());
  request.set_parent(image.chain_id);
  request.mutable_policy()->set_network_mode("none");
  request.mutable_policy()->set_log_uri(absl::StrCat("json-file://", log_path(id)));
  request.set_spec(base::DumpJson(spec));
  if (change) change(&request);
  life::CreateResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(Lifecycle::kCreate, request, &response, kCallTimeout));
  return response.container();
}

void LifecycleTest::Create(const std::string& id, const std::string& script,
                           const std::function<void(life::Policy*)>& change) {
  auto made = TryCreate(id, script, [&](life::CreateRequest* request) {
    if (change) change(request->mutable_policy());
  });
  ASSERT_TRUE(made.ok()) << made.status();
}

absl::Status LifecycleTest::TryStart(const std::string& id) {
  life::StartRequest request;
  request.set_id(id);
  life::StartResponse response;
  return Connect().Call(Lifecycle::kStart, request, &response, kCallTimeout);
}

void LifecycleTest::Start(const std::string& id) {
  absl::Status started = TryStart(id);
  ASSERT_TRUE(started.ok()) << started;
}

absl::Status LifecycleTest::TryRemove(const std::string& id, bool force) {
  life::RemoveRequest request;
  request.set_id(id);
  request.set_force(force);
  google::protobuf::Empty response;
  return Connect().Call(Lifecycle::kRemove, request, &response, kCallTimeout);
}

absl::StatusOr<life::State> LifecycleTest::TryState(const std::string& id) {
  life::GetRequest request;
  request.set_id(id);
  life::GetResponse response;
  GANTRY_RETURN_IF_ERROR(Connect().Call(Lifecycle::kGet, request, &response, kCallTimeout));
  return response.container().state();
}

life::State LifecycleTest::State(const std::string& id) {
  auto state = TryState(id);
  EXPECT_TRUE(state.ok()) << state.status();
  return state.ok() ? *state : life::State();
}

int LifecycleTest::Wait(const std::string& id, const std::string& condition) {
  life::WaitRequest request;
  request.set_id(id);
  request.set_condition(condition);
  life::WaitResponse response;
  absl::Status status = Connect().Call(Lifecycle::kWait, request, &response, kCallTimeout);
  EXPECT_TRUE(status.ok()) << status;
  return status.ok() ? static_cast<int>(response.exit_code()) : -1;
}

void LifecycleTest::Stop(const std::string& id, int64_t timeout) {
  life::StopRequest request;
  request.set_id(id);
  request.set_timeout(timeout);
  life::StopResponse response;
  absl::Status status = Connect().Call(Lifecycle::kStop, request, &response, kCallTimeout);
  EXPECT_TRUE(status.ok()) << status;
}

bool LifecycleTest::Eventually(const std::function<bool()>& condition) {
  const absl::Time end = absl::Now() + absl::Seconds(15);
  while (absl::Now() < end) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

bool LifecycleTest::Becomes(const std::string& id, const std::string& status) {
  return Eventually([&] {
    auto state = TryState(id);
    return state.ok() && state->status() == status;
  });
}

std::string LifecycleTest::Log(const std::string& id) {
  std::string text;
  auto log = base::ReadFile(log_path(id));
  if (!log.ok()) return "";
  for (absl::string_view line : absl::StrSplit(*log, '\n', absl::SkipEmpty())) {
    auto json = base::ParseJson(line);
    if (json.ok()) absl::StrAppend(&text, base::JsonString(*json, "log"));
  }
  return text;
}

std::vector<std::string> LifecycleTest::Events(const std::string& id) {
  namespace events = gantry::services::events::v1;
  std::vector<std::string> actions;
  events::ListEventsRequest request;
  request.set_limit(10'000);
  events::ListEventsResponse response;
  absl::Status status =
      Connect().Call(events::EventHistoryMethods::kList, request, &response, kCallTimeout);
  EXPECT_TRUE(status.ok()) << status;
  for (const auto& event : response.events()) {
    const auto& envelope = event.envelope();
    gantry::types::ObjectEvent object;
    if (envelope.namespace_() != ns() ||
        envelope.event().type_url() != "gantry.types.ObjectEvent" ||
        !object.ParseFromString(envelope.event().value()) || object.id() != id) {
      continue;
    }
    std::string action = object.action();
    for (const char* key : {"exitCode", "signal", "oldName"}) {
      auto found = object.attributes().find(key);
      if (found != object.attributes().end()) absl::StrAppend(&action, " ", found->second);
    }
    actions.push_back(std::move(action));
  }
  return actions;
}

}  // namespace gantry::tests
