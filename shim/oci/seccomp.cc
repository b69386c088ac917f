#include "shim/oci/seccomp.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "shim/oci/json_reader.h"

namespace gantry::oci {
namespace {

struct ContextDeleter {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextDeleter>;

constexpr std::pair<absl::string_view, uint32_t> kActions[] = {
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM)},
    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(EPERM)},
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY}};

constexpr std::pair<absl::string_view, scmp_compare> kOperators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};

struct Architecture {
  absl::string_view name;
  uint32_t token;       // libseccomp's
  uint32_t audit_arch;  // what the kernel shows a filter
};
constexpr Architecture kArchitectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86, AUDIT_ARCH_I386},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32, AUDIT_ARCH_X86_64},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM, AUDIT_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS, AUDIT_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64, AUDIT_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32, AUDIT_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL, AUDIT_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64, AUDIT_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32, AUDIT_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", SCMP_ARCH_PPC, AUDIT_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64, AUDIT_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE, AUDIT_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390, AUDIT_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X, AUDIT_ARCH_S390X},
    {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC, AUDIT_ARCH_PARISC},
    {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64, AUDIT_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64, AUDIT_ARCH_RISCV64}};

constexpr unsigned int kWaitKillable = 1u << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 5.19
constexpr std::pair<absl::string_view, unsigned int> kFilterFlags[] = {
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    // One thread loads it: there is nobody to synchronize.
    {"SECCOMP_FILTER_FLAG_TSYNC", 0},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", kWaitKillable}};

constexpr uint32_t kX32Bit = 0x40000000;

struct Profile {
  uint32_t default_action = SCMP_ACT_ALLOW;
  std::vector<Architecture> architectures;
  unsigned int flags = 0;
};

std::optional<uint32_t> ReadAction(const JsonReader& owner, absl::string_view key,
                                   std::optional<uint64_t> error) {
  std::string name = owner.String(key);
  for (const auto& [known, action] : kActions) {
    if (known != name) continue;
    if (error && (name == "SCMP_ACT_ERRNO" || name == "SCMP_ACT_TRACE")) {
      uint32_t data = static_cast<uint32_t>(*error) & 0xffff;
      return name == "SCMP_ACT_ERRNO" ? SCMP_ACT_ERRNO(data) : SCMP_ACT_TRACE(data);
    }
    return action;
  }
  owner.At(key).Fail(absl::StrCat("unknown seccomp action \"", name, "\""));
  return std::nullopt;
}

unsigned int ReadFlags(const JsonReader& reader) {
  unsigned int flags = 0;
  for (const JsonReader& item : reader.At("flags").Items()) {
    std::string name = item.AsString();
    auto known = std::find_if(std::begin(kFilterFlags), std::end(kFilterFlags),
                              [&](const auto& flag) { return flag.first == name; });
    if (known == std::end(kFilterFlags)) {
      item.Fail(absl::StrCat("unknown seccomp flag \"", name, "\""));
    } else {
      flags |= known->second;
    }
  }
  return flags;
}

bool HasNotify(const JsonReader& reader) {
  auto items = reader.At("syscalls").Items();
  return std::any_of(items.begin(), items.end(), [](const JsonReader& item) {
    return item.String("action") == "SCMP_ACT_NOTIFY";
  });
}

void CheckNotify(const JsonReader& reader, std::optional<uint32_t> default_action) {
  if (default_action == SCMP_ACT_NOTIFY) {
    reader.At("defaultAction").Fail("SCMP_ACT_NOTIFY cannot be the default: nothing could start");
  }
  if (HasNotify(reader) && reader.String("listenerPath").empty()) {
    reader.At("listenerPath").Fail("is needed by the action SCMP_ACT_NOTIFY");
  }
}

Profile ReadProfile(const JsonReader& reader) {
  Profile profile;
  auto action = ReadAction(reader, "defaultAction", reader.Uint("defaultErrnoRet", 4095));
  profile.default_action = action.value_or(SCMP_ACT_ALLOW);
  for (const JsonReader& item : reader.At("architectures").Items()) {
    std::string name = item.AsString();
    auto found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                              [&](const Architecture& arch) { return arch.name == name; });
    if (found == std::end(kArchitectures)) {
      item.Fail(absl::StrCat("unknown architecture \"", name, "\""));
    } else {
      profile.architectures.push_back(*found);
    }
  }
  profile.flags = ReadFlags(reader);
  CheckNotify(reader, action);
  return profile;
}

// Conditions on one argument in one rule are not expressible to libseccomp: then each condition
// becomes a rule of its own (any of them), as runc does.
std::vector<std::vector<scmp_arg_cmp>> ReadArguments(const JsonReader& syscall) {
  std::vector<scmp_arg_cmp> all;
  bool repeated = false;
  for (const JsonReader& item : syscall.At("args").Items()) {
    scmp_arg_cmp cmp = {};
    cmp.arg = static_cast<unsigned>(item.Uint("index", 5).value_or(0));
    std::string op = item.String("op");
    bool known = false;
    for (const auto& [name, value] : kOperators) {
      if (name == op) {
        cmp.op = value;
        known = true;
      }
    }
    if (!known) item.At("op").Fail(absl::StrCat("unknown operator \"", op, "\""));
    cmp.datum_a = item.Uint("value").value_or(0);
    cmp.datum_b = item.Uint("valueTwo").value_or(0);
    repeated |= std::any_of(all.begin(), all.end(),
                            [&](const scmp_arg_cmp& other) { return other.arg == cmp.arg; });
    all.push_back(cmp);
  }
  if (!repeated) return {all};
  std::vector<std::vector<scmp_arg_cmp>> rules;
  for (const scmp_arg_cmp& cmp : all) rules.push_back({cmp});
  return rules;
}

