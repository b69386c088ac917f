#include "services/networks/dns_names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::services {

void DnsNames::Put(const gantry::services::networks::v1::Endpoint& endpoint) {
  Remove(endpoint.id());
  if (endpoint.dns_names().empty()) return;
  Known known;
  known.network = endpoint.network_id();
  known.full_name = absl::StrCat(endpoint.dns_names(0), ".", endpoint.network_name());
  for (const std::string& name : endpoint.dns_names()) {
    known.names.push_back(absl::AsciiStrToLower(name));
    known.names.push_back(absl::AsciiStrToLower(absl::StrCat(name, ".", endpoint.network_name())));
  }
  for (const std::string* text : {&endpoint.ipv4_address(), &endpoint.ipv6_address()}) {
    if (auto address = Cidr::Parse(*text); address.ok())
      known.addresses.push_back(address->address);
  }
  std::lock_guard lock(mutex_);
  for (const std::string& name : known.names) by_name_[{known.network, name}].insert(endpoint.id());
  for (const IpAddress& address : known.addresses)
    by_address_[{known.network, address}] = endpoint.id();
  endpoints_[endpoint.id()] = std::move(known);
}

void DnsNames::Remove(const std::string& endpoint_id) {
  std::lock_guard lock(mutex_);
  auto it = endpoints_.find(endpoint_id);
  if (it == endpoints_.end()) return;
  const Known& known = it->second;
  for (const std::string& name : known.names) {
    auto entry = by_name_.find({known.network, name});
    if (entry == by_name_.end()) continue;
    entry->second.erase(endpoint_id);
    if (entry->second.empty()) by_name_.erase(entry);
  }
  for (const IpAddress& address : known.addresses) {
    auto entry = by_address_.find({known.network, address});
    if (entry != by_address_.end() && entry->second == endpoint_id) by_address_.erase(entry);
  }
  endpoints_.erase(it);
}

std::vector<IpAddress> DnsNames::AddressesLocked(const DnsScope& scope,
                                                 const std::string& name) const {
  std::vector<IpAddress> addresses;
  for (const std::string& network : scope.networks) {
    auto entry = by_name_.find({network, name});
    if (entry == by_name_.end()) continue;
    for (const std::string& id : entry->second) {
      const Known& known = endpoints_.at(id);
      addresses.insert(addresses.end(), known.addresses.begin(), known.addresses.end());
    }
    if (!addresses.empty()) break;  // the same name in another network is another container's
  }
  return addresses;
}

DnsNames::Result DnsNames::LookReverseLocked(const DnsScope& scope,
                                             const IpAddress& address) const {
  Result result;
  for (const std::string& network : scope.networks) {
    auto entry = by_address_.find({network, address});
    if (entry == by_address_.end()) continue;
    result.found = true;
    result.answers.push_back({.target = endpoints_.at(entry->second).full_name});
    return result;
  }
  result.found = std::any_of(scope.subnets.begin(), scope.subnets.end(),
                             [&](const Cidr& subnet) { return subnet.Contains(address); });
  if (result.found) result.error = DnsError::kNoSuchName;
  return result;
}

DnsNames::Result DnsNames::Look(const DnsScope& scope, const DnsQuery& query) {
  constexpr uint16_t kInternet = 1;
  if (query.type_class != kInternet) return {};
  std::lock_guard lock(mutex_);
  if (query.type == kDnsPtr) {
    auto address = ParseReverseName(query.name);
    return address.has_value() ? LookReverseLocked(scope, *address) : Result();
  }
  auto link = scope.links.find(query.name);
  std::vector<IpAddress> addresses =
      AddressesLocked(scope, link == scope.links.end() ? query.name : link->second);
  Result result;
  result.found = !addresses.empty();
  for (const IpAddress& address : addresses) {
    if ((query.type == kDnsA && address.is_v4()) || (query.type == kDnsAaaa && address.is_v6()))
      result.answers.push_back({.address = address});
  }
  if (result.answers.size() > 1) {
    auto middle =
        result.answers.begin() + static_cast<std::ptrdiff_t>(++turn_ % result.answers.size());
    std::rotate(result.answers.begin(), middle, result.answers.end());
  }
  return result;
}

}  // namespace gantry::services
