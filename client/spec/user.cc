#include "client/spec/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::client {
namespace {

constexpr uint64_t kMaxId = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxFile = 1u << 20;

struct PasswdEntry {
  std::string name;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

bool LooksNumeric(absl::string_view text) {
  char first = text[0];
  return absl::ascii_isdigit(static_cast<unsigned char>(first)) || first == '-' || first == '+';
}

bool AllDigits(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isdigit(c); });
}

// Either a number (into `id`) or a name (into `name`).
absl::Status ParsePart(absl::string_view part, absl::string_view what, std::string* name,
                       uint32_t* id) {
  if (part.empty()) return absl::InvalidArgumentError(absl::StrCat("empty ", what));
  for (unsigned char c : part) {
    if (absl::ascii_iscntrl(c) || absl::ascii_isspace(c)) {
      return absl::InvalidArgumentError(absl::StrCat("control character or space in ", what));
    }
  }
  // A name may begin with a digit ("7zip") but not consist of digits or carry a sign.
  if (!LooksNumeric(part) ||
      (absl::ascii_isdigit(static_cast<unsigned char>(part[0])) && !AllDigits(part))) {
    *name = std::string(part);
    return absl::OkStatus();
  }
  auto number = base::ParseDecimal(part, kMaxId);
  if (!number.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " \"", part, "\" is no number from 0 to ", kMaxId));
  }
  *id = static_cast<uint32_t>(*number);
  return absl::OkStatus();
}

// The text of a database file of the image; empty when there is none.
absl::StatusOr<std::string> ReadDatabase(int root_fd, const std::string& path) {
  // O_PATH first: opening a fifo or a device for reading could block or act.
  auto handle = base::OpenUnder(root_fd, path, O_PATH);
  if (absl::IsNotFound(handle.status())) return std::string();
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(handle.status(), absl::StrCat("open /", path, " of the image")));
  struct stat info = {};
  if (fstat(handle->get(), &info) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("stat ", path));
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("/", path, " of the image is no regular file"));
  }
  if (info.st_size > static_cast<off_t>(kMaxFile)) {
    return absl::ResourceExhaustedError(absl::StrCat("/", path, " of the image has ", info.st_size,
                                                     " bytes; at most ", kMaxFile, " are read"));
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file,
                          base::Open(absl::StrCat("/proc/self/fd/", handle->get()), O_RDONLY));
  return base::ReadFd(file.get(), kMaxFile);
}

std::vector<PasswdEntry> ParsePasswd(absl::string_view text) {
  std::vector<PasswdEntry> entries;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::vector<absl::string_view> f = absl::StrSplit(line, ':');
    if (f.size() < 4) continue;
    auto uid = base::ParseDecimal(f[2], kMaxId);
    auto gid = base::ParseDecimal(f[3], kMaxId);
    if (!uid.ok() || !gid.ok()) continue;
    entries.push_back(
        {std::string(f[0]), static_cast<uint32_t>(*uid), static_cast<uint32_t>(*gid)});
  }
  return entries;
}

struct GroupEntry {
  std::string name;
  uint32_t gid = 0;
  std::vector<std::string> members;
};

std::vector<GroupEntry> ParseGroup(absl::string_view text) {
  std::vector<GroupEntry> entries;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::vector<absl::string_view> f = absl::StrSplit(line, ':');
    if (f.size() < 3) continue;
    auto gid = base::ParseDecimal(f[2], kMaxId);
    if (!gid.ok()) continue;
    GroupEntry entry{std::string(f[0]), static_cast<uint32_t>(*gid), {}};
    if (f.size() > 3) {
      entry.members = absl::StrSplit(absl::StripAsciiWhitespace(f[3]), ',', absl::SkipEmpty());
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

// Fills uid, gid and `name` from /etc/passwd.
absl::Status ApplyPasswd(int root_fd, const UserRequest& request, ResolvedUser* user,
                         std::string* name) {
  GANTRY_ASSIGN_OR_RETURN(std::string passwd, ReadDatabase(root_fd, "etc/passwd"));
  user->uid = request.uid;
  *name = request.user;
  for (const PasswdEntry& entry : ParsePasswd(passwd)) {
    if (request.user.empty() ? entry.uid != request.uid : entry.name != request.user) continue;
    user->uid = entry.uid;
    user->gid = entry.gid;
    *name = entry.name;
    return absl::OkStatus();
  }
  if (request.user.empty()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("user \"", request.user, "\" is not in /etc/passwd of the image"));
}

absl::Status ApplyGroup(int root_fd, const UserRequest& request, const std::string& name,
                        ResolvedUser* user) {
  GANTRY_ASSIGN_OR_RETURN(std::string group, ReadDatabase(root_fd, "etc/group"));
  bool found = request.group.empty();
  if (request.has_group && found) user->gid = request.gid;
  std::vector<uint32_t> members;
  for (const GroupEntry& entry : ParseGroup(group)) {
    if (!found && entry.name == request.group) {
      user->gid = entry.gid;
      found = true;
    }
    if (!name.empty() &&
        std::find(entry.members.begin(), entry.members.end(), name) != entry.members.end()) {
      members.push_back(entry.gid);
    }
  }
  if (!found) {
    return absl::NotFoundError(
        absl::StrCat("group \"", request.group, "\" is not in /etc/group of the image"));
  }
  user->additional_gids = {user->gid};
  // As containerd and Docker: a group given by the caller replaces the memberships.
  if (request.has_group) return absl::OkStatus();
  for (uint32_t gid : members) {
    auto& gids = user->additional_gids;
    if (std::find(gids.begin(), gids.end(), gid) == gids.end()) gids.push_back(gid);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UserRequest> ParseUser(absl::string_view text) {
  UserRequest request;
  if (text.empty()) return request;
  std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat("user \"", text, "\" is not USER[:GROUP]"));
  }
  GANTRY_RETURN_IF_ERROR(ParsePart(parts[0], "user", &request.user, &request.uid));
  if (parts.size() == 2) {
    request.has_group = true;
    GANTRY_RETURN_IF_ERROR(ParsePart(parts[1], "group", &request.group, &request.gid));
  }
  return request;
}

absl::StatusOr<ResolvedUser> ResolveUser(int root_fd, const UserRequest& request) {
  ResolvedUser user;
  std::string name;
  GANTRY_RETURN_IF_ERROR(ApplyPasswd(root_fd, request, &user, &name));
  GANTRY_RETURN_IF_ERROR(ApplyGroup(root_fd, request, name, &user));
  return user;
}

}  // namespace gantry::client
