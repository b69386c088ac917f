#include "docker/config.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;

constexpr size_t kMaxFile = 1u << 20;

absl::Status WrongType(absl::string_view key, absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" must be ", wanted));
}

using Setter = std::function<absl::Status(const std::string& key, const Json& value)>;

Setter Into(bool* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_boolean()) return WrongType(key, "true or false");
    *to = value.get<bool>();
    return absl::OkStatus();
  };
}

Setter Into(std::string* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_string()) return WrongType(key, "a string");
    *to = value.get<std::string>();
    return absl::OkStatus();
  };
}

Setter Into(int64_t* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_number_integer()) return WrongType(key, "a whole number");
    *to = value.get<int64_t>();
    return absl::OkStatus();
  };
}

Setter Into(std::vector<std::string>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_array()) return WrongType(key, "a list of strings");
    to->clear();
    for (const Json& item : value) {
      if (!item.is_string()) return WrongType(key, "a list of strings");
      to->push_back(item.get<std::string>());
    }
    return absl::OkStatus();
  };
}

Setter Into(std::map<std::string, std::string>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object of strings");
    to->clear();
    for (const auto& [name, item] : value.items()) {
      if (!item.is_string()) return WrongType(absl::StrCat(key, ".", name), "a string");
      (*to)[name] = item.get<std::string>();
    }
    return absl::OkStatus();
  };
}

Setter Into(std::map<std::string, bool>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object of true and false");
    for (const auto& [name, item] : value.items()) {
      if (!item.is_boolean()) return WrongType(absl::StrCat(key, ".", name), "true or false");
      (*to)[name] = item.get<bool>();
    }
    return absl::OkStatus();
  };
}

// "64m", "1g", or a number of bytes.
absl::StatusOr<int64_t> ParseSize(absl::string_view text) {
  std::string lower = absl::AsciiStrToLower(text);
  absl::string_view rest = lower;
  (void)(absl::ConsumeSuffix(&rest, "ib") || absl::ConsumeSuffix(&rest, "b"));
  int shift = absl::ConsumeSuffix(&rest, "k")   ? 10
              : absl::ConsumeSuffix(&rest, "m") ? 20
              : absl::ConsumeSuffix(&rest, "g") ? 30
              : absl::ConsumeSuffix(&rest, "t") ? 40
                                                : 0;
  int64_t number = 0;
  if (!absl::SimpleAtoi(rest, &number) || number < 0 || number > (INT64_MAX >> shift)) {
    return absl::InvalidArgumentError(absl::StrCat("invalid size: '", text, "'"));
  }
  return number << shift;
}

Setter IntoSize(int64_t* to) {
  return [to](const std::string& key, const Json& value) -> absl::Status {
    if (value.is_number_integer()) {
      *to = value.get<int64_t>();
      return *to >= 0 ? absl::OkStatus() : WrongType(key, "a size");
    }
    if (!value.is_string()) return WrongType(key, "a size");
    GANTRY_ASSIGN_OR_RETURN(*to, ParseSize(value.get<std::string>()));
    return absl::OkStatus();
  };
}

Setter Into(std::map<std::string, UlimitSetting>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object of limits");
    for (const auto& [name, item] : value.items()) {
      const Json& soft = base::JsonAt(item, "Soft");
      const Json& hard = base::JsonAt(item, "Hard");
      if (!hard.is_number_integer() || !(soft.is_null() || soft.is_number_integer())) {
        return WrongType(absl::StrCat(key, ".", name), "an object with Name, Hard and Soft");
      }
      UlimitSetting limit;
      limit.name = base::JsonString(item, "Name", name);
      limit.hard = hard.get<int64_t>();
      limit.soft = soft.is_null() ? limit.hard : soft.get<int64_t>();
      if (limit.hard >= 0 && limit.soft > limit.hard) {
        return absl::InvalidArgumentError(
            absl::StrCat("ulimit soft limit must be less than or "
                         "equal to hard limit: ",
                         limit.soft, " > ", limit.hard));
      }
      (*to)[name] = limit;
    }
    return absl::OkStatus();
  };
}

Setter Into(std::vector<AddressPool>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_array()) return WrongType(key, "a list of pools");
    for (const Json& item : value) {
      const int64_t size = base::JsonInt(item, "size", -1);
      AddressPool pool{base::JsonString(item, "base"), static_cast<int>(size)};
      if (pool.base.empty() || size < 1 || size > 128) {
        return WrongType(key, "a list of objects with base and size");
      }
      to->push_back(std::move(pool));
    }
    return absl::OkStatus();
  };
}

Setter Into(std::map<std::string, std::map<std::string, std::string>>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object of objects");
    for (const auto& [name, item] : value.items()) {
      GANTRY_RETURN_IF_ERROR(Into(&(*to)[name])(absl::StrCat(key, ".", name), item));
    }
    return absl::OkStatus();
  };
}

