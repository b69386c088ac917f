// Limits of real containers: what the kernel then says, on whichever version of cgroups this
// machine has. tests/vm runs these on all layouts.

#include <signal.h>
#include <sys/stat.h>

#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CgroupLimitsTest : public ::testing::Test {
 protected:
  CgroupLimitsTest() : system_(*DetectCgroups()) {}

  void Run(const std::string& script = "sleep 1000") {
    bundle_.Script(script);
    ASSERT_TRUE(bundle_.Create().ok());
    absl::Status started = bundle_.container()->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  // The container's directory for a controller; empty when this machine does not have it.
  std::string Dir(TestBundle* bundle, absl::string_view controller) {
    std::string own =
        base::ReadFile(absl::StrCat("/proc/", bundle->init().pid, "/cgroup")).value_or("");
    if (system_.v2) {
      std::string dir = system_.root + OwnCgroup(own, "");
      std::string all = base::ReadFile(dir + "/cgroup.controllers").value_or("");
      return absl::StrContains(all, controller) ? dir : "";
    }
    for (const CgroupHierarchy& hierarchy : system_.hierarchies) {
      if (hierarchy.Has(controller)) {
        return hierarchy.mount_point + OwnCgroup(own, std::string(controller));
      }
    }
    return "";
  }
  static std::string Read(const std::string& path) {
    return std::string(absl::StripAsciiWhitespace(base::ReadFile(path).value_or("<none>")));
  }

  CgroupSystem system_;
  TestBundle bundle_;
};

struct Limit {
  const char* name;
  const char* resources;
  // Controller, file and its text afterwards; no file: refused, with `want` in the message.
  struct {
    const char *controller, *file, *want;
  } v1, v2;
};

// "DISK" stands for the number of a disk.
const Limit kLimits[] = {
    {"shares",
     R"({"cpu": {"shares": 512}})",
     {"cpu", "cpu.shares", "512"},
     {"cpu", "cpu.weight", "20"}},
    {"quota",
     R"({"cpu": {"quota": 50000, "period": 200000}})",
     {"cpu", "cpu.cfs_quota_us", "50000"},
     {"cpu", "cpu.max", "50000 200000"}},
    {"burst",
     R"({"cpu": {"quota": 60000, "burst": 5000}})",
     {"cpu", "cpu.cfs_burst_us", "5000"},
     {"cpu", "cpu.max.burst", "5000"}},
    {"cpus",
     R"({"cpu": {"cpus": "0"}})",
     {"cpuset", "cpuset.cpus", "0"},
     {"cpuset", "cpuset.cpus", "0"}},
    {"mems",
     R"({"cpu": {"mems": "0"}})",
     {"cpuset", "cpuset.mems", "0"},
     {"cpuset", "cpuset.mems", "0"}},
    {"memory",
     R"({"memory": {"limit": 67108864}})",
     {"memory", "memory.limit_in_bytes", "67108864"},
     {"memory", "memory.max", "67108864"}},
    {"swap",
     R"({"memory": {"limit": 67108864, "swap": 100663296}})",
     {"memory", "memory.memsw.limit_in_bytes", "100663296"},
     {"memory", "memory.swap.max", "33554432"}},
    {"reservation",
     R"({"memory": {"reservation": 33554432}})",
     {"memory", "memory.soft_limit_in_bytes", "33554432"},
     {"memory", "memory.low", "33554432"}},
    {"swappiness",
     R"({"memory": {"swappiness": 10}})",
     {"memory", "memory.swappiness", "10"},
     {"memory", nullptr, "cgroup v1 only"}},
    {"oom killer off",
     R"({"memory": {"disableOOMKiller": true}})",
     {"memory", "memory.oom_control", "oom_kill_disable 1"},
     {"memory", nullptr, "cgroup v1 only"}},
    {"pids", R"({"pids": {"limit": 17}})", {"pids", "pids.max", "17"}, {"pids", "pids.max", "17"}},
    {"throttle",
     R"({"blockIO": {"throttleReadBpsDevice": [DISK, "rate": 1048576}]}})",
     {"blkio", "blkio.throttle.read_bps_device", "1048576"},
     {"io", "io.max", "rbps=1048576"}},
    {"write throttle",
     R"({"blockIO": {"throttleWriteIOPSDevice": [DISK, "rate": 100}]}})",
     {"blkio", "blkio.throttle.write_iops_device", "100"},
     {"io", "io.max", "wiops=100"}},
    {"huge pages",
     R"({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]})",
     {"hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"},
     {"hugetlb", "hugetlb.2MB.max", "4194304"}},
    {"network class",
     R"({"network": {"classID": 1048577}})",
     {"net_cls", "net_cls.classid", "1048577"},
     {"cpu", nullptr, "cgroup v1 only"}},
    {"network priority",
     R"({"network": {"priorities": [{"name": "lo", "priority": 5}]}})",
     {"net_prio", "net_prio.ifpriomap", "lo 5"},
     {"cpu", nullptr, "cgroup v1 only"}},
    {"unified",
     R"({"unified": {"memory.high": "50331648"}})",
     {"memory", nullptr, "needs cgroup v2"},
     {"memory", "memory.high", "50331648"}},
    {"idle", R"({"cpu": {"idle": 1}})", {"cpu", "cpu.idle", "1"}, {"cpu", "cpu.idle", "1"}},
};

