#include "shim/oci/cli/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

absl::Status CheckId(const std::string& id) {
  auto bad = std::find_if_not(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("_+-.", c);
  });
  if (bad != id.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid container ID format: invalid character '",
                     absl::CEscape(absl::string_view(&*bad, 1)), "'"));
  }
  if (!id.empty() && id.size() <= 1024 && id != "." && id != "..") return absl::OkStatus();
  return absl::InvalidArgumentError("invalid container ID format");
}

}  // namespace

uint64_t ProcessStartTime(pid_t pid) {
  std::string text = base::ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  // The second field, in parentheses, may contain anything.
  size_t end = text.rfind(')');
  if (end == std::string::npos) return 0;
  std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(text).substr(end + 1), ' ', absl::SkipEmpty());
  uint64_t start = 0;
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return 0;
  return absl::SimpleAtoi(fields[19], &start) ? start : 0;
}

absl::StatusOr<std::string> Record::Status() const {
  if (pid == 0 || ProcessStartTime(pid) != start_time || start_time == 0) {
    return std::string("stopped");
  }
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Container> container, Open());
  GANTRY_ASSIGN_OR_RETURN(bool paused, container->Paused());
  if (paused) return std::string("paused");
  return std::string(base::Exists(options.start_socket) ? "created" : "running");
}

absl::StatusOr<std::unique_ptr<Container>> Record::Open() const {
  return Container::Open(options, spec, pid);
}

std::string Record::RootfsPath() const {
  if (absl::StartsWith(spec.root_path, "/")) return spec.root_path;
  return absl::StrCat(options.bundle, "/", spec.root_path);
}

absl::Status Store::Reserve(const std::string& id, const std::string& bundle) {
  GANTRY_RETURN_IF_ERROR(CheckId(id));
  GANTRY_ASSIGN_OR_RETURN(std::string config, base::ReadFile(bundle + "/config.json"));
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(root_, 0700));
  if (mkdir(Directory(id).c_str(), 0700) != 0) {
    if (errno == EEXIST) {
      return absl::AlreadyExistsError("container with given ID already exists");
    }
    return base::ErrnoStatus(errno, absl::StrCat("mkdir ", Directory(id)));
  }
  return base::WriteFile(Directory(id) + "/config.json", config);
}

absl::StatusOr<std::string> Store::StartSocket(const std::string& id) {
  GANTRY_ASSIGN_OR_RETURN(directory_, base::Open(Directory(id), O_PATH | O_DIRECTORY));
  return absl::StrCat("/proc/self/fd/", directory_.get(), "/start.sock");
}

absl::Status Store::Save(const Record& record) const {
  base::Json state;
  state["id"] = record.options.id;
  state["bundle"] = record.options.bundle;
  state["rootfs"] = record.options.rootfs;
  state["pid"] = record.pid;
  state["startTime"] = record.start_time;
  state["created"] = record.created;
  state["rootless"] = record.options.rootless;
  state["systemdCgroup"] = record.options.systemd_cgroup;
  state["noNewKeyring"] = record.options.no_new_keyring;
  return base::ReplaceFile(Directory(record.options.id) + "/state.json", base::DumpJson(state));
}

absl::StatusOr<Record> Store::Load(const std::string& id) const {
  GANTRY_RETURN_IF_ERROR(CheckId(id));
  auto text = base::ReadFile(Directory(id) + "/state.json");
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError("container does not exist");
  }
  GANTRY_RETURN_IF_ERROR(text.status());
  GANTRY_ASSIGN_OR_RETURN(base::Json state, base::ParseJson(*text));
  Record record;
  record.options.id = id;
  record.options.bundle = base::JsonString(state, "bundle");
  record.options.rootfs = base::JsonString(state, "rootfs");
  record.options.rootless = base::JsonBool(state, "rootless");
  record.options.systemd_cgroup = base::JsonBool(state, "systemdCgroup");
  record.options.no_new_keyring = base::JsonBool(state, "noNewKeyring");
  record.options.start_socket = Directory(id) + "/start.sock";
  record.pid = static_cast<pid_t>(base::JsonInt(state, "pid"));
  record.start_time = static_cast<uint64_t>(base::JsonInt(state, "startTime"));
  record.created = base::JsonString(state, "created");
  GANTRY_ASSIGN_OR_RETURN(record.spec, LoadSpec(Directory(id)));
  return record;
}

absl::Status Store::Started(const std::string& id) const {
  if (unlink((Directory(id) + "/start.sock").c_str()) == 0 || errno == ENOENT) {
    return absl::OkStatus();
  }
  return base::ErrnoStatus(errno, "unlink start.sock");
}

absl::Status Store::Remove(const std::string& id) const { return base::RemoveTree(Directory(id)); }

absl::StatusOr<std::vector<std::string>> Store::Ids() const {
  auto names = base::ListDir(root_);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  return names;
}

}  // namespace gantry::oci
