#include "client/lease.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "containerd/services/leases/v1/leases.methods.h"

namespace gantry::client {

namespace leases = containerd::services::leases::v1;

absl::StatusOr<Lease> Lease::Create(const Connection& connection, absl::Duration expires) {
  leases::CreateRequest request;
  request.set_id(absl::StrCat("gantryctl-", base::RandomHex(8)));
  (*request.mutable_labels())["containerd.io/gc.expire"] =
      base::FormatRfc3339Fixed(absl::Now() + expires, 0);
  leases::CreateResponse response;
  GANTRY_RETURN_IF_ERROR(connection.Call(leases::LeasesMethods::kCreate, request, &response));
  return Lease(connection.WithLease(response.lease().id()), response.lease().id());
}

Lease::Lease(Connection connection, std::string id)
    : leased_(std::move(connection)), id_(std::move(id)) {}

Lease::Lease(Lease&& other) noexcept : leased_(other.leased_), id_(std::exchange(other.id_, "")) {}

Lease::~Lease() {
  if (id_.empty()) return;
  leases::DeleteRequest request;
  request.set_id(id_);
  google::protobuf::Empty nothing;
  // A lease that stays behind expires by itself.
  (void)leased_.WithLease("").Call(leases::LeasesMethods::kDelete, request, &nothing,
                                   absl::Seconds(10));
}

}  // namespace gantry::client