// {"major": 252, "minor": 0 of some disk, empty if there is none.
std::string SomeDisk() {
  auto names = base::ListDir("/sys/block");
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    std::string number = base::ReadFile(absl::StrCat("/sys/block/", name, "/dev")).value_or("");
    std::vector<std::string> parts = absl::StrSplit(absl::StripAsciiWhitespace(number), ':');
    if (parts.size() == 2) {
      return absl::StrCat("{\"major\": ", parts[0], ", \"minor\": ", parts[1]);
    }
  }
  return "";
}

TEST_F(CgroupLimitsTest, ReachTheKernelAtCreateAndUpdate) {
  std::string disk = SomeDisk();
  TestBundle running;
  running.Script("sleep 1000");
  ASSERT_TRUE(running.Create().ok());
  for (const Limit& limit : kLimits) {
    SCOPED_TRACE(limit.name);
    std::string text = limit.resources;
    if (size_t at = text.find("DISK"); at != std::string::npos) {
      if (disk.empty()) {
        std::cout << "skipped, no disk here: " << limit.name << "\n";
        continue;
      }
      text.replace(at, 4, disk);
    }
    const auto& want = system_.v2 ? limit.v2 : limit.v1;
    TestBundle bundle;
    bundle.spec["linux"]["resources"] = base::Json::parse(text);
    bundle.Script("sleep 1000");
    absl::Status created = bundle.Create();
    absl::Status updated = running.container()->Update(*ParseResources(text));
    if (want.file == nullptr) {
      EXPECT_EQ(created.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(created.message()), HasSubstr(want.want));
      EXPECT_EQ(updated.code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    std::string file = absl::StrCat("/", want.file), dir = Dir(&running, want.controller);
    if (dir.empty() || !base::Exists(dir + file)) {
      // A machine without it says so.
      EXPECT_EQ(created.code(), absl::StatusCode::kFailedPrecondition) << created;
      EXPECT_THAT(std::string(created.message()),
                  HasSubstr(absl::StrCat("controller ", want.controller)));
      std::cout << "not here: " << limit.name << ": " << created.message() << "\n";
      continue;
    }
    EXPECT_TRUE(created.ok()) << created;
    EXPECT_TRUE(updated.ok()) << updated;
    if (!created.ok()) continue;
    EXPECT_THAT(Read(Dir(&bundle, want.controller) + file), HasSubstr(want.want)) << "create";
    EXPECT_THAT(Read(dir + file), HasSubstr(want.want)) << "update";
  }
}

TEST_F(CgroupLimitsTest, WeightsDiskTime) {
  ASSERT_NO_FATAL_FAILURE(Run());
  std::string dir = Dir(&bundle_, system_.v2 ? "io" : "blkio");
  if (dir.empty()) GTEST_SKIP() << "no block controller here";
  absl::Status status =
      bundle_.container()->Update(*ParseResources(R"({"blockIO": {"weight": 500}})"));
  std::vector<std::pair<std::string, std::string>> files = {{"io.bfq.weight", "500"},
                                                            {"io.weight", "4950"},
                                                            {"blkio.weight", "500"},
                                                            {"blkio.bfq.weight", "500"}};
  for (const auto& [file, want] : files) {
    if (!base::Exists(absl::StrCat(dir, "/", file))) continue;
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_THAT(Read(absl::StrCat(dir, "/", file)), HasSubstr(want));
    return;
  }
  EXPECT_THAT(std::string(status.message()), HasSubstr("has no such file"));
}

TEST_F(CgroupLimitsTest, TheQuotaOutlivesAChangeOfThePeriod) {
  ASSERT_NO_FATAL_FAILURE(Run());
  auto update = [&](const char* text) {
    return bundle_.container()->Update(*ParseResources(text));
  };
  ASSERT_TRUE(update(R"({"cpu": {"quota": 40000, "period": 100000}})").ok());
  ASSERT_TRUE(update(R"({"cpu": {"period": 50000}})").ok());
  std::string dir = Dir(&bundle_, "cpu");
  if (system_.v2) {
    EXPECT_EQ(Read(dir + "/cpu.max"), "40000 50000");
  } else {
    EXPECT_EQ(Read(dir + "/cpu.cfs_quota_us"), "40000");
  }
  ASSERT_TRUE(update(R"({"cpu": {"quota": -1}})").ok());
  if (system_.v2) {
    EXPECT_EQ(Read(dir + "/cpu.max"), "max 50000");
  }
}

TEST_F(CgroupLimitsTest, MemoryGoesUpAndDownTogetherWithSwap) {
  ASSERT_NO_FATAL_FAILURE(Run());
  for (const char* text :
       {R"({"memory": {"limit": 33554432, "swap": 67108864}})",
        R"({"memory": {"limit": 134217728, "swap": 268435456}})",
        R"({"memory": {"limit": 33554432, "swap": 33554432}})", R"({"memory": {"limit": -1}})"}) {
    std::string dir = Dir(&bundle_, "memory");
    if (!system_.v2 && !base::Exists(dir + "/memory.memsw.limit_in_bytes")) {
      GTEST_SKIP() << "this kernel does not account swap";
    }
    absl::Status status = bundle_.container()->Update(*ParseResources(text));
    EXPECT_TRUE(status.ok()) << text << status;
  }
}

TEST_F(CgroupLimitsTest, RefusesMemoryBelowUseWhenAsked) {
  if (!system_.v2) GTEST_SKIP() << "v1 itself refuses a limit below what cannot be reclaimed";
  ASSERT_NO_FATAL_FAILURE(Run("head -c 8000000 /dev/zero > /dev/shm/file; sleep 1000"));
  for (int i = 0; i < 200 && bundle_.container()->Stats()->v2.memory_usage < 8000000; ++i) {
    usleep(50000);
  }
  absl::Status status = bundle_.container()->Update(
      *ParseResources(R"({"memory": {"limit": 4194304, "checkBeforeUpdate": true}})"));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

// One rule list, tried by real mknod and open.
TEST_F(CgroupLimitsTest, DeviceRulesDecide) {
  for (const char* set : {"bounding", "effective", "permitted"}) {
    bundle_.spec["process"]["capabilities"][set].push_back("CAP_SYSLOG");  // for 1:11, kmsg
  }
  bundle_.spec["linux"]["resources"]["devices"] = base::Json::parse(
      R"([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
          {"allow": false, "access": "rwm"},
          {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"},
          {"allow": false, "type": "c", "major": 1, "access": "w"}])");
  ASSERT_NO_FATAL_FAILURE(Run());
  auto outcome = [&] {
    return bundle_
        .ExecScript(
            "cd /tmp; rm -f k b u f; mknod k c 1 11 && mknod b b 7 0 && mknod f c 10 229 || echo "
            "no mknod; "
            "(: < k) 2>/dev/null && echo k-r; (: >> k) 2>/dev/null && echo k-w; "
            "(: < b) 2>&1 | grep -q permitted && echo b-denied; "
            "(: < f) 2>&1 | grep -q permitted && echo f-denied; "
            "(: > /dev/null) && (: < /dev/zero) && (: < /dev/urandom) && echo usual")
        .out;
  };
  EXPECT_EQ(outcome(), "k-r\nb-denied\nf-denied\nusual\n");
  absl::Status status = bundle_.container()->Update(*ParseResources(
      R"({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"},
                      {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]})"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(outcome(), "k-r\nk-w\nb-denied\nusual\n");
}

// The kernel ignores such a denial in version 1.
TEST_F(CgroupLimitsTest, APartOfAWildcardIsDeniedOrRefused) {
  bundle_.spec["linux"]["resources"]["devices"] = base::Json::parse(
      R"([{"allow": true, "type": "c", "major": 10, "access": "rw"},
          {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}])");
  bundle_.Script("mknod /tmp/f c 10 229; : >> /tmp/f");
  absl::Status status = bundle_.Create();
  if (!system_.v2) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cgroup v1 cannot deny \"c 10:229 w\""));
    return;
  }
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(bundle_.container()->Start().ok());
  EXPECT_THAT(bundle_.Drain(), HasSubstr("not permitted"));
}

