#include "shim/oci/rootless.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "shim/oci/namespaces.h"

namespace gantry::oci {
namespace {

bool MapsOnly(const std::vector<IdMapping>& mappings, uint32_t id) {
  return mappings.size() == 1 && mappings[0].size == 1 && mappings[0].host_id == id;
}

absl::Status RunMapProgram(const char* program, pid_t pid, const std::vector<IdMapping>& mappings) {
  base::SpawnOptions options;
  options.argv = {program, absl::StrCat(pid)};
  for (const IdMapping& m : mappings) {
    for (uint32_t number : {m.container_id, m.host_id, m.size}) {
      options.argv.push_back(absl::StrCat(number));
    }
  }
  auto result = base::RunProcess(options);
  if (absl::IsNotFound(result.status())) {
    return absl::FailedPreconditionError(absl::StrCat(
        program, " is not installed (package uidmap): only the own id can be mapped without it"));
  }
  GANTRY_RETURN_IF_ERROR(result.status());
  if (result->exit.code == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(program, ": ", absl::StripAsciiWhitespace(result->err),
                   " (are the ids listed for this user in /etc/subuid and /etc/subgid?)"));
}

// Runs outside of the new namespace.
absl::Status WriteMaps(pid_t pid, const LinuxSpec& spec) {
  if (MapsOnly(spec.uid_mappings, getuid()) && MapsOnly(spec.gid_mappings, getgid())) {
    // Who gives up setgroups(2) may map the own group alone.
    GANTRY_RETURN_IF_ERROR(base::WriteFile(absl::StrCat("/proc/", pid, "/setgroups"), "deny"));
    return WriteIdMaps(pid, spec.uid_mappings, spec.gid_mappings);
  }
  GANTRY_RETURN_IF_ERROR(RunMapProgram("newgidmap", pid, spec.gid_mappings));
  return RunMapProgram("newuidmap", pid, spec.uid_mappings);
}

// A child that stays outside, for the maps of a namespace may be written from there only.
class MapWriter {
 public:
  absl::Status Start(const LinuxSpec& spec) {
    GANTRY_ASSIGN_OR_RETURN(base::Pipe go, base::MakePipe());
    GANTRY_ASSIGN_OR_RETURN(base::Pipe result, base::MakePipe());
    pid_t target = getpid();
    pid_ = fork();
    if (pid_ < 0) return base::ErrnoStatus(errno, "fork");
    if (pid_ == 0) {
      go.write.Reset();
      char word;
      if (read(go.read.get(), &word, 1) != 1) _exit(1);
      absl::Status status = WriteMaps(target, spec);
      base::WriteAll(result.write.get(), status.message()).IgnoreError();
      _exit(0);
    }
    go_ = std::move(go.write);
    result_ = std::move(result.read);
    return absl::OkStatus();
  }

  absl::Status Finish() {
    GANTRY_RETURN_IF_ERROR(base::WriteAll(go_.get(), "x"));
    GANTRY_ASSIGN_OR_RETURN(std::string error, base::ReadFd(result_.get()));
    if (error.empty()) return absl::OkStatus();
    return absl::PermissionDeniedError(error);
  }

  ~MapWriter() {
    go_.Reset();
    while (pid_ > 0 && waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

 private:
  pid_t pid_ = -1;
  base::UniqueFd go_, result_;
};

absl::Status BecomeRoot() {
  if (syscall(SYS_setresgid, 0, 0, 0) == 0 && syscall(SYS_setresuid, 0, 0, 0) == 0) {
    return absl::OkStatus();
  }
  return base::ErrnoStatus(errno, "become root of the user namespace (is container id 0 mapped?)");
}

absl::Status EnterNew(const LinuxSpec& spec) {
  if (spec.uid_mappings.empty() || spec.gid_mappings.empty()) {
    return absl::InvalidArgumentError(
        "linux.uidMappings: a new user namespace needs uid and gid mappings");
  }
  MapWriter writer;
  GANTRY_RETURN_IF_ERROR(writer.Start(spec));
  if (unshare(CLONE_NEWUSER) != 0) {
    return base::ErrnoStatus(errno, "make a user namespace (see sysctl user.max_user_namespaces)");
  }
  return writer.Finish();
}

absl::Status Enter(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_RDONLY));
  if (setns(fd.get(), CLONE_NEWUSER) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("join user namespace ", path));
}

}  // namespace

bool IsRootless() { return geteuid() != 0; }

absl::Status EnterUserNamespace(Spec* spec) {
  auto user = std::find_if(spec->linux_.namespaces.begin(), spec->linux_.namespaces.end(),
                           [](const Namespace& ns) { return ns.flag == CLONE_NEWUSER; });
  if (user == spec->linux_.namespaces.end()) {
    return absl::FailedPreconditionError(
        "without root privileges a container needs a user namespace: see gantry-oci spec "
        "--rootless");
  }
  GANTRY_RETURN_IF_ERROR(user->path.empty() ? EnterNew(spec->linux_) : Enter(user->path));
  GANTRY_RETURN_IF_ERROR(BecomeRoot());
  if (unshare(CLONE_NEWNS) != 0) return base::ErrnoStatus(errno, "make a mount namespace");
  // Nothing of the set-up reaches the host, what the host mounts is still seen.
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) {
    return base::ErrnoStatus(errno, "isolate mounts");
  }
  user->entered = true;
  return absl::OkStatus();
}

absl::Status EnterUserNamespaceOf(pid_t pid) {
  GANTRY_RETURN_IF_ERROR(Enter(absl::StrCat("/proc/", pid, "/ns/user")));
  return BecomeRoot();
}

}  // namespace gantry::oci
