#include "shim/oci/explain.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "shim/oci/elf_program.h"

namespace gantry::oci {
namespace {

std::string ErrorText(int error, int value) {
  switch (error) {
    case kErrorProcMount:
      return "a mount over /proc or below it is not allowed";
    case kErrorCwdOutside:
      return "the directory is not inside the container's root";
    case kErrorNotProcfs:
      return "it is not on a genuine procfs";
    case kErrorNotDevNull:
      return "the host's /dev/null is not the character device 1:3";
    case kErrorSymlink:
      return "it must be a directory of the root file system, not a symbolic link";
    case kErrorHookStatus:
      return absl::StrCat("it ended with status ", value);
    case kErrorHookTimeout:
      return "it did not end within its timeout and was killed";
    case kErrorNotPty:
      return "it is not the multiplexer of a devpts: mount devpts on /dev/pts";
    default:
      return absl::AsciiStrToLower(strerror(error));
  }
}

int StatusErrno(int error) {
  switch (error) {
    case kErrorProcMount:
    case kErrorCwdOutside:
    case kErrorNotProcfs:
    case kErrorSymlink:
      return EINVAL;
    case kErrorNotInPath:
      return ENOENT;
    default:
      return error > 10000 ? EIO : error;
  }
}

absl::string_view MachineName(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86_64";
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "aarch64";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return "riscv";
    case EM_PPC64:
      return "ppc64";
    case EM_S390:
      return "s390";
    case EM_MIPS:
      return "mips";
    case EM_LOONGARCH:
      return "loongarch";
    default:
      return "another architecture";
  }
}

#if defined(__x86_64__)
constexpr uint16_t kOwnMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kOwnMachine = EM_AARCH64;
#else
constexpr uint16_t kOwnMachine = EM_NONE;
#endif

std::string ShebangInterpreter(const std::string& head) {
  size_t start = head.find_first_not_of(" \t", 2);
  if (start == std::string::npos) return {};
  size_t end = head.find_first_of(" \t\n", start);
  return head.substr(start, end == std::string::npos ? std::string::npos : end - start);
}

std::optional<struct stat> StatUnder(int root_fd, const std::string& path) {
  auto fd = base::OpenUnder(root_fd, path, O_PATH);
  struct stat st;
  if (!fd.ok() || fstat(fd->get(), &st) != 0) return std::nullopt;
  return st;
}

std::string ExplainInterpreter(int root_fd, const std::string& name, bool script) {
  if (name.empty())
    return script ? "its #! line names no interpreter: write one, such as #!/bin/sh"
                  : std::string();
  if (script && name.back() == '\r') {
    return absl::StrCat(
        "its #! line ends with a carriage return (Windows line ends), so the "
        "interpreter \"",
        absl::CEscape(name), "\" does not exist: save it with Unix line ends (dos2unix)");
  }
  auto st = StatUnder(root_fd, name);
  std::string what = absl::StrCat("its interpreter \"", absl::CEscape(name), "\"");
  if (!st && script) {
    return what + " does not exist in the container: install it or correct the #! line";
  }
  if (!st) {
    return what +
           " does not exist in the container: use an image with the C library that it was "
           "built for, or link it statically";
  }
  if (!S_ISREG(st->st_mode)) return what + " is not a regular file";
  if ((st->st_mode & 0111) == 0) return what + " is not executable";
  return {};
}

std::string ExplainMode(int fd, const struct stat& st) {
  struct statvfs fs;
  if (fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOEXEC) != 0) {
    return "it lies on a mount with the option noexec: mount that without it";
  }
  if (S_ISDIR(st.st_mode)) return "it is a directory";
  if (!S_ISREG(st.st_mode)) return "it is not a regular file";
  if ((st.st_mode & 0111) == 0)
    return "no execute bit is set in its mode: chmod +x it in the image";
  return absl::StrFormat(
      "the container's user may not execute it or search its directories (owner %d:%d, mode %04o): "
      "run as another user or change the mode in the image",
      st.st_uid, st.st_gid, st.st_mode & 07777);
}

constexpr absl::string_view kProcessLimit =
    ": a limit of processes is reached: raise linux.resources.pids.limit, RLIMIT_NPROC or "
    "kernel.pid_max";

// What to do about a failure whose cause is known, with ": " before it.
absl::string_view Remedy(const Report& report) {
  struct Known {
    Stage stage;
    int error;
    absl::string_view text;
  };
  static constexpr absl::string_view kUnmapped =
      ": the user namespace does not map it: extend linux.uidMappings and gidMappings, or choose "
      "another user";
  static constexpr Known kKnown[] = {
      {Stage::kMount, ENODEV, ": the kernel does not know this file system type"},
      {Stage::kUser, EINVAL, kUnmapped},
      {Stage::kGroups, EINVAL, kUnmapped},
      {Stage::kCwd, ENOENT, ": make it in the image or choose another one"},
      {Stage::kCwd, ENOTDIR, ": choose a directory"},
      {Stage::kCwd, EACCES, ": the engine may not enter it"},
      {Stage::kScheduler, EPERM,
       ": the engine lacks CAP_SYS_NICE or the kernel's group scheduler "
       "has no realtime time for this cgroup"},
      {Stage::kIoPriority, EPERM, ": the engine lacks CAP_SYS_ADMIN and CAP_SYS_NICE"},
      {Stage::kMemoryPolicy, ENOSYS, ": the kernel has no NUMA"}};
  for (const Known& known : kKnown) {
    if (known.stage == report.stage && known.error == report.error) return known.text;
  }
  return report.error == EAGAIN ? kProcessLimit : absl::string_view();
}

