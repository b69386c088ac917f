#include "services/registry/hosts.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "services/registry/reference.h"

// Errors come back as values instead of exceptions.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include "toml++/toml.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxHostsFile = 1u << 20;

absl::Status Bad(absl::string_view what) { return absl::InvalidArgumentError(what); }

std::string Absolute(const std::string& path, const std::string& dir) {
  return absl::StartsWith(path, "/") ? path : absl::StrCat(dir, "/", path);
}

// "https://h/p" into scheme, host and API path.
absl::Status SetUrl(std::string url, bool override_path, RegistryHost* out) {
  if (!absl::StrContains(url, "://")) url = "https://" + url;
  size_t mark = url.find("://");
  if (mark == std::string::npos) return Bad(absl::StrCat("\"", url, "\" is no URL"));
  out->scheme = url.substr(0, mark);
  if (out->scheme != "http" && out->scheme != "https") {
    return Bad(absl::StrCat("\"", url, "\": the scheme must be http or https"));
  }
  std::string rest = url.substr(mark + 3);
  size_t slash = rest.find('/');
  out->host = rest.substr(0, slash);
  out->path = slash == std::string::npos ? "" : rest.substr(slash);
  while (absl::EndsWith(out->path, "/")) out->path.pop_back();
  if (out->host.empty() || out->path.find_first_of("?#") != std::string::npos ||
      out->host.find_first_of("@?# ") != std::string::npos) {
    return Bad(absl::StrCat("\"", url, "\" is no URL of a registry"));
  }
  if (!override_path && !absl::EndsWith(out->path, "/v2")) out->path += "/v2";
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Strings(const toml::node& node, absl::string_view key) {
  std::vector<std::string> out;
  if (const auto* one = node.as_string()) {
    out.push_back(one->get());
    return out;
  }
  const toml::array* list = node.as_array();
  if (list == nullptr) return Bad(absl::StrCat(key, " must be a string or a list of strings"));
  for (const toml::node& item : *list) {
    const auto* text = item.as_string();
    if (text == nullptr) return Bad(absl::StrCat(key, " must be a string or a list of strings"));
    out.push_back(text->get());
  }
  return out;
}

absl::Status SetCapabilities(const toml::node& node, RegistryHost* out) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, Strings(node, "capabilities"));
  if (names.empty()) return absl::OkStatus();
  out->capabilities = 0;
  for (const std::string& name : names) {
    std::string lower = absl::AsciiStrToLower(name);
    if (lower == "pull") {
      out->capabilities |= RegistryHost::kPull;
    } else if (lower == "resolve") {
      out->capabilities |= RegistryHost::kResolve;
    } else if (lower == "push") {
      out->capabilities |= RegistryHost::kPush;
    } else {
      return Bad(absl::StrCat("unknown capability ", name));
    }
  }
  return absl::OkStatus();
}

// client = "pem", ["pem"], or [["cert", "key"]]; curl presents one pair, so only one may be given.
absl::Status SetClient(const toml::node& node, const std::string& dir, RegistryHost* out) {
  std::vector<std::string> pair;
  const toml::array* list = node.as_array();
  if (list != nullptr && list->size() > 1) {
    return absl::UnimplementedError("more than one client certificate for a host");
  }
  if (list != nullptr && !list->empty() && (*list)[0].is_array()) {
    GANTRY_ASSIGN_OR_RETURN(pair, Strings((*list)[0], "client"));
    if (pair.size() != 2) return Bad("a client pair is [certificate, key]");
  } else {
    GANTRY_ASSIGN_OR_RETURN(pair, Strings(node, "client"));
  }
  if (!pair.empty()) out->client_cert = Absolute(pair[0], dir);
  if (pair.size() == 2) out->client_key = Absolute(pair[1], dir);
  return absl::OkStatus();
}

absl::Status SetHeaders(const toml::node& node, RegistryHost* out) {
  const toml::table* table = node.as_table();
  if (table == nullptr) return Bad("header must be a table");
  for (const auto& [name, value] : *table) {
    std::string key(name.str().data(), name.str().size());
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> values, Strings(value, "header"));
    for (const std::string& text : values) {
      if ((key + text).find_first_of("\r\n") != std::string::npos)
        return Bad("line break in header");
      out->headers.emplace_back(key, text);
    }
  }
  return absl::OkStatus();
}

absl::Status SetKeys(const toml::table& table, const std::string& dir, RegistryHost* out) {
  if (const toml::node* n = table.get("capabilities")) {
    GANTRY_RETURN_IF_ERROR(SetCapabilities(*n, out));
  }
  if (const toml::node* n = table.get("ca")) {
    GANTRY_ASSIGN_OR_RETURN(out->ca_files, Strings(*n, "ca"));
    for (std::string& file : out->ca_files) file = Absolute(file, dir);
  }
  if (const toml::node* n = table.get("client")) {
    GANTRY_RETURN_IF_ERROR(SetClient(*n, dir, out));
  }
  if (const toml::node* n = table.get("skip_verify")) {
    if (!n->is_boolean()) return Bad("skip_verify must be true or false");
    out->skip_verify = n->as_boolean()->get();
  }
  if (const toml::node* n = table.get("header")) GANTRY_RETURN_IF_ERROR(SetHeaders(*n, out));
  if (const toml::node* n = table.get("dial_timeout")) {
    if (!n->is_string() || !absl::ParseDuration(n->as_string()->get(), &out->dial_timeout)) {
      return Bad("dial_timeout must be a duration such as \"3s\"");
    }
  }
  return absl::OkStatus();
}

