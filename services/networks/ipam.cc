#include "services/networks/ipam.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/digest.h"

namespace gantry::services {
namespace {

Cidr MustParse(absl::string_view text) { return *Cidr::Parse(text); }

}  // namespace

std::vector<AddressPool> DefaultPools() {
  std::vector<AddressPool> pools;
  for (int i = 17; i < 32; ++i) {
    pools.push_back({MustParse(absl::StrCat("172.", i, ".0.0/16")), 16});
  }
  pools.push_back({MustParse("192.168.0.0/16"), 20});
  return pools;
}

AddressPool UniqueLocalPool(const std::string& seed) {
  base::Hasher hasher;
  hasher.Update(seed);
  base::Digest digest = hasher.Finish();
  std::string hex(digest.hex().substr(0, 10));
  return {MustParse(absl::StrCat("fd", hex.substr(0, 2), ":", hex.substr(2, 4), ":",
                                 hex.substr(6, 4), "::/48")),
          64};
}

absl::StatusOr<Cidr> ChooseSubnet(const std::vector<AddressPool>& pools, bool v6,
                                  const std::vector<Cidr>& used) {
  // With each step past a used subnet one of them is behind us, so this ends.
  for (const AddressPool& pool : pools) {
    if (pool.base.address.is_v6() != v6 || pool.size < pool.base.prefix) continue;
    Cidr candidate{pool.base.first(), pool.size};
    while (true) {
      auto obstacle = std::find_if(used.begin(), used.end(),
                                   [&](const Cidr& other) { return candidate.Overlaps(other); });
      if (obstacle == used.end()) return candidate;
      IpAddress next = std::max(obstacle->last(), candidate.last()).Plus(1);
      if (!pool.base.Contains(next)) break;
      candidate.address = next.Masked(pool.size);
    }
  }
  return absl::FailedPreconditionError("all predefined address pools have been fully subnetted");
}

bool Subnet::IsHost(const IpAddress& address) const {
  if (!subnet_.Contains(address)) return false;
  if (subnet_.prefix >= address.bits() - 1) return true;
  if (address == subnet_.first()) return false;
  return address.is_v6() || address != subnet_.last();
}

absl::StatusOr<IpAddress> Subnet::TakeAny() {
  // Those taken are sorted: the first gap between them is the lowest free address.
  IpAddress candidate = range_.first();
  if (!IsHost(candidate)) candidate = candidate.Plus(1);
  for (auto it = taken_.lower_bound(candidate); it != taken_.end() && *it == candidate; ++it) {
    candidate = candidate.Plus(1);
  }
  if (!range_.Contains(candidate) || !IsHost(candidate)) {
    return absl::FailedPreconditionError(
        absl::StrCat("no available IPv", candidate.is_v4() ? "4" : "6",
                     " addresses on this network's address pools: ", subnet_.ToString()));
  }
  taken_.insert(candidate);
  return candidate;
}

absl::Status Subnet::Take(const IpAddress& address) {
  if (!IsHost(address)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid address ", address.ToString(),
                                                   ": It does not belong to any of this network's "
                                                   "subnets"));
  }
  if (!taken_.insert(address).second) {
    return absl::FailedPreconditionError("Address already in use");
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
