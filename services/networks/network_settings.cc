#include "services/networks/network_settings.h"

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "services/networks/ports.h"

namespace gantry::services {
namespace {

using networks::IpamConfig;
using networks::Network;

constexpr size_t kMaxName = 255;
constexpr int kMaxSubnets = 16;
constexpr int kMaxEntries = 4096;
constexpr int kMaxPorts = 65536;

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Names end up in files and in DNS.
bool IsPlain(absl::string_view text, size_t limit = kMaxName) {
  if (text.size() > limit) return false;
  for (char c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) || c == ' ') return false;
  }
  return true;
}

absl::Status CheckName(const Network& network) {
  const std::string& name = network.name();
  if (absl::StripAsciiWhitespace(name).empty()) return Invalid("network name cannot be empty");
  for (char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) || c == '/')
      return Invalid(absl::StrCat("invalid network name: ", absl::CHexEscape(name)));
  }
  if (name.size() > kMaxName) return Invalid("the network's name is longer than 255 bytes");
  if (network.predefined()) return absl::OkStatus();
  for (absl::string_view reserved : {"bridge", "host", "none", "default"}) {
    if (name == reserved) {
      return absl::PermissionDeniedError(
          absl::StrCat("operation is not permitted on predefined ", name, " network"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWithin(const Cidr& subnet, const std::string& text, absl::string_view what) {
  GANTRY_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(text));
  if (subnet.Contains(address)) return absl::OkStatus();
  return Invalid(absl::StrCat("no matching subnet for ", what, " ", text));
}

absl::Status CheckIpam(IpamConfig* config) {
  if (config->subnet().empty())
    return Invalid("invalid network config: an IPAM configuration needs a subnet");
  GANTRY_ASSIGN_OR_RETURN(Cidr subnet, Cidr::Parse(config->subnet()));
  if (subnet.address != subnet.first()) {
    return Invalid(absl::StrCat("invalid subnet ", config->subnet(), ": it should be ",
                                subnet.Network().ToString()));
  }
  config->set_subnet(subnet.ToString());
  if (subnet.address.IsLoopback() || subnet.prefix == 0)
    return Invalid(absl::StrCat("invalid subnet ", config->subnet()));
  if (!config->ip_range().empty()) {
    GANTRY_ASSIGN_OR_RETURN(Cidr range, Cidr::Parse(config->ip_range()));
    if (!subnet.Contains(range))
      return Invalid(absl::StrCat("no matching subnet for range ", config->ip_range()));
  }
  if (!config->gateway().empty())
    GANTRY_RETURN_IF_ERROR(CheckWithin(subnet, config->gateway(), "gateway"));
  if (config->auxiliary_addresses_size() > kMaxEntries)
    return Invalid("too many auxiliary addresses");
  for (const auto& [name, address] : config->auxiliary_addresses())
    GANTRY_RETURN_IF_ERROR(CheckWithin(subnet, address, "aux-address"));
  return absl::OkStatus();
}

absl::Status CheckMapSizes(const Network& network) {
  if (network.options_size() > kMaxEntries || network.labels_size() > kMaxEntries ||
      network.ByteSizeLong() > (1u << 20)) {
    return Invalid("the network's settings are too large");
  }
  return absl::OkStatus();
}

}  // namespace

bool HasSubnet(const Network& network, bool v6) {
  for (const IpamConfig& config : network.ipam()) {
    if ((config.subnet().find(':') != std::string::npos) == v6) return true;
  }
  return false;
}

absl::Status CheckSettings(Network* network) {
  GANTRY_RETURN_IF_ERROR(CheckMapSizes(*network));
  GANTRY_RETURN_IF_ERROR(CheckName(*network));
  if (network->driver().empty()) network->set_driver("bridge");
  const std::string& driver = network->driver();
  if (driver == "host" || driver == "null" || driver == "none") {
    return absl::PermissionDeniedError(
        absl::StrCat("only one instance of \"", driver, "\" network is allowed"));
  }
  if (driver != "bridge" && driver != "macvlan" && driver != "ipvlan") {
    return absl::NotFoundError(
        absl::StrCat("could not find plugin ", driver, " in v1 plugin registry: plugin not found"));
  }
  if (!network->enable_ipv4() && !network->enable_ipv6()) network->set_enable_ipv4(true);
  if (network->ipam_driver().empty()) network->set_ipam_driver("default");
  if (network->ipam_driver() != "default" && network->ipam_driver() != "null")
    return Invalid(absl::StrCat("unknown IPAM driver \"", network->ipam_driver(), "\""));
  if (network->ipam_size() > kMaxSubnets) return Invalid("too many subnets");
  std::vector<Cidr> seen;
  for (IpamConfig& config : *network->mutable_ipam()) {
    GANTRY_RETURN_IF_ERROR(CheckIpam(&config));
    Cidr subnet = *Cidr::Parse(config.subnet());
    if (!(subnet.address.is_v6() ? network->enable_ipv6() : network->enable_ipv4())) {
      return Invalid(absl::StrCat("the network has the subnet ", config.subnet(),
                                  " but not its address family"));
    }
    for (const Cidr& other : seen) {
      if (other.Overlaps(subnet))
        return absl::FailedPreconditionError("Pool overlaps with other one on this address space");
    }
    seen.push_back(subnet);
  }
  return DriverOptions::Parse(*network).status();
}

absl::StatusOr<std::vector<Subnet>> TakeGateways(Network* network, const DriverOptions& options) {
  std::vector<Subnet> subnets;
  for (IpamConfig& config : *network->mutable_ipam()) {
    GANTRY_ASSIGN_OR_RETURN(Cidr cidr, Cidr::Parse(config.subnet()));
    Cidr range = cidr;
    if (!config.ip_range().empty()) {
      GANTRY_ASSIGN_OR_RETURN(range, Cidr::Parse(config.ip_range()));
    }
    Subnet subnet(cidr, range);
    for (const auto& [name, text] : config.auxiliary_addresses()) {
      GANTRY_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(text));
      GANTRY_RETURN_IF_ERROR(subnet.Take(address));
    }
    GatewayMode mode = cidr.address.is_v6() ? options.mode6 : options.mode4;
    if (!config.gateway().empty()) {
      GANTRY_ASSIGN_OR_RETURN(IpAddress gateway, IpAddress::Parse(config.gateway()));
      GANTRY_RETURN_IF_ERROR(subnet.Take(gateway));
    } else if (mode != GatewayMode::kIsolated) {
      GANTRY_ASSIGN_OR_RETURN(IpAddress gateway, subnet.TakeAny());
      config.set_gateway(gateway.ToString());
    }
    subnets.push_back(std::move(subnet));
  }
  return subnets;
}

absl::Status SetDefaultBridge(const NetworkManager::Options& options, Network* network) {
  if (options.default_bridge_address.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Cidr address, Cidr::Parse(options.default_bridge_address));
  IpamConfig* config = network->add_ipam();
  config->set_subnet(address.Network().ToString());
  config->set_gateway(address.address.ToString());
  config->set_ip_range(options.fixed_cidr);
  return CheckIpam(config);
}

absl::Status CheckEndpoint(const networks::EndpointSettings& settings) {
  if (settings.network().empty()) return Invalid("an endpoint needs a network");
  if (settings.aliases_size() > kMaxEntries || settings.links_size() > kMaxEntries)
    return Invalid("too many names for an endpoint");
  for (const std::string& alias : settings.aliases()) {
    if (alias.empty() || !IsPlain(alias))
      return Invalid(absl::StrCat("invalid network alias: ", absl::CHexEscape(alias)));
  }
  for (const std::string& link : settings.links()) {
    if (!IsPlain(link)) return Invalid(absl::StrCat("invalid link: ", absl::CHexEscape(link)));
  }
  if (!settings.ipv4_address().empty()) {
    auto address = IpAddress::Parse(settings.ipv4_address());
    if (!address.ok() || !address->is_v4())
      return Invalid(absl::StrCat("invalid IPv4 address: ", settings.ipv4_address()));
  }
  if (!settings.ipv6_address().empty()) {
    auto address = IpAddress::Parse(settings.ipv6_address());
    if (!address.ok() || !address->is_v6())
      return Invalid(absl::StrCat("invalid IPv6 address: ", settings.ipv6_address()));
  }
  for (const std::string& text : settings.link_local_ips())
    GANTRY_RETURN_IF_ERROR(IpAddress::Parse(text).status());
  if (!settings.mac_address().empty())
    GANTRY_RETURN_IF_ERROR(ParseMac(settings.mac_address()).status());
  return absl::OkStatus();
}

absl::Status CheckSetUp(const networks::SetUpRequest& request) {
  // The id is a file's name.
  GANTRY_RETURN_IF_ERROR(base::ValidateIdentifier(request.container_id()));
  for (const std::string* name :
       {&request.container_name(), &request.hostname(), &request.domainname()}) {
    if (!IsPlain(*name)) return Invalid(absl::StrCat("invalid name ", absl::CHexEscape(*name)));
  }
  if (request.endpoints_size() > 128) return Invalid("more than 128 networks for a container");
  for (const networks::EndpointSettings& settings : request.endpoints())
    GANTRY_RETURN_IF_ERROR(CheckEndpoint(settings));
  if (request.ports_size() > kMaxPorts) return Invalid("too many ports");
  for (const networks::PortBinding& port : request.ports())
    GANTRY_RETURN_IF_ERROR(ValidatePort(port));
  if (request.extra_hosts_size() > kMaxEntries || request.sysctls_size() > kMaxEntries)
    return Invalid("too many extra hosts or sysctls");
  for (const std::string& host : request.extra_hosts()) {
    size_t colon = host.find(':');
    std::string address = colon == std::string::npos ? "" : host.substr(colon + 1);
    bool good = IsPlain(host, 2 * kMaxName) && colon != 0 &&
                (address == "host-gateway" || IpAddress::Parse(address).ok());
    if (!good) return Invalid(absl::StrCat("invalid extra host: ", absl::CHexEscape(host)));
  }
  for (const auto* words :
       {&request.dns().servers(), &request.dns().search(), &request.dns().options()}) {
    if (words->size() > 64) return Invalid("too many DNS settings");
    for (const std::string& word : *words) {
      if (!IsPlain(word))
        return Invalid(absl::StrCat("invalid DNS setting ", absl::CHexEscape(word)));
    }
  }
  for (const std::string& server : request.dns().servers()) {
    if (!IpAddress::Parse(server.substr(0, server.find('%'))).ok())
      return Invalid(absl::StrCat("invalid DNS server: ", server));
  }
  for (const auto& [key, value] : request.sysctls()) {
    if (!absl::StartsWith(key, "net.") || value.size() > 4096)
      return Invalid(absl::StrCat("sysctl \"", absl::CHexEscape(key), "\" is not of a network"));
  }
  return absl::OkStatus();
}

uint32_t DeviceGroup(const std::string& root) {
  base::Hasher hasher;
  hasher.Update(root);
  base::Digest digest = hasher.Finish();
  // Not 0, which is everybody's.
  return 0x67000000u |
         static_cast<uint32_t>(std::stoul(std::string(digest.hex().substr(0, 6)), nullptr, 16));
}

std::string MachineSeed(const std::string& root) {
  auto id = base::ReadFile("/etc/machine-id", 256);
  return absl::StrCat(id.ok() ? *id : "", root);
}

}  // namespace gantry::services
