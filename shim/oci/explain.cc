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
#include "base/file.h"
#include "base/status.h"

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

// The string of PT_INTERP within the first bytes and beyond.
std::string ElfInterpreter(int fd, const std::string& head) {
  if (head.size() < sizeof(Elf64_Ehdr) || head[EI_CLASS] != ELFCLASS64) return {};
  Elf64_Ehdr header;
  memcpy(&header, head.data(), sizeof header);
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return {};
  for (int i = 0; i < std::min<int>(header.e_phnum, 64); ++i) {
    Elf64_Phdr program;
    off_t at = static_cast<off_t>(header.e_phoff) + i * static_cast<off_t>(sizeof program);
    if (pread(fd, &program, sizeof program, at) != sizeof program) return {};
    if (program.p_type != PT_INTERP || program.p_filesz == 0 || program.p_filesz > 4096) continue;
    std::string name(program.p_filesz, '\0');
    if (pread(fd, name.data(), name.size(), static_cast<off_t>(program.p_offset)) !=
        static_cast<ssize_t>(name.size())) {
      return {};
    }
    return name.c_str();
  }
  return {};
}

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
  if (name.empty()) return script ? "its #! line names no interpreter" : std::string();
  if (script && name.back() == '\r') {
    return absl::StrCat(
        "its #! line ends with a carriage return (Windows line ends), so the "
        "interpreter \"",
        absl::CEscape(name), "\" does not exist");
  }
  auto st = StatUnder(root_fd, name);
  std::string what = absl::StrCat("its interpreter \"", absl::CEscape(name), "\"");
  if (!st) return what + " does not exist in the container";
  if (!S_ISREG(st->st_mode)) return what + " is not a regular file";
  if ((st->st_mode & 0111) == 0) return what + " is not executable";
  return {};
}

std::string ExplainMode(int fd, const struct stat& st) {
  struct statvfs fs;
  if (fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_NOEXEC) != 0) {
    return "it lies on a mount with the option noexec";
  }
  if (S_ISDIR(st.st_mode)) return "it is a directory";
  if (!S_ISREG(st.st_mode)) return "it is not a regular file";
  if ((st.st_mode & 0111) == 0) return "no execute bit is set in its mode";
  return {};
}

absl::Status ExecStatus(const Report& report, pid_t child) {
  std::string object = report.object;
  int error = report.error;
  std::string quoted = absl::StrCat("exec: \"", object, "\": ");
  if (error == kErrorNotInPath) {
    return absl::NotFoundError(quoted + "executable file not found in $PATH");
  }
  if (error == EISDIR) return absl::PermissionDeniedError(quoted + "is a directory");
  std::string more;
  if (child > 0) {
    auto root = base::Open(absl::StrCat("/proc/", child, "/root"), O_PATH | O_DIRECTORY);
    if (root.ok()) more = ExplainExec(root->get(), object, error);
  }
  std::string text;
  if (report.stage == Stage::kLookup && error == ENOENT) {
    text = absl::StrCat(quoted, "stat ", object, ": no such file or directory");
  } else if (report.stage == Stage::kLookup) {
    text = absl::StrCat(quoted, ErrorText(error, 0));
  } else {
    text = absl::StrCat("exec ", object, ": ",
                        error == ENOEXEC ? "exec format error" : ErrorText(error, 0));
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
                                                 "working directory",
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
    return error == ENOEXEC ? "it is neither an ELF program nor a script with a #! line" : "";
  }
  uint16_t machine;
  memcpy(&machine, head.data() + EI_NIDENT + 2, sizeof machine);
  if (machine != kOwnMachine && error == ENOEXEC) {
    return absl::StrCat("it is built for ", MachineName(machine), " (ELF machine ", machine,
                        "), this machine is ", MachineName(kOwnMachine));
  }
  return ExplainInterpreter(root_fd, ElfInterpreter(file->get(), head), false);
}

absl::Status ExplainReport(const Report& report, pid_t child) {
  if (report.stage == Stage::kLookup || report.stage == Stage::kExec) {
    return ExecStatus(report, child);
  }
  absl::Status coded = base::ErrnoStatus(StatusErrno(report.error), "x");
  std::string text = absl::StrCat(StageName(report.stage), " \"", report.object,
                                  "\": ", ErrorText(report.error, report.value));
  if (report.stage == Stage::kMount && report.error == ENODEV) {
    absl::StrAppend(&text, ": the kernel does not know this file system type");
  }
  return absl::Status(coded.code(), text);
}

}  // namespace gantry::oci