absl::Status ExecStatus(const Report& report, pid_t child) {
  std::string object = report.object;
  int error = report.error;
  std::string quoted = absl::StrCat("exec: \"", object, "\": ");
  if (error == kErrorNotInPath) {
    return absl::NotFoundError(quoted +
                               "executable file not found in $PATH: give its full path or "
                               "add it to the image");
  }
  if (error == EISDIR) return absl::PermissionDeniedError(quoted + "is a directory");
  std::string more;
  if (child > 0) {
    auto root = base::Open(absl::StrCat("/proc/", child, "/root"), O_PATH | O_DIRECTORY);
    if (root.ok()) more = ExplainExec(root->get(), object, error);
  }
  std::string text;
  if (report.stage == Stage::kLookup && error == ENOENT) {
    text = absl::StrCat(quoted, "stat ", object,
                        ": no such file or directory: correct the path or add it to the image");
  } else if (report.stage == Stage::kLookup) {
    text = absl::StrCat(quoted, ErrorText(error, 0));
  } else {
    text = absl::StrCat("exec ", object, ": ",
                        error == ENOEXEC ? "exec format error" : ErrorText(error, 0),
                        error == EAGAIN ? kProcessLimit : "");
  }
  if (!more.empty()) absl::StrAppend(&text, ": ", more);
  // The status' message is ours; its code and errno those of the failure.
  absl::Status coded = base::ErrnoStatus(error, "x");
  absl::StatusCode code = error == ENOEXEC ? absl::StatusCode::kInvalidArgument : coded.code();
  return absl::Status(code, text);
}

}  // namespace

absl::string_view StageName(Stage stage) {
  static constexpr absl::string_view kNames[] = {"join cgroup",
                                                 "join namespace",
                                                 "user namespace",
                                                 "unshare",
                                                 "set time offsets",
                                                 "new session",
                                                 "session keyring",
                                                 "loopback",
                                                 "set hostname",
                                                 "write sysctl",
                                                 "set propagation of",
                                                 "mount rootfs",
                                                 "mount on",
                                                 "copy up",
                                                 "make device",
                                                 "set up console",
                                                 "mask",
                                                 "make read-only",
                                                 "run hook",
                                                 "pivot_root to",
                                                 "set up stdio",
                                                 "set personality",
                                                 "set scheduler",
                                                 "set I/O priority",
                                                 "set memory policy",
                                                 "set CPU affinity",
                                                 "set label",
                                                 "set user",
                                                 "set groups",
                                                 "set capabilities",
                                                 "chdir to working directory",
                                                 "exec",
                                                 "load seccomp",
                                                 "pass descriptors",
                                                 "exec"};
  size_t index = static_cast<size_t>(stage);
  return index < std::size(kNames) ? kNames[index] : "unknown stage";
}

std::string ExplainExec(int root_fd, const std::string& program, int error) {
  auto fd = base::OpenUnder(root_fd, program, O_PATH);
  struct stat st;
  if (!fd.ok() || fstat(fd->get(), &st) != 0) return {};
  if (error == EACCES) {
    std::string mode = ExplainMode(fd->get(), st);
    if (!mode.empty()) return mode;
  }
  if (!S_ISREG(st.st_mode)) return {};
  auto file = base::OpenUnder(root_fd, program, O_RDONLY | O_NONBLOCK);
  if (!file.ok()) return {};
  std::string head(256, '\0');
  ssize_t n = pread(file->get(), head.data(), head.size(), 0);
  head.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (head.empty()) return "the file is empty";
  if (absl::StartsWith(head, "#!")) {
    return ExplainInterpreter(root_fd, ShebangInterpreter(head), true);
  }
  if (head.size() < EI_NIDENT + 4 || memcmp(head.data(), ELFMAG, SELFMAG) != 0) {
    return error == ENOEXEC ? "it is neither an ELF program nor a script with a #! line: add one, "
                              "such as #!/bin/sh"
                            : "";
  }
  uint16_t machine;
  memcpy(&machine, head.data() + EI_NIDENT + 2, sizeof machine);
  if (machine != kOwnMachine && error == ENOEXEC) {
    return absl::StrCat("it is built for ", MachineName(machine), " (ELF machine ", machine,
                        "), this machine is ", MachineName(kOwnMachine),
                        ": use an image of this platform, or register an emulator (binfmt_misc)");
  }
  auto elf = ReadElf(file->get());
  return ExplainInterpreter(root_fd, elf ? elf->interpreter : std::string(), false);
}

