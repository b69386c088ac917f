#include "docker/images/registry_hosts.h"

#include <arpa/inet.h>

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr char kHub[] = "docker.io";

// What a hosts.toml and a file name may hold; others can be no registry either.
bool IsPlainHost(absl::string_view host) {
  if (host.empty() || host.size() > 255 || host[0] == '.') return false;
  return host.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") ==
         absl::string_view::npos;
}

// The address's bytes, 4 or 16; 0 for what is none.
size_t ParseAddress(const std::string& text, unsigned char out[16]) {
  if (inet_pton(AF_INET, text.c_str(), out) == 1) return 4;
  if (inet_pton(AF_INET6, text.c_str(), out) == 1) return 16;
  return 0;
}

bool Contains(absl::string_view cidr, const std::string& address) {
  std::pair<std::string, std::string> parts = absl::StrSplit(cidr, absl::MaxSplits('/', 1));
  unsigned char net[16];
  unsigned char host[16];
  const size_t size = ParseAddress(parts.first, net);
  unsigned bits = 0;
  if (size == 0 || size != ParseAddress(address, host)) return false;
  if (!absl::SimpleAtoi(parts.second, &bits) || bits > size * 8) return false;
  for (size_t i = 0; i < size && i * 8 < bits; ++i) {
    const unsigned left = bits - static_cast<unsigned>(i) * 8;
    const unsigned mask = left >= 8 ? 0xffu : (0xff00u >> left) & 0xffu;
    if ((net[i] & mask) != (host[i] & mask)) return false;
  }
  return true;
}

std::string MirrorsFile(const DaemonConfig& config) {
  std::string text = "server = \"https://registry-1.docker.io\"\n";
  for (const std::string& mirror : config.registry_mirrors) {
    absl::string_view url = absl::StripSuffix(mirror, "/");
    absl::string_view host = absl::StripPrefix(absl::StripPrefix(url, "https://"), "http://");
    bool insecure = IsInsecureAddress(config, host);
    for (const std::string& other : config.insecure_registries) insecure |= other == host;
    absl::StrAppend(&text, "\n[host.\"", url, "\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
                    insecure ? "  skip_verify = true\n" : "");
  }
  return text;
}

}  // namespace

bool IsInsecureAddress(const DaemonConfig& config, absl::string_view registry) {
  std::string host(registry);
  if (absl::StartsWith(host, "[")) {
    host = host.substr(1, host.find(']') - 1);
  } else if (const size_t colon = host.rfind(':'); colon != std::string::npos) {
    host.resize(colon);
  }
  for (const std::string& entry : config.insecure_registries) {
    if (absl::StrContains(entry, '/') && Contains(entry, host)) return true;
  }
  return false;
}

std::string InsecureHostsFile(absl::string_view registry) {
  constexpr char kAll[] = "  capabilities = [\"pull\", \"resolve\", \"push\"]\n";
  return absl::StrCat("server = \"https://", registry, "\"\n\n[host.\"https://", registry, "\"]\n",
                      kAll, "  skip_verify = true\n\n[host.\"http://", registry, "\"]\n", kAll);
}

std::map<std::string, std::string> HostsFiles(const DaemonConfig& config) {
  std::map<std::string, std::string> files;
  for (const std::string& entry : config.insecure_registries) {
    if (!absl::StrContains(entry, '/') && IsPlainHost(entry)) {
      files[entry] = InsecureHostsFile(entry);
    }
  }
  if (!config.registry_mirrors.empty()) files[kHub] = MirrorsFile(config);
  return files;
}

RegistryHosts::RegistryHosts(const DaemonConfig& config, std::string state_dir,
                             std::string certs_dirs)
    : config_(config), state_dir_(std::move(state_dir)), certs_dirs_(std::move(certs_dirs)) {}

absl::StatusOr<std::string> RegistryHosts::DirFor(absl::string_view registry) const {
  const std::string name(registry);
  std::map<std::string, std::string> files = HostsFiles(config_);
  auto found = files.find(name);
  std::string text;
  if (found != files.end()) {
    text = found->second;
  } else if (IsPlainHost(registry) && IsInsecureAddress(config_, registry)) {
    text = InsecureHostsFile(registry);
  }
  if (text.empty()) return certs_dirs_;
  // Named by what it says: daemons with other settings do not disturb each other.
  const std::string dir = absl::StrCat(state_dir_, "/", base::DigestOf(text).hex().substr(0, 16));
  const std::string file = absl::StrCat(dir, "/", name, "/hosts.toml");
  if (!base::Exists(file)) {
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(dir, "/", name), 0755));
    GANTRY_RETURN_IF_ERROR(base::ReplaceFile(file, text, 0644));
  }
  return absl::StrCat(dir, ":", certs_dirs_);
}

}  // namespace gantry::docker