absl::Status AddRules(const JsonReader& reader, const Profile& profile, void* context) {
  for (const JsonReader& item : reader.At("syscalls").Items()) {
    auto action = ReadAction(item, "action", item.Uint("errnoRet", 4095));
    if (!action || *action == profile.default_action) continue;
    auto rules = ReadArguments(item);
    for (const std::string& name : item.Strings("names")) {
      int number = seccomp_syscall_resolve_name(name.c_str());
      if (number == __NR_SCMP_ERROR) continue;
      for (const auto& arguments : rules) {
        int result = seccomp_rule_add_array(
            context, *action, number, static_cast<unsigned>(arguments.size()), arguments.data());
        // -EACCES, -EEXIST: the rule is there or equals the default. -EDOM: the architecture
        // does not have that call.
        if (result < 0 && result != -EEXIST && result != -EACCES && result != -EDOM) {
          return base::ErrnoStatus(-result, absl::StrCat("seccomp rule for ", name));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<sock_filter>> Export(void* context) {
  base::UniqueFd memory(memfd_create("seccomp", MFD_CLOEXEC));
  if (!memory.valid()) return base::ErrnoStatus(errno, "memfd for a seccomp filter");
  int result = seccomp_export_bpf(context, memory.get());
  if (result < 0) return base::ErrnoStatus(-result, "compile the seccomp profile");
  off_t size = lseek(memory.get(), 0, SEEK_END);
  std::vector<sock_filter> filter(static_cast<size_t>(size) / sizeof(sock_filter));
  ssize_t bytes = static_cast<ssize_t>(filter.size() * sizeof(sock_filter));
  if (pread(memory.get(), filter.data(), static_cast<size_t>(bytes), 0) != bytes) {
    return base::ErrnoStatus(errno, "read the compiled seccomp profile");
  }
  return filter;
}

// The highest number that the profile knows, for each kernel architecture; x32 counts apart.
std::map<std::pair<uint32_t, bool>, uint32_t> HighestNumbers(const JsonReader& reader,
                                                             const Profile& profile) {
  std::map<std::pair<uint32_t, bool>, uint32_t> highest;
  for (const Architecture& arch : profile.architectures) {
    bool x32 = arch.token == SCMP_ARCH_X32;
    uint32_t& top = highest[{arch.audit_arch, x32}];
    for (const JsonReader& item : reader.At("syscalls").Items()) {
      for (const std::string& name : item.Strings("names")) {
        int number = seccomp_syscall_resolve_name_arch(arch.token, name.c_str());
        if (number < 0) continue;
        top = std::max(top, static_cast<uint32_t>(number) & ~kX32Bit);
      }
    }
  }
  return highest;
}

// In front of libseccomp's program: newer calls than the profile knows do not exist.
std::vector<sock_filter> EnosysPrologue(
    const std::map<std::pair<uint32_t, bool>, uint32_t>& highest) {
  std::vector<sock_filter> out;
  for (const auto& [key, top] : highest) {
    const auto& [arch, x32] = key;
    bool is_x86_64 = arch == AUDIT_ARCH_X86_64;
    std::vector<sock_filter> check;
    check.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    if (is_x86_64) {
      // Numbers with the x32 bit are that architecture's own.
      uint8_t skip = 3;
      if (x32) {
        check.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kX32Bit, 0, skip));
        check.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~kX32Bit));
      } else {
        check.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kX32Bit, 2, 0));
      }
    }
    check.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, top, 0, 1));
    check.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (ENOSYS & SECCOMP_RET_DATA)));
    out.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, static_cast<uint8_t>(check.size())));
    out.insert(out.end(), check.begin(), check.end());
  }
  return out;
}

bool WantsEnosys(uint32_t default_action) {
  uint32_t kind = default_action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ERRNO && (default_action & SECCOMP_RET_DATA) != ENOSYS;
}

absl::Status AddArchitectures(const Profile& profile, void* context) {
  for (const Architecture& arch : profile.architectures) {
    int result = seccomp_arch_add(context, arch.token);
    if (result < 0 && result != -EEXIST) {
      return base::ErrnoStatus(-result, absl::StrCat("seccomp architecture ", arch.name));
    }
  }
  return absl::OkStatus();
}

// --- the cache

std::map<std::string, SeccompProgram>& Memory() {
  static auto* memory = new std::map<std::string, SeccompProgram>();
  return *memory;
}