namespace {

std::optional<std::string> Variable(const ProcessSpec& process, absl::string_view name) {
  std::optional<std::string> value;
  for (const std::string& entry : process.env) {
    absl::string_view text = entry;
    if (absl::ConsumePrefix(&text, name) && absl::ConsumePrefix(&text, "=")) {
      value = std::string(text);
    }
  }
  return value;
}

std::string FindInPath(int root_fd, const ProcessSpec& process) {
  const std::string& name = process.args[0];
  if (absl::StrContains(name, '/')) return name;
  for (absl::string_view dir : absl::StrSplit(Variable(process, "PATH").value_or(""), ':')) {
    std::string path = absl::StrCat(dir, "/", name);
    if (StatUnder(root_fd, path)) return path;
  }
  return {};
}

// Where a dynamic linker looks: the program's own paths, LD_LIBRARY_PATH, what glibc's and musl's
// configurations say, and the usual ones.
std::vector<std::string> LibraryPaths(int root_fd, const ProcessSpec& process,
                                      const ElfProgram& elf, const std::string& program) {
  std::vector<std::string> dirs;
  std::string origin = program.substr(0, program.rfind('/'));
  for (const std::string& dir : elf.run_path) {
    dirs.push_back(absl::StrReplaceAll(dir, {{"$ORIGIN", origin}, {"${ORIGIN}", origin}}));
  }
  for (absl::string_view dir :
       absl::StrSplit(Variable(process, "LD_LIBRARY_PATH").value_or(""), ':', absl::SkipEmpty())) {
    dirs.emplace_back(dir);
  }
  std::vector<std::string> files = {"/etc/ld.so.conf", "/etc/ld-musl-x86_64.path",
                                    "/etc/ld-musl-aarch64.path"};
  auto configured = base::OpenUnder(root_fd, "/etc/ld.so.conf.d", O_RDONLY | O_DIRECTORY);
  auto names = configured.ok() ? base::ListDirFd(configured->get())
                               : absl::StatusOr<std::vector<std::string>>();
  if (names.ok()) {
    for (const std::string& name : *names) files.push_back("/etc/ld.so.conf.d/" + name);
  }
  for (const std::string& file : files) {
    auto fd = base::OpenUnder(root_fd, file, O_RDONLY | O_NONBLOCK);
    auto text = fd.ok() ? base::ReadFd(fd->get(), 64 << 10) : absl::StatusOr<std::string>();
    if (!text.ok()) continue;
    for (absl::string_view line : absl::StrSplit(*text, absl::ByAnyChar("\n:"))) {
      if (absl::StartsWith(line, "/")) dirs.emplace_back(absl::StripAsciiWhitespace(line));
    }
  }
  for (const char* dir : {"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}) {
    dirs.push_back(dir);
    dirs.push_back(absl::StrCat(dir, "/x86_64-linux-gnu"));
    dirs.push_back(absl::StrCat(dir, "/aarch64-linux-gnu"));
  }
  return dirs;
}

}  // namespace

std::string ExplainExit(int root_fd, const ProcessSpec& process, int status) {
  constexpr int kLinkerFailed = 127;  // also what a shell says of an unknown command
  if (status != kLinkerFailed || process.args.empty()) return {};
  std::string program = FindInPath(root_fd, process);
  auto fd = base::OpenUnder(root_fd, program, O_RDONLY | O_NONBLOCK);
  auto elf = fd.ok() ? ReadElf(fd->get()) : std::nullopt;
  if (!elf || elf->interpreter.empty()) return {};
  std::vector<std::string> dirs = LibraryPaths(root_fd, process, *elf, program);
  for (const std::string& library : elf->libraries) {
    bool found = absl::StrContains(library, '/')
                     ? StatUnder(root_fd, library).has_value()
                     : std::any_of(dirs.begin(), dirs.end(), [&](const std::string& dir) {
                         return StatUnder(root_fd, absl::StrCat(dir, "/", library)).has_value();
                       });
    if (!found) {
      return absl::StrCat("exec ", program, ": its library \"", absl::CEscape(library),
                          "\" is not in the container: install the package that has it, or set "
                          "LD_LIBRARY_PATH");
    }
  }
  return {};
}

absl::Status ExplainReport(const Report& report, pid_t child) {
  if (report.stage == Stage::kLookup || report.stage == Stage::kExec) {
    return ExecStatus(report, child);
  }
  absl::Status coded = base::ErrnoStatus(StatusErrno(report.error), "x");
  std::string object = report.object;
  if (report.stage == Stage::kUser && report.value != 0)
    absl::StrAppend(&object, " ", report.value);
  std::string text = absl::StrCat(StageName(report.stage), " \"", object,
                                  "\": ", ErrorText(report.error, report.value), Remedy(report));
  return absl::Status(coded.code(), text);
}

}  // namespace gantry::oci
