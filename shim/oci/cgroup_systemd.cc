#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/systemd_unit.h"

namespace gantry::oci {
namespace {

// A child that does nothing: a scope cannot be made without a process in it, and the container's
// first one exists only when its cgroup does.
class Placeholder {
 public:
  Placeholder() = default;
  ~Placeholder() { End(); }
  Placeholder(const Placeholder&) = delete;
  Placeholder& operator=(const Placeholder&) = delete;

  absl::Status Begin() {
    pid_ = fork();
    if (pid_ < 0) return base::ErrnoStatus(errno, "fork");
    if (pid_ > 0) return absl::OkStatus();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  void End() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

class SystemdCgroup : public Cgroup {
 public:
  SystemdCgroup(std::unique_ptr<Cgroup> files, std::string slice, std::string unit)
      : files_(std::move(files)), slice_(std::move(slice)), unit_(std::move(unit)) {}

  int version() const override { return files_->version(); }

  absl::Status Create(pid_t) override {
    GANTRY_ASSIGN_OR_RETURN(SystemdManager systemd, SystemdManager::Connect());
    GANTRY_RETURN_IF_ERROR(placeholder_.Begin());
    absl::Status status = systemd.StartScope(unit_, slice_, placeholder_.pid());
    if (status.ok()) status = files_->Create(placeholder_.pid());
    if (status.ok()) status = Occupy();
    if (!status.ok()) placeholder_.End();
    return status;
  }
  void Entered() override { placeholder_.End(); }

  absl::Status Apply(const Resources& resources, bool initial) override {
    UnitProperties properties;
    GANTRY_RETURN_IF_ERROR(LimitProperties(resources, version() == 2, &properties));
    if (!properties.empty()) {
      GANTRY_ASSIGN_OR_RETURN(SystemdManager systemd, SystemdManager::Connect());
      GANTRY_RETURN_IF_ERROR(systemd.SetProperties(unit_, properties));
    }
    return files_->Apply(resources, initial);
  }

  absl::Status Remove(bool killed) override {
    placeholder_.End();
    GANTRY_RETURN_IF_ERROR(files_->Remove(killed));
    auto systemd = SystemdManager::Connect();
    // It may have been stopped meanwhile; its scopes are gone with it.
    return systemd.ok() ? systemd->Stop(unit_) : absl::OkStatus();
  }

  absl::Status Delegate(uid_t uid, gid_t gid) override { return files_->Delegate(uid, gid); }
  absl::StatusOr<std::vector<CgroupJoin>> OpenJoins(pid_t beside) override {
    return files_->OpenJoins(beside);
  }
  absl::Status Freeze(bool frozen) override { return files_->Freeze(frozen); }
  absl::StatusOr<bool> Frozen() const override { return files_->Frozen(); }
  absl::StatusOr<std::vector<pid_t>> Pids() const override { return files_->Pids(); }
  absl::Status KillAll() override { return files_->KillAll(); }
  absl::StatusOr<Metrics> Stats() const override { return files_->Stats(); }
  struct Remains Remains() const override {
    return files_->Remains();
  }
  absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom() const override { return files_->WatchOom(); }
  absl::Status PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                          std::vector<MountStep>* steps) const override {
    return files_->PlanMounts(mount, cgroup_namespace, steps);
  }
  std::string directory() const override { return files_->directory(); }

 private:
  // Of version 1's directories systemd makes some, and removes those that it has no use for as long
  // as they are empty.
  absl::Status Occupy() {
    GANTRY_ASSIGN_OR_RETURN(std::vector<CgroupJoin> joins, files_->OpenJoins(0));
    std::string pid = absl::StrCat(placeholder_.pid());
    for (const CgroupJoin& join : joins) {
      if (write(join.fd.get(), pid.data(), pid.size()) < 0) {
        return base::ErrnoStatus(errno, absl::StrCat("write to ", join.path));
      }
    }
    return absl::OkStatus();
  }

  std::unique_ptr<Cgroup> files_;
  std::string slice_, unit_;
  Placeholder placeholder_;
};

}  // namespace

std::unique_ptr<Cgroup> MakeSystemdCgroup(std::unique_ptr<Cgroup> files, std::string slice,
                                          std::string unit) {
  return std::make_unique<SystemdCgroup>(std::move(files), std::move(slice), std::move(unit));
}

}  // namespace gantry::oci
