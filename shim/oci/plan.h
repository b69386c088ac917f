#ifndef GANTRY_SHIM_OCI_PLAN_H_
#define GANTRY_SHIM_OCI_PLAN_H_

// What a child between clone and execve has to do, prepared to the last byte by the parent: the
// child reads these structures and allocates nothing. All descriptors are close-on-exec and owned
// by the plan.

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// A vector of strings with the pointer array that execve wants.
class CStrings {
 public:
  CStrings() = default;
  explicit CStrings(std::vector<std::string> strings) : strings_(std::move(strings)) { Index(); }
  CStrings(CStrings&& other) noexcept : strings_(std::move(other.strings_)) { Index(); }
  CStrings& operator=(CStrings&& other) noexcept {
    strings_ = std::move(other.strings_);
    Index();
    return *this;
  }
  char* const* data() const { return const_cast<char* const*>(pointers_.data()); }
  size_t size() const { return strings_.size(); }
  const std::string& operator[](size_t i) const { return strings_[i]; }

 private:
  void Index() {
    pointers_.clear();
    for (const std::string& s : strings_) pointers_.push_back(s.c_str());
    pointers_.push_back(nullptr);
  }
  std::vector<std::string> strings_;
  std::vector<const char*> pointers_{nullptr};
};

struct HookPlan {
  std::string path;
  CStrings argv;
  CStrings env;
  std::string cwd;
  int timeout_seconds = 0;
};

// The program and what surrounds it; the same for a container's first process and for exec.
struct ProcessPlan {
  CStrings argv;
  CStrings env;
  std::string search_path;  // of the process' environment, for a name without '/'
  bool home_slot = false;   // the last entry of env is room for "HOME=…" (5 + PATH_MAX bytes)
  std::string cwd;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  bool set_groups = true;
  mode_t umask = 022;
  std::optional<CapabilitySets> caps;
  bool no_new_privs = false;
  std::vector<sock_filter> seccomp;  // empty: none
  unsigned int seccomp_flags = 0;
  std::string apparmor_exec;  // written to /proc/self/attr/apparmor/exec; empty: none
  std::string selinux_exec;
  std::optional<uint32_t> personality;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  std::optional<MemoryPolicy> memory_policy;
  // Set by the child before it becomes another user, because the parent may then no longer do it
  // without CAP_SYS_RESOURCE (prlimit(2)); empty when the parent does it.
  std::vector<Rlimit> rlimits;
  bool terminal = false;
  uint16_t rows = 0;
  uint16_t columns = 0;
  int io[3] = {-1, -1, -1};  // -1: dev_null; not owned
  base::UniqueFd dev_null;   // the host's, verified
  std::vector<int> preserve_fds;
};

struct JoinPlan {
  int flag = 0;
  std::string path;
  base::UniqueFd fd;
};

struct CgroupJoin {
  std::string path;
  base::UniqueFd fd;  // `tasks` (v1) or `cgroup.procs` (v2), open for writing
};

struct NamespacePlan {
  int clone_flags = 0;          // made by clone
  bool unshare_cgroup = false;  // after the cgroups were joined
  std::vector<JoinPlan> joins;  // without the pid namespace, which the parent joins; user first
  base::UniqueFd join_pid;      // joined by whoever clones
  bool maps = false;            // a new user namespace: ask for maps
  bool new_time = false;        // a new time namespace, made by RunStaged
  std::string time_offsets;     // for /proc/self/timens_offsets
  bool becomes_root = false;    // any user namespace: take uid and gid 0 in it before all else
  bool staged = false;          // RunStaged
  bool new_network = false;     // bring lo up
  std::string hostname;
  std::string domainname;
  std::vector<std::pair<std::string, std::string>> sysctls;  // {"/proc/sys/…", value}
  std::string keyring;                                       // empty: keep the session's
  std::vector<CgroupJoin> cgroups;
  CpuAffinity affinity;  // before and after the cgroups are joined
};

struct MountStep {
  enum class Kind { kNew, kTree, kRemount, kSymlink };
  Kind kind = Kind::kNew;
  std::string destination;
  std::string type;
  std::string source;
  std::string data;
  unsigned long flags = 0;  // MS_*
  base::UniqueFd tree;      // kTree: a detached mount with all its attributes set
  bool directory = true;    // what to make when the destination is missing
  std::vector<unsigned long> propagation;
  bool readonly_later = false;  // after everything was made inside
  bool copy_up = false;         // kNew: fill with what lies at the destination
  uint64_t recursive_set = 0;   // MOUNT_ATTR_* for the whole new mount
  uint64_t recursive_cleared = 0;
  bool inherit_mode = false;       // tmpfs without a mode: that of the directory it hides
  bool fall_back_to_tree = false;  // kNew: use `tree` when the kernel refuses (EPERM, EBUSY)
};

struct DeviceStep {
  Device device;
  base::UniqueFd tree;  // bound instead when mknod is not allowed (user namespaces)
};

struct RootfsPlan {
  bool enabled = false;      // false when the mount namespace is a joined one
  base::UniqueFd tree;       // the root file system, detached
  std::string path;          // of the root file system, for messages
  bool shared_root = false;  // keep mounts shared with the host (rootfsPropagation)
  unsigned long final_propagation = 0;
  bool readonly = false;
  std::string cwd;  // made while the root is still writable
  bool no_pivot = false;
  std::vector<MountStep> mounts;
  bool setup_dev = false;
  std::vector<DeviceStep> devices;
  std::vector<std::string> masked;
  std::vector<std::string> readonly_paths;
};

struct InitPlan {
  NamespacePlan namespaces;
  RootfsPlan rootfs;
  ProcessPlan process;
  bool parent_hooks = false;
  base::UniqueFd start_listener;  // wait here for the word to start instead of on the link
  std::vector<HookPlan> create_container;
  std::vector<HookPlan> start_container;
  // The state document for hooks around the pid: prefix + pid + suffix.
  std::string creating_prefix, created_prefix, state_suffix;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_PLAN_H_
