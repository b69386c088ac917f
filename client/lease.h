#ifndef GANTRY_CLIENT_LEASE_H_
#define GANTRY_CLIENT_LEASE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connection.h"

namespace gantry::client {

// A lease that keeps what is made under it from the daemon's garbage collector. Deleted when
// destroyed; should we die first, it expires.
class Lease {
 public:
  static absl::StatusOr<Lease> Create(const Connection& connection,
                                      absl::Duration expires = absl::Hours(24));
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&&) = delete;
  ~Lease();

  // The connection whose requests belong to it.
  const Connection& connection() const { return leased_; }

 private:
  Lease(Connection connection, std::string id);
  Connection leased_;
  std::string id_;
};

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_LEASE_H_