// {"name": {"path": …}} or {"name": {"runtimeType": …}}.
Setter IntoRuntimes(std::map<std::string, std::string>* to) {
  return [to](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object of runtimes");
    for (const auto& [name, item] : value.items()) {
      std::string path = base::JsonString(item, "path", base::JsonString(item, "runtimeType"));
      if (path.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "either a runtimeType or a path must be configured for runtime \"", name, "\""));
      }
      (*to)[name] = path;
    }
    return absl::OkStatus();
  };
}

Setter IntoProxies(DaemonConfig* config) {
  return [config](const std::string& key, const Json& value) {
    if (!value.is_object()) return WrongType(key, "an object");
    const std::map<std::string, std::string*> keys = {{"http-proxy", &config->http_proxy},
                                                      {"https-proxy", &config->https_proxy},
                                                      {"no-proxy", &config->no_proxy}};
    for (const auto& [name, item] : value.items()) {
      auto found = keys.find(name);
      if (found == keys.end()) return WrongType(absl::StrCat(key, ".", name), "a known key");
      GANTRY_RETURN_IF_ERROR(Into(found->second)(absl::StrCat(key, ".", name), item));
    }
    return absl::OkStatus();
  };
}

std::map<std::string, Setter> Keys(DaemonConfig* c) {
  return {
      {"hosts", Into(&c->hosts)},
      {"group", Into(&c->group)},
      {"tls", Into(&c->tls)},
      {"tlsverify", Into(&c->tls_verify)},
      {"tlscacert", Into(&c->tls_ca_cert)},
      {"tlscert", Into(&c->tls_cert)},
      {"tlskey", Into(&c->tls_key)},
      {"data-root", Into(&c->data_root)},
      {"exec-root", Into(&c->exec_root)},
      {"pidfile", Into(&c->pid_file)},
      {"debug", Into(&c->debug)},
      {"log-level", Into(&c->log_level)},
      {"log-format", Into(&c->log_format)},
      {"labels", Into(&c->labels)},
      {"experimental", Into(&c->experimental)},
      {"live-restore", Into(&c->live_restore)},
      {"shutdown-timeout", Into(&c->shutdown_timeout)},
      {"features", Into(&c->features)},
      {"log-driver", Into(&c->log_driver)},
      {"log-opts", Into(&c->log_options)},
      {"default-ulimits", Into(&c->default_ulimits)},
      {"cgroup-parent", Into(&c->cgroup_parent)},
      {"default-cgroupns-mode", Into(&c->default_cgroupns_mode)},
      {"default-ipc-mode", Into(&c->default_ipc_mode)},
      {"default-shm-size", IntoSize(&c->default_shm_size)},
      {"default-runtime", Into(&c->default_runtime)},
      {"runtimes", IntoRuntimes(&c->runtimes)},
      {"init", Into(&c->init)},
      {"init-path", Into(&c->init_path)},
      {"no-new-privileges", Into(&c->no_new_privileges)},
      {"seccomp-profile", Into(&c->seccomp_profile)},
      {"selinux-enabled", Into(&c->selinux_enabled)},
      {"exec-opts", Into(&c->exec_options)},
      {"userns-remap", Into(&c->userns_remap)},
      {"proxies", IntoProxies(c)},
      {"bridge", Into(&c->bridge)},
      {"bip", Into(&c->bip)},
      {"bip6", Into(&c->bip6)},
      {"fixed-cidr", Into(&c->fixed_cidr)},
      {"fixed-cidr-v6", Into(&c->fixed_cidr_v6)},
      {"default-gateway", Into(&c->default_gateway)},
      {"default-gateway-v6", Into(&c->default_gateway_v6)},
      {"ip", Into(&c->ip)},
      {"ipv6", Into(&c->ipv6)},
      {"icc", Into(&c->icc)},
      {"iptables", Into(&c->iptables)},
      {"ip6tables", Into(&c->ip6tables)},
      {"ip-forward", Into(&c->ip_forward)},
      {"ip-masq", Into(&c->ip_masq)},
      {"userland-proxy", Into(&c->userland_proxy)},
      {"mtu", Into(&c->mtu)},
      {"dns", Into(&c->dns)},
      {"dns-opts", Into(&c->dns_options)},
      {"dns-search", Into(&c->dns_search)},
      {"host-gateway-ips", Into(&c->host_gateway_ips)},
      {"default-address-pools", Into(&c->default_address_pools)},
      {"default-network-opts", Into(&c->default_network_options)},
      {"insecure-registries", Into(&c->insecure_registries)},
      {"registry-mirrors", Into(&c->registry_mirrors)},
      {"max-concurrent-downloads", Into(&c->max_concurrent_downloads)},
      {"max-concurrent-uploads", Into(&c->max_concurrent_uploads)},
      {"max-download-attempts", Into(&c->max_download_attempts)},
      {"storage-driver", Into(&c->storage_driver)},
      {"storage-opts", Into(&c->storage_options)},
  };
}

