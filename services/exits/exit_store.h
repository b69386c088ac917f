#ifndef GANTRY_SERVICES_EXITS_EXIT_STORE_H_
#define GANTRY_SERVICES_EXITS_EXIT_STORE_H_

// Why containers ended. A shim writes an exit record into the bundle; it is kept here when the
// bundle goes, longer than the container, within bounds.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gantry/services/exits/v1/exits.pb.h"
#include "services/metadata/context.h"
#include "services/metadata/db.h"

namespace gantry::services {

class ExitStore {
 public:
  using KeptExit = gantry::services::exits::v1::KeptExit;

  struct Options {
    size_t keep_count = 1000;  // in all namespaces
    absl::Duration keep_age = absl::Hours(24 * 30);
  };
  struct Names {
    std::string name;
    std::string image;
  };
  struct Deps {
    Db* db = nullptr;  // outlives the store
    // What the container's record says; empty when there is none any more.
    std::function<Names(const std::string& ns, const std::string& id)> names;
    // Bundles of a namespace that exist: their records are not kept yet.
    std::function<std::vector<std::string>(const std::string& ns)> bundles;
  };

  // Removes what is beyond the bounds.
  static absl::StatusOr<std::unique_ptr<ExitStore>> Open(Deps deps, Options options);

  // Takes over the record in `bundle`; OK when there is none (a foreign shim, no exit). Survives a
  // crash of gantryd; power only with the next durable change. Any thread.
  absl::Status Keep(const std::string& ns, const std::string& id, const std::string& bundle);

  // Newest first, at most `limit` (0: 100). `container` is an id, a name, or the beginning of ids;
  // empty: all. NotFound when nothing is known of it.
  absl::StatusOr<std::vector<KeptExit>> List(const Context& ctx, const std::string& container,
                                             size_t limit) const;

  absl::Status Prune();

 private:
  ExitStore(Deps deps, Options options) : deps_(std::move(deps)), options_(options) {}
  absl::StatusOr<std::optional<KeptExit>> ReadBundle(const std::string& ns, const std::string& id,
                                                     const std::string& bundle) const;

  const Deps deps_;
  const Options options_;
  std::atomic<uint32_t> kept_{0};
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_EXITS_EXIT_STORE_H_