TEST_F(CgroupLimitsTest, CountsWhatAContainerUses) {
  ASSERT_NO_FATAL_FAILURE(Run("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 1000"));
  usleep(300000);
  auto stats = bundle_.container()->Stats();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->version, system_.v2 ? 2 : 1);
  if (system_.v2) {
    EXPECT_GT(stats->v2.cpu_stat.at("usage_usec"), 0u);
    EXPECT_GT(stats->v2.memory_usage, 0u);
    EXPECT_GE(stats->v2.memory_max_usage, stats->v2.memory_usage);
    EXPECT_EQ(stats->v2.memory_events.at("oom_kill"), 0u);
    EXPECT_GE(stats->v2.pids_current, 1u);
  } else {
    EXPECT_GT(stats->v1.cpu_total, 0u);
    EXPECT_GT(stats->v1.usage.max, 0u);
    EXPECT_GE(stats->v1.pids_current, 1u);
  }
}

TEST_F(CgroupLimitsTest, KillReachesThoseWhoFork) {
  ASSERT_NO_FATAL_FAILURE(
      Run("for i in 1 2 3 4 5 6; do (while :; do (sleep 0.001); done) & done; wait"));
  usleep(200000);
  ASSERT_TRUE(bundle_.container()->Kill(SIGKILL, true).ok());
  EXPECT_EQ(TestBundle::Reap(bundle_.init().pid), 128 + SIGKILL);
  for (int i = 0; i < 100 && !bundle_.container()->Pids()->empty(); ++i) usleep(50000);
  EXPECT_TRUE(bundle_.container()->Pids()->empty());
}

// The kernel's rule of version 2: a cgroup with processes of its own hands no controllers down.
TEST_F(CgroupLimitsTest, NamesTheParentThatHasProcesses) {
  if (!system_.v2) GTEST_SKIP() << "about cgroup v2";
  std::string parent = absl::StrCat("/gantry-oci-test-parent-", getpid());
  std::string dir = system_.root + parent;
  ASSERT_EQ(mkdir(dir.c_str(), 0755), 0);
  ASSERT_NO_FATAL_FAILURE(Run());
  ASSERT_TRUE(WriteCgroupFile(dir, "cgroup.procs", absl::StrCat(bundle_.init().pid)).ok());
  TestBundle child;
  child.spec["linux"]["cgroupsPath"] = parent + "/child";
  child.spec["linux"]["resources"]["memory"]["limit"] = 67108864;
  absl::Status status = child.Create();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir + " has processes of its own"));
  bundle_.container()->Kill(SIGKILL, false).IgnoreError();
  EXPECT_EQ(TestBundle::Reap(bundle_.init().pid), 128 + SIGKILL);
  EXPECT_TRUE(RemoveCgroupDir(dir, true).ok());
}

}  // namespace
}  // namespace gantry::oci
