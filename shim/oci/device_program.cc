#include "shim/oci/device_program.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::oci {
namespace {

bpf_insn Insn(int code, int dst, int src, int off, int32_t imm) {
  bpf_insn insn = {};
  insn.code = static_cast<__u8>(code);
  insn.dst_reg = static_cast<__u8>(dst & 0xf);
  insn.src_reg = static_cast<__u8>(src & 0xf);
  insn.off = static_cast<__s16>(off);
  insn.imm = imm;
  return insn;
}

bpf_insn Load(int dst, int offset) { return Insn(BPF_LDX | BPF_W | BPF_MEM, dst, 1, offset, 0); }

int32_t AccessMask(const std::string& access) {
  int32_t mask = 0;
  if (absl::StrContains(access, 'm')) mask |= BPF_DEVCG_ACC_MKNOD;
  if (absl::StrContains(access, 'r')) mask |= BPF_DEVCG_ACC_READ;
  if (absl::StrContains(access, 'w')) mask |= BPF_DEVCG_ACC_WRITE;
  return mask;
}

constexpr int32_t kAllAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
// Registers after the prologue.
constexpr int kType = 2, kAccess = 3, kMajor = 4, kMinor = 5, kScratch = 1, kResult = 0;

std::vector<bpf_insn> RuleBlock(const DeviceRule& rule) {
  std::vector<bpf_insn> block;
  std::vector<size_t> jumps;  // each leaves the block when the rule does not match
  auto jump = [&](bpf_insn insn) {
    jumps.push_back(block.size());
    block.push_back(insn);
  };
  if (rule.type != 'a') {
    int32_t type = rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
    jump(Insn(BPF_JMP | BPF_JNE | BPF_K, kType, 0, 0, type));
  }
  int32_t mask = AccessMask(rule.access);
  if (mask != kAllAccess) {
    block.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_X, kScratch, kAccess, 0, 0));
    block.push_back(Insn(BPF_ALU64 | BPF_AND | BPF_K, kScratch, 0, 0, mask));
    jump(rule.allow ? Insn(BPF_JMP | BPF_JNE | BPF_X, kScratch, kAccess, 0, 0)
                    : Insn(BPF_JMP | BPF_JEQ | BPF_K, kScratch, 0, 0, 0));
  }
  // 32-bit jumps: the registers hold unsigned words, and an immediate would be sign-extended.
  auto number = [&](int reg, int64_t value) {
    if (value >= 0) {
      jump(Insn(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0,
                static_cast<int32_t>(static_cast<uint32_t>(value))));
    }
  };
  number(kMajor, rule.major);
  number(kMinor, rule.minor);
  block.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, rule.allow ? 1 : 0));
  block.push_back(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  for (size_t at : jumps) block[at].off = static_cast<__s16>(block.size() - at - 1);
  return block;
}

long Bpf(int command, bpf_attr* attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

bpf_attr Attachment(int cgroup, int program) {
  bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.target_fd = static_cast<uint32_t>(cgroup);
  attr.attach_bpf_fd = static_cast<uint32_t>(program);
  attr.attach_type = BPF_CGROUP_DEVICE;
  return attr;
}

absl::StatusOr<std::vector<base::UniqueFd>> AttachedPrograms(int cgroup) {
  uint32_t ids[64];  // the kernel's own limit for one cgroup
  bpf_attr query;
  memset(&query, 0, sizeof query);
  query.query.target_fd = static_cast<uint32_t>(cgroup);
  query.query.attach_type = BPF_CGROUP_DEVICE;
  query.query.prog_ids = reinterpret_cast<uint64_t>(ids);
  query.query.prog_cnt = 64;
  if (Bpf(BPF_PROG_QUERY, &query) != 0) {
    return base::ErrnoStatus(errno, "list the device rules of the cgroup");
  }
  std::vector<base::UniqueFd> programs;
  for (uint32_t i = 0; i < query.query.prog_cnt; ++i) {
    bpf_attr get;
    memset(&get, 0, sizeof get);
    get.prog_id = ids[i];
    base::UniqueFd fd(static_cast<int>(Bpf(BPF_PROG_GET_FD_BY_ID, &get)));
    if (fd.valid()) {
      programs.push_back(std::move(fd));
    } else if (errno != ENOENT) {  // gone meanwhile
      return base::ErrnoStatus(errno, "open the device rules of the cgroup");
    }
  }
  return programs;
}

}  // namespace

std::vector<bpf_insn> BuildDeviceProgram(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program = {
      Load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      Insn(BPF_ALU64 | BPF_MOV | BPF_X, kAccess, kType, 0, 0),
      Insn(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      Insn(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
      Load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      Load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  // A rule for everything hides all before it; code behind it could never run, which the kernel's
  // verifier of old versions refuses.
  bool decided = false;
  for (auto rule = rules.rbegin(); rule != rules.rend() && !decided; ++rule) {
    std::vector<bpf_insn> block = RuleBlock(*rule);
    program.insert(program.end(), block.begin(), block.end());
    decided = block.size() == 2;
  }
  if (!decided) {
    program.push_back(Insn(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, 0));
    program.push_back(Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  }
  return program;
}

absl::Status AttachDeviceProgram(const std::string& cgroup_dir,
                                 const std::vector<bpf_insn>& program) {
  bpf_attr load;
  memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(program.data());
  load.insn_cnt = static_cast<uint32_t>(program.size());
  load.license = reinterpret_cast<uint64_t>("Apache");
  base::UniqueFd fd(static_cast<int>(Bpf(BPF_PROG_LOAD, &load)));
  if (!fd.valid()) return base::ErrnoStatus(errno, "load the device rules of the cgroup");
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::Open(cgroup_dir, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(std::vector<base::UniqueFd> old, AttachedPrograms(dir.get()));
  // All programs of a cgroup have to agree: an old one left in place could only forbid more.
  bpf_attr attach = Attachment(dir.get(), fd.get());
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (old.size() == 1) {
    attach.attach_flags |= BPF_F_REPLACE;
    attach.replace_bpf_fd = static_cast<uint32_t>(old[0].get());
  }
  if (Bpf(BPF_PROG_ATTACH, &attach) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("attach device rules to ", cgroup_dir));
  }
  if (old.size() < 2) return absl::OkStatus();
  for (const base::UniqueFd& one : old) {
    bpf_attr detach = Attachment(dir.get(), one.get());
    if (Bpf(BPF_PROG_DETACH, &detach) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("detach old device rules from ", cgroup_dir));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::oci