std::string CacheKey(absl::string_view json) {
  const scmp_version* version = seccomp_version();
  return absl::StrCat("gantry-seccomp-1 ", version->major, ".", version->minor, ".", version->micro,
                      "\n", json, "\n");
}

uint64_t Fnv1a(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

std::string CacheFile(const std::string& dir, const std::string& key) {
  return absl::StrCat(dir, "/", absl::Hex(Fnv1a(key), absl::kZeroPad16), ".bpf");
}

// File: the key, u32 flags, then the instructions to its end.
std::optional<SeccompProgram> LoadFile(const std::string& path, const std::string& key) {
  struct stat st;
  if (stat(path.c_str(), &st) != 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
    return std::nullopt;
  }
  auto text = base::ReadFile(path, 4u << 20);
  if (!text.ok() || text->size() < key.size() + 4 || text->compare(0, key.size(), key) != 0) {
    return std::nullopt;
  }
  size_t bytes = text->size() - key.size() - 4;
  if (bytes == 0 || bytes % sizeof(sock_filter) != 0) return std::nullopt;
  SeccompProgram program;
  memcpy(&program.flags, text->data() + key.size(), 4);
  program.filter.resize(bytes / sizeof(sock_filter));
  memcpy(program.filter.data(), text->data() + key.size() + 4, bytes);
  return program;
}

void StoreFile(const std::string& dir, const std::string& path, const std::string& key,
               const SeccompProgram& program) {
  std::string text = key;
  text.append(reinterpret_cast<const char*>(&program.flags), 4);
  text.append(reinterpret_cast<const char*>(program.filter.data()),
              program.filter.size() * sizeof(sock_filter));
  if (base::MakeDirs(dir, 0700).ok()) base::ReplaceFile(path, text, 0600).IgnoreError();
}

}  // namespace

absl::StatusOr<SeccompProgram> CompileSeccomp(absl::string_view json) {
  GANTRY_ASSIGN_OR_RETURN(base::Json document, base::ParseJson(json));
  absl::Status status;
  JsonReader reader(document, "linux.seccomp", &status);
  Profile profile = ReadProfile(reader);
  GANTRY_RETURN_IF_ERROR(status);
  Context context(seccomp_init(profile.default_action));
  if (context == nullptr) return absl::InternalError("seccomp_init failed");
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  // Calls of architectures that the profile does not name kill the thread: libseccomp's default.
  GANTRY_RETURN_IF_ERROR(AddArchitectures(profile, context.get()));
  GANTRY_RETURN_IF_ERROR(AddRules(reader, profile, context.get()));
  GANTRY_RETURN_IF_ERROR(status);
  SeccompProgram program;
  program.flags = profile.flags;
  if (!reader.String("listenerPath").empty()) {
    program.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  } else {
    program.flags &= ~kWaitKillable;  // the kernel takes it with a listener only
  }
  GANTRY_ASSIGN_OR_RETURN(program.filter, Export(context.get()));
  if (WantsEnosys(profile.default_action)) {
    if (profile.architectures.empty()) {
      for (const Architecture& arch : kArchitectures) {
        if (arch.token == seccomp_arch_native()) profile.architectures.push_back(arch);
      }
    }
    auto prologue = EnosysPrologue(HighestNumbers(reader, profile));
    program.filter.insert(program.filter.begin(), prologue.begin(), prologue.end());
  }
  if (program.filter.size() > BPF_MAXINSNS) {
    return absl::InvalidArgumentError(
        absl::StrCat("linux.seccomp: compiles to ", program.filter.size(),
                     " instructions, the kernel takes ", BPF_MAXINSNS));
  }
  return program;
}

absl::StatusOr<SeccompProgram> CachedSeccomp(absl::string_view json, const std::string& cache_dir) {
  std::string key = CacheKey(json);
  auto found = Memory().find(key);
  if (found != Memory().end()) return found->second;
  std::string path = cache_dir.empty() ? std::string() : CacheFile(cache_dir, key);
  if (!path.empty()) {
    if (auto program = LoadFile(path, key)) {
      Memory()[key] = *program;
      return *program;
    }
  }
  GANTRY_ASSIGN_OR_RETURN(SeccompProgram program, CompileSeccomp(json));
  if (!path.empty()) StoreFile(cache_dir, path, key, program);
  // A shim serves few profiles; a bound keeps a hostile client from growing it.
  if (Memory().size() >= 16) Memory().clear();
  Memory()[key] = program;
  return program;
}

std::vector<std::string> SeccompActions() {
  std::vector<std::string> names;
  for (const auto& [name, action] : kActions) names.emplace_back(name);
  return names;
}

std::vector<std::string> SeccompOperators() {
  std::vector<std::string> names;
  for (const auto& [name, op] : kOperators) names.emplace_back(name);
  return names;
}

std::vector<std::string> SeccompFlags() {
  std::vector<std::string> names;
  for (const auto& [name, flag] : kFilterFlags) names.emplace_back(name);
  return names;
}

std::vector<std::string> SeccompArchitectures() {
  std::vector<std::string> names;
  for (const Architecture& arch : kArchitectures) names.emplace_back(arch.name);
  return names;
}

}  // namespace gantry::oci
