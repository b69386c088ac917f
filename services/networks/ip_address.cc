#include "services/networks/ip_address.h"

#include <arpa/inet.h>

#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::services {

absl::StatusOr<IpAddress> IpAddress::Parse(absl::string_view text) {
  std::string copy(text);
  uint8_t bytes[16];
  if (copy.size() < 64 && copy.find('\0') == std::string::npos) {
    if (inet_pton(AF_INET, copy.c_str(), bytes) == 1) return FromBytes(AF_INET, bytes);
    if (inet_pton(AF_INET6, copy.c_str(), bytes) == 1) {
      static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
      if (memcmp(bytes, kMapped, sizeof kMapped) == 0) return FromBytes(AF_INET, bytes + 12);
      return FromBytes(AF_INET6, bytes);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("invalid IP address: ", absl::CHexEscape(text)));
}

IpAddress IpAddress::FromBytes(int family, const void* bytes) {
  IpAddress address;
  address.family_ = family;
  memcpy(address.bytes_.data(), bytes, address.size());
  return address;
}

int IpAddress::bits() const { return family_ == AF_INET ? 32 : family_ == AF_INET6 ? 128 : 0; }

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (valid()) inet_ntop(family_, bytes_.data(), text, sizeof text);
  return text;
}

bool IpAddress::IsLoopback() const {
  if (is_v4()) return bytes_[0] == 127;
  return is_v6() && *this == *Parse("::1");
}

bool IpAddress::IsUnspecified() const { return bytes_ == std::array<uint8_t, 16>{}; }

IpAddress IpAddress::Plus(uint64_t offset) const {
  IpAddress sum = *this;
  uint64_t carry = 0;
  for (size_t i = size(); i-- > 0;) {
    uint64_t digit = sum.bytes_[i] + (offset & 0xff) + carry;
    sum.bytes_[i] = static_cast<uint8_t>(digit);
    carry = digit >> 8;
    offset >>= 8;
  }
  return sum;
}

uint64_t IpAddress::DistanceTo(const IpAddress& other) const {
  uint64_t distance = 0;
  std::array<uint8_t, 16> difference = {};
  int borrow = 0;
  for (size_t i = size(); i-- > 0;) {
    int digit = other.bytes_[i] - bytes_[i] - borrow;
    borrow = digit < 0 ? 1 : 0;
    difference[i] = static_cast<uint8_t>(digit);
  }
  for (size_t i = 0; i < size(); ++i) {
    if (distance >> 56 != 0) return std::numeric_limits<uint64_t>::max();
    distance = distance << 8 | difference[i];
  }
  return distance;
}

IpAddress IpAddress::Masked(int prefix, bool ones) const {
  IpAddress masked = *this;
  for (int bit = prefix; bit < bits(); ++bit) {
    uint8_t mask = static_cast<uint8_t>(0x80 >> (bit % 8));
    uint8_t& byte = masked.bytes_[static_cast<size_t>(bit / 8)];
    byte = static_cast<uint8_t>(ones ? byte | mask : byte & ~mask);
  }
  return masked;
}

absl::StatusOr<Cidr> Cidr::Parse(absl::string_view text) {
  size_t slash = text.find('/');
  auto bad = [text] {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid CIDR address: ", absl::CHexEscape(text)));
  };
  if (slash == absl::string_view::npos) return bad();
  absl::StatusOr<IpAddress> address = IpAddress::Parse(text.substr(0, slash));
  if (!address.ok()) return bad();
  auto prefix = base::ParseDecimal(text.substr(slash + 1), static_cast<uint64_t>(address->bits()));
  if (!prefix.ok()) return bad();
  return Cidr{*address, static_cast<int>(*prefix)};
}

std::string Cidr::ToString() const { return absl::StrCat(address.ToString(), "/", prefix); }

bool Cidr::Contains(const IpAddress& other) const {
  return other.family() == address.family() && other.Masked(prefix) == first();
}

bool Cidr::Contains(const Cidr& other) const {
  return other.prefix >= prefix && Contains(other.address);
}

bool Cidr::Overlaps(const Cidr& other) const {
  return prefix <= other.prefix ? Contains(other.address) : other.Contains(address);
}

std::string MacFor(const IpAddress& v4) {
  const uint8_t* b = v4.data();
  return absl::StrFormat("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]);
}

std::string RandomMac() { return BridgeMac(base::RandomHex(4)); }

std::string BridgeMac(absl::string_view network_id) {
  return absl::StrCat("02:42:", network_id.substr(0, 2), ":", network_id.substr(2, 2), ":",
                      network_id.substr(4, 2), ":", network_id.substr(6, 2));
}

absl::StatusOr<std::array<uint8_t, 6>> ParseMac(absl::string_view text) {
  std::array<uint8_t, 6> mac;
  std::string hex = absl::StrReplaceAll(text, {{":", ""}, {"-", ""}});
  bool good = text.size() == 17 && hex.size() == 12;
  for (char c : hex) good = good && absl::ascii_isxdigit(static_cast<unsigned char>(c));
  // A group address is nobody's own.
  if (good) {
    std::string bytes = absl::HexStringToBytes(hex);
    memcpy(mac.data(), bytes.data(), mac.size());
    good = (mac[0] & 1) == 0 && mac != std::array<uint8_t, 6>{};
  }
  if (!good) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid MAC address: ", absl::CHexEscape(text)));
  }
  return mac;
}

}  // namespace gantry::services
