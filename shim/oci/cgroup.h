#ifndef GANTRY_SHIM_OCI_CGROUP_H_
#define GANTRY_SHIM_OCI_CGROUP_H_

// The control groups of one container behind one face: version 1 (one hierarchy per controller, a
// hybrid's cgroup2 mount is left alone, as runc does) and version 2. Where systemd is to manage
// them, the directories are those of a transient scope that it makes and ends.

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/oci/container.h"
#include "shim/oci/metrics.h"
#include "shim/oci/plan.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// One mounted hierarchy of version 1.
struct CgroupHierarchy {
  std::string mount_point;               // "/sys/fs/cgroup/cpu"
  std::vector<std::string> controllers;  // {"cpu"}, {"cpu", "cpuacct"}, {"name=systemd"}
  bool Has(absl::string_view controller) const;
};

// How this machine arranges its cgroups.
struct CgroupSystem {
  bool v2 = false;
  std::string root = "/sys/fs/cgroup";       // of version 2
  std::vector<CgroupHierarchy> hierarchies;  // of version 1
};

// Reads /proc/self/mountinfo. FailedPrecondition when no cgroup file system is mounted.
absl::StatusOr<CgroupSystem> DetectCgroups();
absl::StatusOr<CgroupSystem> ParseCgroupMounts(absl::string_view mountinfo);

// The container's path below each hierarchy's root, absolute and clean ("..", "//" gone):
//   ""                   → "/NS/ID" ("/ID" without a namespace)
//   "/a/b"               → "/a/b"
//   "a/b"                → "/a/b" below `own`, the engine's own cgroup
//   "a-b.slice:p:name"   → "/a.slice/a-b.slice/p-name.scope", when `systemd` is set
absl::StatusOr<std::string> CgroupPath(absl::string_view spec_path, const std::string& ns,
                                       const std::string& id, bool systemd, absl::string_view own);
// This process' cgroup in the hierarchy of `controller` ("" for version 2) by the text of
// /proc/self/cgroup; "/" when it is not there.
std::string OwnCgroup(absl::string_view proc_self_cgroup, absl::string_view controller);

class Cgroup {
 public:
  // Nothing is made yet. `path` as CgroupPath gives it; a relative spec path is resolved for each
  // hierarchy apart, therefore the arguments are those of CgroupPath.
  static absl::StatusOr<std::unique_ptr<Cgroup>> Make(const CgroupSystem& system,
                                                      absl::string_view spec_path,
                                                      const std::string& ns, const std::string& id,
                                                      bool systemd);
  virtual ~Cgroup() = default;

  virtual int version() const = 0;
  // Makes the directories. FailedPrecondition when one exists and has processes in it but `tenant`.
  virtual absl::Status Create(pid_t tenant = 0) = 0;
  // The container's first process has joined.
  virtual void Entered() {}
  // Writes what `resources` has. `initial`: device rules too, deny-all first and the devices every
  // container has last. A limit that cannot be set is an error, never skipped.
  virtual absl::Status Apply(const Resources& resources, bool initial) = 0;
  // Lets `uid` and `gid` (of the host) manage sub-cgroups. Nothing in version 1, where that would
  // hand out limits as well.
  virtual absl::Status Delegate(uid_t, gid_t) { return absl::OkStatus(); }
  // Files through which a child joins by writing "0". `beside` (0: nobody) is a process of the
  // container to join when the cgroup itself may have none, because the container delegates
  // controllers to sub-cgroups (version 2, "no internal processes").
  virtual absl::StatusOr<std::vector<CgroupJoin>> OpenJoins(pid_t beside) = 0;
  virtual absl::Status Freeze(bool frozen) = 0;
  virtual absl::StatusOr<bool> Frozen() const = 0;
  virtual absl::StatusOr<std::vector<pid_t>> Pids() const = 0;  // with those of sub-cgroups
  // SIGKILL to all, by freezing or cgroup.kill so that no fork escapes; they die in their own time.
  // OK when there is nobody.
  virtual absl::Status KillAll() = 0;
  virtual absl::StatusOr<Metrics> Stats() const = 0;
  virtual struct Remains Remains() const = 0;
  virtual absl::StatusOr<std::unique_ptr<OomWatch>> WatchOom() const = 0;
  // Removes the directories with their sub-cgroups. Processes in them are an error (errno EBUSY) at
  // once or, when they were `killed` by KillAll, after up to ten seconds.
  virtual absl::Status Remove(bool killed = false) = 0;
  // Steps that show the cgroups inside the container at `mount.destination`.
  virtual absl::Status PlanMounts(const MountSpec& mount, bool cgroup_namespace,
                                  std::vector<MountStep>* steps) const = 0;
  // The directory by which the container is known (the pids or unified one), for messages.
  virtual std::string directory() const = 0;

 private:
  static absl::StatusOr<std::unique_ptr<Cgroup>> MakeFiles(const CgroupSystem& system,
                                                           absl::string_view spec_path,
                                                           const std::string& ns,
                                                           const std::string& id, bool systemd);
};

// --- shared by both versions (cgroup.cc)

// Writes to an existing file; the message names file, value and cause.
absl::Status WriteCgroupFile(const std::string& dir, absl::string_view file,
                             absl::string_view value);
absl::StatusOr<std::string> ReadCgroupFile(const std::string& dir, absl::string_view file);
// A single number; "max" is UINT64_MAX. 0 when the file is missing or holds no number.
uint64_t ReadCgroupNumber(const std::string& dir, absl::string_view file);
// Lines of "key value".
std::map<std::string, uint64_t> ReadCgroupKeys(const std::string& dir, absl::string_view file);
// mkdir -p below `root`. *existed tells whether the last one was there before.
absl::Status MakeCgroupDirs(const std::string& root, const std::string& path, bool* existed);
// FailedPrecondition when processes other than `tenant` (0: nobody) are in the cgroup.
absl::Status CheckCgroupIsFree(const std::string& dir, pid_t tenant);
// rmdir of a directory and its sub-cgroups; see Cgroup::Remove.
absl::Status RemoveCgroupDir(const std::string& dir, bool killed);
void CollectPids(const std::string& dir, std::vector<pid_t>* pids);
std::vector<RdmaEntry> ReadRdma(const std::string& dir, absl::string_view file);

// The rules that a container gets: all denied, the specification's, then the devices that every
// container may use.
std::vector<DeviceRule> CompleteDeviceRules(const std::vector<DeviceRule>& rules);
// Devices that exist in every container.
const std::vector<Device>& DefaultDevices();

// For users without a cgroup: nothing is made, and what needs one is FailedPrecondition.
std::unique_ptr<Cgroup> MakeNoCgroup();
absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV1(const CgroupSystem& system,
                                                     std::vector<std::string> directories);
absl::StatusOr<std::unique_ptr<Cgroup>> MakeCgroupV2(const CgroupSystem& system, std::string path);
// The cgroup of a systemd scope in `slice`, made and ended by systemd and managed through `files`.
std::unique_ptr<Cgroup> MakeSystemdCgroup(std::unique_ptr<Cgroup> files, std::string slice,
                                          std::string unit);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_CGROUP_H_
