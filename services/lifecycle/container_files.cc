#include "services/lifecycle/container_files.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services::lifecycle {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr size_t kFileLimit = 1u << 20;

constexpr absl::string_view kLoopbackHosts =
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n";

// In place and with the mode whatever our umask is: the file is mounted in the container.
absl::Status Write(const std::string& path, absl::string_view text) {
  GANTRY_RETURN_IF_ERROR(base::WriteFile(path, text, kFileMode));
  if (chmod(path.c_str(), kFileMode) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("chmod ", path));
  return absl::OkStatus();
}

std::string ReadOr(const std::string& path, absl::string_view otherwise) {
  auto text = base::ReadFile(path, kFileLimit);
  return text.ok() ? *std::move(text) : std::string(otherwise);
}

// "name:address" as a line of /etc/hosts. "host-gateway" needs a network and is left out.
std::string ExtraHosts(const v1::Policy& policy) {
  std::string lines;
  for (const std::string& extra : policy.extra_hosts()) {
    const size_t colon = extra.find(':');
    if (colon == std::string::npos) continue;
    const std::string address = extra.substr(colon + 1);
    if (address == "host-gateway") continue;
    absl::StrAppend(&lines, address, "\t", extra.substr(0, colon), "\n");
  }
  return lines;
}

std::string Hosts(const v1::Policy& policy, const std::string& of_other) {
  if (policy.network_mode() == "container") return ReadOr(of_other + "/hosts", kLoopbackHosts);
  std::string text = policy.network_mode() == "host" ? ReadOr("/etc/hosts", kLoopbackHosts)
                                                     : std::string(kLoopbackHosts);
  return absl::StrCat(text, ExtraHosts(policy));
}

std::string ResolvConf(const v1::Policy& policy, const std::string& of_other) {
  if (policy.network_mode() == "container") {
    return ReadOr(of_other + "/resolv.conf", ReadOr("/etc/resolv.conf", ""));
  }
  const auto& dns = policy.dns();
  std::string text;
  // What the policy does not say stays as the host has it.
  for (absl::string_view line :
       absl::StrSplit(ReadOr("/etc/resolv.conf", ""), '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "nameserver") && !dns.servers().empty()) continue;
    if (absl::StartsWith(line, "search") && !dns.search().empty()) continue;
    if (absl::StartsWith(line, "options") && !dns.options().empty()) continue;
    absl::StrAppend(&text, line, "\n");
  }
  for (const std::string& server : dns.servers())
    absl::StrAppend(&text, "nameserver ", server, "\n");
  if (!dns.search().empty())
    absl::StrAppend(&text, "search ", absl::StrJoin(dns.search(), " "), "\n");
  if (!dns.options().empty())
    absl::StrAppend(&text, "options ", absl::StrJoin(dns.options(), " "), "\n");
  return text;
}

bool IsUnreserved(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_' ||
         c == '~' || c == '/';
}

}  // namespace

std::string ContainerFiles::Directory(absl::string_view ns, absl::string_view id) const {
  return absl::StrCat(base_, "/", ns, "/", id);
}

absl::Status ContainerFiles::Create(absl::string_view ns, absl::string_view id,
                                    const v1::Policy& policy) const {
  const std::string directory = Directory(ns, id);
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(base_, "/", ns), 0711));
  if (mkdir(directory.c_str(), 0711) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("mkdir ", directory));
  if (policy.manage_hostname()) {
    std::string name = policy.hostname();
    if (!policy.domainname().empty()) absl::StrAppend(&name, ".", policy.domainname());
    GANTRY_RETURN_IF_ERROR(Write(directory + "/hostname", absl::StrCat(name, "\n")));
  }
  if (policy.manage_hosts()) GANTRY_RETURN_IF_ERROR(Write(directory + "/hosts", ""));
  if (policy.manage_resolv_conf()) GANTRY_RETURN_IF_ERROR(Write(directory + "/resolv.conf", ""));
  return absl::OkStatus();
}

absl::Status ContainerFiles::Refresh(absl::string_view ns, absl::string_view id,
                                     const v1::Policy& policy, const std::string& of_other) const {
  if (policy.network_mode() == "networks") return absl::OkStatus();
  const std::string directory = Directory(ns, id);
  if (policy.manage_hosts())
    GANTRY_RETURN_IF_ERROR(Write(directory + "/hosts", Hosts(policy, of_other)));
  if (policy.manage_resolv_conf())
    GANTRY_RETURN_IF_ERROR(Write(directory + "/resolv.conf", ResolvConf(policy, of_other)));
  return absl::OkStatus();
}

absl::Status ContainerFiles::Remove(absl::string_view ns, absl::string_view id) const {
  absl::Status removed = base::RemoveTree(Directory(ns, id));
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ContainerFiles::List() const {
  std::vector<std::pair<std::string, std::string>> found;
  auto namespaces = base::ListDir(base_);
  if (absl::IsNotFound(namespaces.status())) return found;
  if (!namespaces.ok()) return namespaces.status();
  for (const std::string& ns : *namespaces) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, base::ListDir(base_ + "/" + ns));
    for (const std::string& id : ids) found.emplace_back(ns, id);
  }
  return found;
}

std::string LogPath(absl::string_view uri) {
  for (absl::string_view scheme : {"json-file://", "cri://", "file://"}) {
    if (!absl::StartsWith(uri, scheme)) continue;
    absl::string_view path = uri.substr(scheme.size());
    path = path.substr(0, path.find('?'));
    std::string decoded;
    for (size_t i = 0; i < path.size(); ++i) {
      if (path[i] == '%' && i + 2 < path.size() &&
          absl::ascii_isxdigit(static_cast<unsigned char>(path[i + 1])) &&
          absl::ascii_isxdigit(static_cast<unsigned char>(path[i + 2]))) {
        decoded += absl::HexStringToBytes(path.substr(i + 1, 2));
        i += 2;
      } else {
        decoded += path[i];
      }
    }
    return decoded;
  }
  return "";
}

std::string WithQuery(absl::string_view uri, absl::string_view key, absl::string_view value) {
  std::string text = absl::StrCat(uri, absl::StrContains(uri, '?') ? "&" : "?", key, "=");
  for (char c : value) {
    if (IsUnreserved(c)) {
      text += c;
    } else {
      absl::StrAppend(&text, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return text;
}

}  // namespace gantry::services::lifecycle
