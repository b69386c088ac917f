#ifndef GANTRY_SHIM_OCI_PROTOCOL_H_
#define GANTRY_SHIM_OCI_PROTOCOL_H_

#include <cstdint>

namespace gantry::oci {

// What the half-built process and its parent say to each other over a SOCK_SEQPACKET pair. The
// child sends Reports (one of them carries a descriptor); the parent answers with single bytes.

// Where in its way to execve the child is. Names: StageName() in explain.h.
enum class Stage : uint32_t {
  kJoinCgroup,
  kJoinNamespace,
  kUserNamespace,
  kUnshare,
  kTimeOffsets,
  kSession,
  kKeyring,
  kNetwork,
  kHostname,
  kSysctl,
  kPropagation,
  kRootfs,
  kMount,
  kCopyUp,
  kDevice,
  kConsole,
  kMask,
  kReadonly,
  kHook,
  kPivot,
  kStdio,
  kPersonality,
  kScheduler,
  kIoPriority,
  kMemoryPolicy,
  kAffinity,
  kLabel,
  kUser,
  kGroups,
  kCapabilities,
  kCwd,
  kLookup,
  kSeccomp,
  kDescriptors,
  kExec,
};

enum class ReportKind : uint32_t {
  kNeedMaps,   // write uid_map and gid_map, then answer
  kNeedHooks,  // mounts are made: run prestart and createRuntime hooks, then answer
  kConsole,    // carries the pty's master
  kStagedPid,  // carries the pidfd of the process cloned in our stead; value: its pid
  kListener,   // carries the descriptor of seccomp notifications
  kReady,      // waits for the answer that lets it execute the program
  kError,      // dead but for the answer, which lets it exit; see stage, error and object
};

struct Report {
  ReportKind kind = ReportKind::kError;
  Stage stage = Stage::kExec;
  int32_t error = 0;  // errno
  int32_t value = 0;
  char object[504] = {};  // the path or name that failed, NUL-terminated, cut when too long
};

constexpr char kContinue = 'C';

// Error numbers beyond errno's, for refusals of our own.
constexpr int kErrorProcMount = 10001;    // a mount over or below /proc
constexpr int kErrorCwdOutside = 10002;   // the working directory is not inside the container
constexpr int kErrorNotProcfs = 10003;    // /proc is no procfs where one was expected
constexpr int kErrorNotDevNull = 10004;   // /dev/null is not character device 1:3
constexpr int kErrorSymlink = 10005;      // must be a directory of its own, is a symbolic link
constexpr int kErrorNotInPath = 10006;    // no such program in $PATH
constexpr int kErrorHookStatus = 10007;   // a hook exited with report.value
constexpr int kErrorHookTimeout = 10008;  // a hook ran out of time
constexpr int kErrorNotPty = 10009;       // /dev/pts/ptmx is no pty multiplexer
constexpr int kErrorParentGone = 10010;

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_PROTOCOL_H_