// What Docker knows and what has no meaning here, by dockerd's reference of its configuration file.
constexpr absl::string_view kUnused[] = {"allow-direct-routing",
                                         "authorization-plugins",
                                         "builder",
                                         "cdi-spec-dirs",
                                         "containerd",
                                         "containerd-namespace",
                                         "containerd-plugin-namespace",
                                         "cpu-rt-period",
                                         "cpu-rt-runtime",
                                         "firewall-backend",
                                         "ip-forward-no-drop",
                                         "metrics-addr",
                                         "network-control-plane-mtu",
                                         "network-diagnostic-port",
                                         "node-generic-resources",
                                         "oom-score-adjust",
                                         "raw-logs",
                                         "swarm-default-advertise-addr",
                                         "userland-proxy-path",
                                         "validate"};

absl::Status Check(const DaemonConfig& c) {
  const std::map<std::string, int64_t> counts = {
      {"max concurrent downloads", c.max_concurrent_downloads},
      {"max concurrent uploads", c.max_concurrent_uploads},
      {"max download attempts", c.max_download_attempts}};
  for (const auto& [name, value] : counts) {
    if (value < 0) return absl::InvalidArgumentError(absl::StrCat("invalid ", name, ": ", value));
  }
  if (c.mtu < 0) return absl::InvalidArgumentError(absl::StrCat("invalid default MTU: ", c.mtu));
  if (c.log_format != "text" && c.log_format != "json") {
    return absl::InvalidArgumentError(absl::StrCat("invalid log format: ", c.log_format));
  }
  for (const std::string& label : c.labels) {
    if (!absl::StrContains(label, '=')) {
      return absl::InvalidArgumentError(absl::StrCat("bad attribute format: ", label));
    }
  }
  for (const std::string& mirror : c.registry_mirrors) {
    absl::string_view rest = mirror;
    if (!absl::ConsumePrefix(&rest, "http://") && !absl::ConsumePrefix(&rest, "https://")) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid mirror: \"", mirror,
                       "\" is not a valid URI: must start with https:// or "
                       "http://"));
    }
    absl::ConsumeSuffix(&rest, "/");
    if (rest.empty() || absl::StrContains(rest, '/') || absl::StrContains(rest, '?') ||
        absl::StrContains(rest, '#') || absl::StrContains(rest, '@')) {
      return absl::InvalidArgumentError(absl::StrCat(
          "invalid mirror: path, query, or fragment at end of the URI \"", mirror, "\""));
    }
  }
  for (const std::string& registry : c.insecure_registries) {
    if (absl::StrContains(registry, "://")) {
      return absl::InvalidArgumentError(
          absl::StrCat("insecure registry ", registry, " should not contain '://'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DaemonConfig> ParseDaemonConfig(absl::string_view text) {
  DaemonConfig config;
  if (absl::StripAsciiWhitespace(text).empty()) return config;
  GANTRY_ASSIGN_OR_RETURN(Json document, base::ParseJson(text, {.bytes = kMaxFile, .depth = 16}));
  if (!document.is_object()) return absl::InvalidArgumentError("the file must hold an object");
  const std::map<std::string, Setter> keys = Keys(&config);
  std::vector<std::string> unknown;
  for (const auto& [key, value] : document.items()) {
    if (auto known = keys.find(key); known != keys.end()) {
      GANTRY_RETURN_IF_ERROR(known->second(key, value));
    } else if (key == "host-gateway-ip") {
      std::string address;
      GANTRY_RETURN_IF_ERROR(Into(&address)(key, value));
      config.host_gateway_ips.push_back(address);
    } else if (std::find(std::begin(kUnused), std::end(kUnused), key) != std::end(kUnused)) {
      config.unused.push_back(key);
    } else {
      unknown.push_back(key);
    }
  }
  if (!unknown.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the following directives don't match any configuration option: ",
                     absl::StrJoin(unknown, ", ")));
  }
  GANTRY_RETURN_IF_ERROR(Check(config));
  return config;
}

absl::StatusOr<DaemonConfig> LoadDaemonConfig(const std::string& path) {
  auto text = base::ReadFile(path, kMaxFile);
  if (absl::IsNotFound(text.status())) return text.status();
  auto config = text.ok() ? ParseDaemonConfig(*text) : absl::StatusOr<DaemonConfig>(text.status());
  if (config.ok()) return config;
  return base::Annotate(config.status(),
                        absl::StrCat("unable to configure the Docker daemon with file ", path));
}

}  // namespace gantry::docker
