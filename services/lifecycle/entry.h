#ifndef GANTRY_SERVICES_LIFECYCLE_ENTRY_H_
#define GANTRY_SERVICES_LIFECYCLE_ENTRY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "gantry/services/lifecycle/v1/lifecycle.pb.h"
#include "services/lifecycle/restart.h"
#include "services/lifecycle/strand.h"

namespace gantry::services::lifecycle {

struct Waiter {
  uint64_t number = 0;
  absl::AnyInvocable<void(absl::StatusOr<v1::WaitResponse>)> done;
};

// A container as the manager knows it. Only work of its strand changes it, and holds the mutex
// while it does; so the strand reads without, everybody else with the mutex.
struct Entry {
  Entry(std::string ns_in, std::string id_in, WorkerPool* pool)
      : ns(std::move(ns_in)), id(std::move(id_in)), strand(std::make_shared<Strand>(pool)) {}

  const std::string ns;
  const std::string id;
  const std::shared_ptr<Strand> strand;

  mutable std::mutex mutex;
  // Guarded by the mutex:
  bool ready = false;  // false while it is being created
  bool gone = false;   // removed
  v1::Container container;
  std::map<std::string, std::string> extensions;
  std::vector<Waiter> stop_waiters;
  std::vector<Waiter> remove_waiters;

  // Of the strand alone:
  std::string boot_id;  // of the last start
  uint64_t run = 0;     // counts starts and ends: a timer of an earlier run is void
  Backoff backoff;
  bool user_restart = false;  // a client restarts it: no removal, no policy at this end
  // Run by the strand once it does not run any more.
  std::vector<absl::AnyInvocable<void()>> after_exit;
};
using EntryPtr = std::shared_ptr<Entry>;

inline bool IsActive(const v1::State& state) {
  return state.status() == "running" || state.status() == "paused" ||
         state.status() == "restarting";
}
// It has a process.
inline bool HasProcess(const v1::State& state) {
  return state.status() == "running" || state.status() == "paused";
}

}  // namespace gantry::services::lifecycle

#endif  // GANTRY_SERVICES_LIFECYCLE_ENTRY_H_
