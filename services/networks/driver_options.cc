#include "services/networks/driver_options.h"

#include <net/if.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::services {
namespace {

using gantry::services::networks::v1::Network;

constexpr char kBridge[] = "com.docker.network.bridge.";
constexpr uint64_t kMaxMtu = 65535;

class Reader {
 public:
  explicit Reader(const Network& network) : network_(network) {}

  bool Text(const std::string& key, std::string* value) const {
    auto it = network_.options().find(key);
    if (it == network_.options().end()) return false;
    *value = it->second;
    return true;
  }

  absl::Status Bool(const std::string& key, bool* value) const {
    std::string text;
    if (!Text(key, &text)) return absl::OkStatus();
    if (text == "true" || text == "1" || text == "t" || text == "T" || text == "True" ||
        text == "TRUE") {
      *value = true;
    } else if (text == "false" || text == "0" || text == "f" || text == "F" || text == "False" ||
               text == "FALSE") {
      *value = false;
    } else {
      return Bad(key, text);
    }
    return absl::OkStatus();
  }

  absl::Status Address(const std::string& key, bool v6, IpAddress* value) const {
    std::string text;
    if (!Text(key, &text) || text.empty()) return absl::OkStatus();
    auto address = IpAddress::Parse(text);
    if (!address.ok() || address->is_v6() != v6) return Bad(key, text);
    *value = *address;
    return absl::OkStatus();
  }

  absl::Status Mode(const std::string& key, GatewayMode* value) const {
    std::string text;
    if (!Text(key, &text) || text.empty() || text == "nat") return absl::OkStatus();
    if (text == "nat-unprotected") {
      *value = GatewayMode::kNatUnprotected;
    } else if (text == "routed") {
      *value = GatewayMode::kRouted;
    } else if (text == "isolated" && network_.internal()) {
      *value = GatewayMode::kIsolated;
    } else if (text == "isolated") {
      return absl::InvalidArgumentError(
          "gateway mode 'isolated' can only be used for an internal network");
    } else {
      return Bad(key, text);
    }
    return absl::OkStatus();
  }

  static absl::Status Bad(const std::string& key, const std::string& text) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid value \"", text, "\" for the network option ", key));
  }

 private:
  const Network& network_;
};

absl::Status ParseVlan(const Reader& reader, const Network& network, DriverOptions* options) {
  reader.Text("parent", &options->parent);
  bool macvlan = network.driver() == "macvlan";
  options->mode = macvlan ? "bridge" : "l2";
  std::string key = macvlan ? "macvlan_mode" : "ipvlan_mode";
  reader.Text(key, &options->mode);
  bool known = macvlan ? options->mode == "bridge" || options->mode == "private" ||
                             options->mode == "vepa" || options->mode == "passthru"
                       : options->mode == "l2" || options->mode == "l3" || options->mode == "l3s";
  if (!known) return Reader::Bad(key, options->mode);
  if (!options->parent.empty()) GANTRY_RETURN_IF_ERROR(ValidateDeviceName(options->parent));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DriverOptions> DriverOptions::Parse(const Network& network) {
  DriverOptions options;
  Reader reader(network);
  auto bridge = [](const char* key) { return absl::StrCat(kBridge, key); };
  reader.Text(bridge("name"), &options.bridge);
  if (!options.bridge.empty()) GANTRY_RETURN_IF_ERROR(ValidateDeviceName(options.bridge));
  GANTRY_RETURN_IF_ERROR(reader.Bool(bridge("enable_ip_masquerade"), &options.masquerade));
  GANTRY_RETURN_IF_ERROR(reader.Bool(bridge("enable_icc"), &options.icc));
  GANTRY_RETURN_IF_ERROR(reader.Address(bridge("host_binding_ipv4"), false, &options.host_binding));
  GANTRY_RETURN_IF_ERROR(reader.Mode(bridge("gateway_mode_ipv4"), &options.mode4));
  GANTRY_RETURN_IF_ERROR(reader.Mode(bridge("gateway_mode_ipv6"), &options.mode6));
  GANTRY_RETURN_IF_ERROR(reader.Address("com.docker.network.host_ipv4", false, &options.source4));
  GANTRY_RETURN_IF_ERROR(reader.Address("com.docker.network.host_ipv6", true, &options.source6));
  reader.Text("com.docker.network.container_iface_prefix", &options.interface_prefix);
  GANTRY_RETURN_IF_ERROR(ValidateDeviceName(absl::StrCat(options.interface_prefix, "00")));
  std::string mtu;
  if (reader.Text("com.docker.network.driver.mtu", &mtu)) {
    auto number = base::ParseDecimal(mtu, kMaxMtu);
    if (!number.ok() || (*number != 0 && *number < 68))
      return Reader::Bad("com.docker.network.driver.mtu", mtu);
    options.mtu = static_cast<uint32_t>(*number);
  }
  if (network.driver() == "macvlan" || network.driver() == "ipvlan")
    GANTRY_RETURN_IF_ERROR(ParseVlan(reader, network, &options));
  return options;
}

// Stricter than the kernel: what stands in rules and messages needs no quoting.
absl::Status ValidateDeviceName(const std::string& name) {
  bool good = !name.empty() && name.size() < IFNAMSIZ && name != "." && name != "..";
  for (char c : name) {
    good = good &&
           (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.');
  }
  return good ? absl::OkStatus()
              : absl::InvalidArgumentError(
                    "a network device's name has 1 to 15 letters, digits, "
                    "'.', '-' and '_'");
}

}  // namespace gantry::services
