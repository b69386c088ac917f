// What a container with the defaults of our own client can reach of the kernel.

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "client/image.h"
#include "client/spec/spec.h"
#include "gmock/gmock.h"
#include "tests/security/attack.h"

namespace gantry::tests {
namespace {

using oci::RunOutcome;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

// The spec that gantryctl makes of an image without options.
void UseDefaults(Attack& attack) {
  client::SpecOptions options;
  options.id = attack.bundle.id();
  options.ns = attack.bundle.options.ns;
  options.args = {"true"};
  auto spec = client::BuildSpec(client::ImageConfig(), client::ResolvedUser(), options);
  ASSERT_TRUE(spec.ok()) << spec.status();
  attack.bundle.spec = *spec;
  std::filesystem::copy_file(absl::StrCat(getenv("GANTRY_BIN_DIR"), "/../tests/escape_probe"),
                             attack.bundle.rootfs() + "/bin/probe",
                             std::filesystem::copy_options::overwrite_existing);
}

// By name; "killed" by a signal, else an error number.
std::map<std::string, std::string> Probe(Attack& attack) {
  attack.bundle.spec["process"]["args"] = {"/bin/probe"};
  RunOutcome outcome = attack.bundle.Run();
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.exit_status, 0);
  std::map<std::string, std::string> found;
  for (absl::string_view line : absl::StrSplit(outcome.out, '\n', absl::SkipEmpty())) {
    std::vector<std::string> words = absl::StrSplit(line, ' ');
    found[words[0]] = words.back();
  }
  return found;
}

std::string Number(int error) { return absl::StrCat(error); }

TEST(CVE_2026_31431, NoSocketsOfTheCryptoAndHypervisorFamilies) {
  MustHold({Mistake::kNoFilter}, [](Attack& attack) {
    UseDefaults(attack);
    auto found = Probe(attack);
    // The same through the 32-bit door; its multiplexer socketcall hides the family from a filter.
    for (const char* name : {"socket.alg", "socket.vsock"}) {
      EXPECT_EQ(found[name], Number(EPERM)) << name;
    }
    // A kernel may be without that door: then it ends whoever knocks.
    const bool door = found["i386.getpid"] == "0";
    EXPECT_EQ(found["i386.socket.alg"], door ? Number(EPERM) : "killed");
    for (const char* name : {"socket.inet", "socket.unix", "socket.netlink"}) {
      EXPECT_EQ(found[name], "0") << name;
    }
  });
}

// And whatever else needs a namespace of one's own, natively and through other doors.
TEST(CVE_2022_0185, NoNamespacesByDefault) {
  MustHold({Mistake::kAllCapabilities}, [](Attack& attack) {
    UseDefaults(attack);
    auto found = Probe(attack);
    for (const char* name :
         {"unshare.user", "unshare.mount", "unshare.user+cgroup", "clone.user", "mount.tmpfs",
          "setns", "keyctl", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
          "open_by_handle_at", "init_module", "kexec_load", "reboot", "swapon"}) {
      EXPECT_EQ(found[name], Number(EPERM)) << name;
    }
    EXPECT_EQ(found["clone3"], Number(ENOSYS));
  });
}

TEST(CLASS_seccomp, OtherDoorsAndNewCallsAreFilteredToo) {
  MustHold({Mistake::kNoFilter}, [](Attack& attack) {
    UseDefaults(attack);
    auto found = Probe(attack);
    for (const char* name :
         {"i386.unshare", "i386.mount", "i386.init_module", "x32.unshare", "x32.mount"}) {
      EXPECT_THAT(found[name], AnyOf(Number(EPERM), Number(ENOSYS), "killed")) << name;
    }
    EXPECT_EQ(found["unknown"], Number(ENOSYS));
    EXPECT_EQ(found["unshare.user"], Number(EPERM));
  });
}

// release_agent of cgroup v1 is executed by the kernel on the host.
TEST(CVE_2022_0492, NoCgroupToWriteAReleaseAgentTo) {
  MustHold({Mistake::kAllCapabilities}, [](Attack& attack) {
    UseDefaults(attack);
    auto found = Probe(attack);
    EXPECT_EQ(found["mount.cgroup"], Number(EPERM));
    EXPECT_EQ(found["unshare.user+cgroup"], Number(EPERM));
    RunOutcome outcome = attack.bundle.RunScript(
        "for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/tasks /sys/fs/cgroup/*/x; do "
        "  (echo $$ > $f) 2>/dev/null && echo wrote $f; mkdir $f.d 2>/dev/null && echo made $f; "
        "done; mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo remounted; true");
    EXPECT_EQ(outcome.out, "");
  });
}

// CVE-2020-8694: power counters tell what other programs compute.
TEST(GHSA_7ww5_4wqc_m92c, PowerCountersAreHidden) {
  MustHold({Mistake::kNoMasks}, [](Attack& attack) {
    UseDefaults(attack);
    // Machines without such counters still must not lose the mask.
    RunOutcome outcome = attack.bundle.RunScript(
        "find /sys/devices/virtual/powercap -name energy_uj; cat /proc/mounts");
    EXPECT_THAT(outcome.out, Not(HasSubstr("energy_uj")));
    const auto& masked = attack.bundle.spec["linux"]["maskedPaths"];
    EXPECT_THAT(masked, Contains("/sys/devices/virtual/powercap"));
    if (base::Exists("/sys/devices/virtual/powercap")) {
      EXPECT_THAT(outcome.out, HasSubstr("/sys/devices/virtual/powercap tmpfs ro"));
    } else {
      EXPECT_THAT(outcome.out, HasSubstr("/sys/firmware tmpfs ro"));
    }
  });
}

// CVE-2018-10892 and its kin: files of the kernel about or of the whole machine.
TEST(CVE_2018_10892, FilesOfTheMachineAreMasked) {
  MustHold({Mistake::kNoMasks}, [](Attack& attack) {
    UseDefaults(attack);
    const auto& masked = attack.bundle.spec["linux"]["maskedPaths"];
    for (const char* path :
         {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
          "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
          "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"}) {
      EXPECT_THAT(masked, Contains(path));
      RunOutcome outcome = attack.bundle.RunScript(absl::StrCat(
          "test -d ", path, " && ls -A ", path, " || cat ", path, " 2>/dev/null; true"));
      EXPECT_EQ(outcome.out, "") << path;
    }
    const auto& frozen = attack.bundle.spec["linux"]["readonlyPaths"];
    for (const char* path :
         {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
      EXPECT_THAT(frozen, Contains(path));
    }
    RunOutcome outcome = attack.bundle.RunScript(
        "cd /proc/sys/kernel; (cat core_pattern > core_pattern) 2>&1; (: > /proc/sysrq-trigger) "
        "2>&1");
    EXPECT_THAT(outcome.out, HasSubstr("core_pattern: Read-only file system"));
    if (base::Exists("/proc/sysrq-trigger")) {
      EXPECT_THAT(outcome.out, HasSubstr("sysrq-trigger: Read-only file system"));
    }
    for (const auto& cpu : std::filesystem::directory_iterator("/sys/devices/system/cpu")) {
      std::string path = cpu.path() / "thermal_throttle";
      EXPECT_TRUE(!base::Exists(path) || masked.dump().find(path) != std::string::npos) << path;
    }
  });
}

}  // namespace
}  // namespace gantry::tests
