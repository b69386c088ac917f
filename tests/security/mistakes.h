#ifndef GANTRY_TESTS_SECURITY_MISTAKES_H_
#define GANTRY_TESTS_SECURITY_MISTAKES_H_

// Mistakes that runtimes once made, made again on purpose: a test that never saw its attack succeed
// proves nothing. The product's own objects are linked with a layer between them and what they call
// (ld --wrap: calls of the kernel, and a few functions between two files of ours); the layer only
// passes on until a mistake is chosen. Nothing that is installed contains any of it.

namespace gantry::tests {

enum class Mistake {
  kNone,
  // Paths of a container
  kFollowsLinksOut,      // openat instead of openat2: links and ".." lead to the host
  kKernelFsOverLinks,    // /proc, /sys, /dev and the console may be symbolic links
  kMountsOverProc,       // where a mount point really lies is not looked at
  kAnyWorkingDirectory,  // magic links lead there, and nobody asks where it is
  kWorkdirOnHost,        // made by its path beneath the root file system, before entering it
  kContainersDevNull,    // masks come from the container's /dev/null, whatever it is
  kNoMasks,              // masked and read-only paths are forgotten
  kFilesOfAnyKind,       // fifos and devices are read as if they were files
  kAnySysctl,            // names of kernel parameters are not checked
  kSysctlsInRootfs,      // and written by their path beneath the root file system
  kReadonlyAtTopOnly,    // no mount below a read-only one is
  // Processes
  kDumpable,                 // while entering the container
  kWritableProgram,          // the engine runs from where it is installed
  kLeaksDescriptors,         // of whoever started the engine
  kAmbientCapabilities,      // and so capabilities for every user
  kInheritableCapabilities,  // by default
  kAllCapabilities,          // and no filter
  kNoFilter,                 // seccomp is forgotten
  kKeepsGroups,              // of whoever started the engine
  kSharesNamespaces,         // with the host, but for mounts
  // Users
  kBadNumbersAreZero,   // what cannot be parsed is root
  kNumbersAreNames,     // numeric users are looked up as names in the image
  kPasswdThroughLinks,  // /etc/passwd of an image may be a link to the host's
  // Daemons
  kTrustsEveryPeer,  // of a shim's socket
  kAbstractSockets,  // beside those that are files
  kOpenDirectories,  // 0755
  kForgetsToClose,   // terminals
  // For programs that know nothing of mistakes, by number
  kJoinsPaths = 100,  // openat instead of openat2, everywhere
  // Networks
  kLoopbackForAll = 200,       // route_localnet without a guard
  kAnyDestination = 201,       // a published port is one of every host
  kDirectAccess = 202,         // whoever routes through the host gets in; networks mix
  kInternalLeadsOut = 203,     // internal networks are like others
  kIpv6Everywhere = 204,       // and routers are listened to
  kAsksForInternal = 205,      // DNS of internal networks is forwarded
  kForgetsRules = 206,         // rules that others flush stay away
  kLoopbackFromTheWire = 207,  // 127.0.0.1 is published to neighbours
};

// For this process and those it makes from now on, also those that execute another program with
// mistakes ($GANTRY_MISTAKE).
void Make(Mistake mistake);

bool Makes(Mistake mistake);
// Only in a process made since: the test itself sees straight.
bool ChildMakes(Mistake mistake);

// Puts a function before one of another file. CMakeLists.txt finds the names in the sources.
#define GANTRY_LAYER(result, name, mangled, ...)             \
  result Real##name(__VA_ARGS__) __asm__("__real_" mangled); \
  result Wrap##name(__VA_ARGS__) __asm__("__wrap_" mangled); \
  result Wrap##name(__VA_ARGS__)

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_SECURITY_MISTAKES_H_
