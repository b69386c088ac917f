#include "services/networks/container_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxEntries = 64;
constexpr size_t kMaxFile = 256u << 10;

void AppendWords(const std::vector<std::string>& words, std::vector<std::string>* to) {
  for (size_t i = 1; i < words.size() && to->size() < kMaxEntries; ++i) to->push_back(words[i]);
}

bool OnlyLoopback(const std::vector<std::string>& servers) {
  for (const std::string& server : servers) {
    auto address = IpAddress::Parse(server);
    if (!address.ok() || !address->IsLoopback()) return false;
  }
  return true;
}

}  // namespace

ResolvConf ResolvConf::Parse(absl::string_view text) {
  ResolvConf conf;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = line.substr(0, line.find_first_of("#;"));
    std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.size() < 2) continue;
    if (words[0] == "nameserver" && conf.servers.size() < kMaxEntries)
      conf.servers.push_back(words[1]);
    if (words[0] == "options") AppendWords(words, &conf.options);
    if (words[0] == "search" || words[0] == "domain") {  // the last one counts
      conf.search.clear();
      AppendWords(words, &conf.search);
    }
  }
  return conf;
}

std::string ResolvConf::ToString() const {
  std::string text = "# Written by gantry for this container.\n";
  for (const std::string& server : servers) absl::StrAppend(&text, "nameserver ", server, "\n");
  if (!search.empty()) absl::StrAppend(&text, "search ", absl::StrJoin(search, " "), "\n");
  if (!options.empty()) absl::StrAppend(&text, "options ", absl::StrJoin(options, " "), "\n");
  return text;
}

ResolvConf HostResolvConf() {
  ResolvConf conf;
  auto text = base::ReadFile("/etc/resolv.conf", kMaxFile);
  if (text.ok()) conf = ResolvConf::Parse(*text);
  if (!OnlyLoopback(conf.servers)) return conf;
  auto upstream = base::ReadFile("/run/systemd/resolve/resolv.conf", kMaxFile);
  if (upstream.ok()) conf.servers = ResolvConf::Parse(*upstream).servers;
  return conf;
}

std::vector<std::string> ReachableServers(const std::vector<std::string>& servers) {
  std::vector<std::string> reachable;
  for (const std::string& server : servers) {
    auto address = IpAddress::Parse(server.substr(0, server.find('%')));
    if (address.ok() && !address->IsLoopback()) reachable.push_back(server);
  }
  return reachable;
}

std::string HostsText(bool ipv6, const HostLines& extra, const HostLines& own) {
  std::string text = "127.0.0.1\tlocalhost\n";
  if (ipv6) {
    text +=
        "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  } else {
    text += "::1\tlocalhost ip6-localhost ip6-loopback\n";
  }
  for (const HostLines* lines : {&extra, &own}) {
    for (const auto& [address, names] : *lines) absl::StrAppend(&text, address, "\t", names, "\n");
  }
  return text;
}

absl::Status WriteInPlace(const std::string& path, absl::string_view text) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file,
                          base::Open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0644));
  struct stat st;
  if (fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("write ", path, ": it is no regular file"));
  }
  // Whatever the umask is: every user of the container reads it.
  if (fchmod(file.get(), 0644) != 0 || ftruncate(file.get(), 0) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return base::Annotate(base::WriteAll(file.get(), text), absl::StrCat("write ", path));
}

}  // namespace gantry::services