bool OverridePath(const toml::table& table) { return table["override_path"].value_or(false); }

absl::StatusOr<std::vector<RegistryHost>> ParseHosts(const std::string& text,
                                                     const std::string& dir) {
  toml::parse_result parsed = toml::parse(text.c_str());
  if (!parsed) {
    return Bad(absl::StrCat("line ", parsed.error().source().begin.line, ": ",
                            std::string(parsed.error().description())));
  }
  const toml::table& root = parsed.table();
  std::vector<RegistryHost> out;
  if (const toml::table* hosts = root["host"].as_table()) {
    // The table is sorted by name; mirrors are asked in the order of the file.
    std::vector<std::pair<unsigned, std::string>> order;
    for (const auto& [name, node] : *hosts) {
      order.emplace_back(node.source().begin.line,
                         std::string(name.str().data(), name.str().size()));
    }
    std::sort(order.begin(), order.end());
    for (const auto& [line, name] : order) {
      const toml::table* table = (*hosts)[name.c_str()].as_table();
      if (table == nullptr) return Bad(absl::StrCat("host.\"", name, "\" must be a table"));
      RegistryHost host;
      absl::Status status = SetUrl(name, OverridePath(*table), &host);
      if (status.ok()) status = SetKeys(*table, dir, &host);
      if (!status.ok()) return base::Annotate(status, absl::StrCat("host.\"", name, "\""));
      out.push_back(std::move(host));
    }
  }
  RegistryHost server;
  std::string url = root["server"].value_or(std::string());
  if (!url.empty()) GANTRY_RETURN_IF_ERROR(SetUrl(url, OverridePath(root), &server));
  GANTRY_RETURN_IF_ERROR(SetKeys(root, dir, &server));
  out.push_back(std::move(server));
  return out;
}

// Docker's layout: *.crt are CAs, NAME.cert with NAME.key a client pair.
absl::StatusOr<std::vector<RegistryHost>> FromCertFiles(const std::string& dir) {
  RegistryHost host;
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDir(dir));
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    std::string path = absl::StrCat(dir, "/", name);
    if (absl::EndsWith(name, ".crt")) host.ca_files.push_back(path);
    if (absl::EndsWith(name, ".cert") && host.client_cert.empty()) {
      host.client_cert = path;
      std::string key = path.substr(0, path.size() - 5) + ".key";
      if (base::Exists(key)) host.client_key = key;
    }
  }
  return std::vector<RegistryHost>{std::move(host)};
}

std::string FindDir(absl::string_view host, const std::string& roots) {
  std::vector<std::string> names;
  if (absl::string_view port = PortOf(host); !port.empty()) {
    names.push_back(absl::StrCat(host.substr(0, host.size() - port.size() - 1), "_", port, "_"));
  }
  names.emplace_back(host);
  names.emplace_back("_default");
  for (absl::string_view root : absl::StrSplit(roots, ':', absl::SkipEmpty())) {
    for (const std::string& name : names) {
      std::string dir = absl::StrCat(root, "/", name);
      if (base::Exists(dir)) return dir;
    }
  }
  return "";
}

// The registry itself when no file names it.
void FillDefault(absl::string_view name, const HostsOptions& options, RegistryHost* host) {
  host->host = name == "docker.io" ? "registry-1.docker.io" : std::string(name);
  host->path = "/v2";
  bool has_tls = !host->ca_files.empty() || !host->client_cert.empty() || host->skip_verify;
  if (!options.default_scheme.empty() && name != "docker.io") {
    host->scheme = options.default_scheme;
  } else if (IsLoopbackHost(name) && !has_tls && !PortOf(name).empty() && PortOf(name) != "443") {
    host->scheme = "http";
    host->scheme_guessed = PortOf(name) != "80";
  } else {
    host->scheme = "https";
  }
}

}  // namespace

absl::StatusOr<std::vector<RegistryHost>> HostsFor(absl::string_view host,
                                                   const HostsOptions& options) {
  if (!options.default_scheme.empty() && options.default_scheme != "http" &&
      options.default_scheme != "https") {
    return Bad(
        absl::StrCat("default scheme \"", options.default_scheme, "\" is not http or https"));
  }
  std::vector<RegistryHost> hosts;
  std::string dir = options.config_dir.empty() ? "" : FindDir(host, options.config_dir);
  if (!dir.empty()) {
    std::string file = dir + "/hosts.toml";
    auto text = base::ReadFile(file, kMaxHostsFile);
    if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
    auto parsed = text.ok() && !text->empty() ? ParseHosts(*text, dir) : FromCertFiles(dir);
    if (!parsed.ok()) return base::Annotate(parsed.status(), file);
    hosts = *std::move(parsed);
  } else {
    hosts.emplace_back();
  }
  if (hosts.back().host.empty()) FillDefault(host, options, &hosts.back());
  return hosts;
}

}  // namespace gantry::services
