#ifndef GANTRY_SERVICES_NETWORKS_IP_ADDRESS_H_
#define GANTRY_SERVICES_NETWORKS_IP_ADDRESS_H_

// Addresses and subnets of both families as values. Pure.

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

class IpAddress {
 public:
  IpAddress() = default;  // no address
  // The usual texts, without zone and without surrounding space; InvalidArgument otherwise. An IPv4
  // address in IPv6 clothes ("::ffff:1.2.3.4") is the IPv4 address.
  static absl::StatusOr<IpAddress> Parse(absl::string_view text);
  // From network byte order; `family` is AF_INET or AF_INET6.
  static IpAddress FromBytes(int family, const void* bytes);

  bool valid() const { return family_ != 0; }
  bool is_v4() const { return bits() == 32; }
  bool is_v6() const { return bits() == 128; }
  int family() const { return family_; }
  int bits() const;
  // 4 or 16 bytes in network order.
  const uint8_t* data() const { return bytes_.data(); }
  size_t size() const { return static_cast<size_t>(bits()) / 8; }
  std::string ToString() const;  // empty for no address

  bool IsLoopback() const;
  bool IsUnspecified() const;

  // The address `offset` further on. Wraps at the end of the family.
  IpAddress Plus(uint64_t offset) const;
  // How far `other`, which is not smaller and of the same family, is; saturates.
  uint64_t DistanceTo(const IpAddress& other) const;
  // All bits after the first `prefix` ones 0, or 1.
  IpAddress Masked(int prefix, bool ones = false) const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  int family_ = 0;
  std::array<uint8_t, 16> bytes_ = {};
};

// A subnet, or an address with the length of its subnet's prefix.
struct Cidr {
  IpAddress address;
  int prefix = 0;

  // "10.0.0.0/8"; InvalidArgument otherwise. Bits after the prefix are kept.
  static absl::StatusOr<Cidr> Parse(absl::string_view text);
  std::string ToString() const;
  IpAddress first() const { return address.Masked(prefix); }
  IpAddress last() const { return address.Masked(prefix, true); }
  Cidr Network() const { return {first(), prefix}; }
  bool Contains(const IpAddress& other) const;
  bool Contains(const Cidr& other) const;
  bool Overlaps(const Cidr& other) const;
  friend bool operator==(const Cidr&, const Cidr&) = default;
};

// The locally administered MAC address that belongs to an IPv4 address, "02:42:ac:11:00:02":
// whoever gets the address of somebody who is gone is found at the same place, whatever neighbours
// remember.
std::string MacFor(const IpAddress& v4);
// A random one of that kind.
std::string RandomMac();
// One for the bridge of a network, always the same.
std::string BridgeMac(absl::string_view network_id);
absl::StatusOr<std::array<uint8_t, 6>> ParseMac(absl::string_view text);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_IP_ADDRESS_H_
