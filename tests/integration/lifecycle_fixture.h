#ifndef GANTRY_TESTS_INTEGRATION_LIFECYCLE_FIXTURE_H_
#define GANTRY_TESTS_INTEGRATION_LIFECYCLE_FIXTURE_H_

// Containers through gantryd's Lifecycle service.

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {

namespace life = gantry::services::lifecycle::v1;
using Lifecycle = life::LifecycleMethods;

class LifecycleTest : public GantrydTest {
 protected:
  // Calls that take longer fail.
  static constexpr absl::Duration kCallTimeout = absl::Seconds(30);

  client::Connection Connect() { return client::Connection::ToSocket(socket(), ns()); }

  // A container of busybox that runs `script`, not started. `change` sets what else it wants.
  absl::StatusOr<life::Container> TryCreate(
      const std::string& id, const std::string& script,
      const std::function<void(life::CreateRequest*)>& change = nullptr);
  void Create(const std::string& id, const std::string& script,
              const std::function<void(life::Policy*)>& change = nullptr);
  absl::Status TryStart(const std::string& id);
  void Start(const std::string& id);
  absl::Status TryRemove(const std::string& id, bool force = false);
  absl::StatusOr<life::State> TryState(const std::string& id);
  life::State State(const std::string& id);
  // Exit code when the condition holds; -1 on an error.
  int Wait(const std::string& id, const std::string& condition = "not-running");
  void Stop(const std::string& id, int64_t timeout = 10);
  // True as soon as `condition` holds; within 15 s.
  static bool Eventually(const std::function<bool()>& condition);
  bool Becomes(const std::string& id, const std::string& status);

  std::string log_path(const std::string& id) { return dir() + "/" + id + ".log"; }
  // What it printed, from its json log.
  std::string Log(const std::string& id);
  std::string directory(const std::string& id) { return root() + "/containers/" + ns() + "/" + id; }
  // Actions of the object events of a container so far, oldest first, "die exitCode=1" with some
  // attributes.
  std::vector<std::string> Events(const std::string& id);

 private:
  std::string chain_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_LIFECYCLE_FIXTURE_H_
