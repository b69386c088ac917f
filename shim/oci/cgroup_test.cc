#include "shim/oci/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/device_program.h"

namespace gantry::oci {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CgroupPathTest, TakesAllForms) {
  EXPECT_EQ(*CgroupPath("", "ns", "id", false, ""), "/ns/id");
  EXPECT_EQ(*CgroupPath("", "", "id", false, ""), "/id");
  EXPECT_EQ(*CgroupPath("/a//b/", "ns", "id", false, "/own"), "/a/b");
  EXPECT_EQ(*CgroupPath("a/b", "ns", "id", false, "/own"), "/own/a/b");
  EXPECT_EQ(*CgroupPath("/../../a/../b", "ns", "id", false, ""), "/b");
  EXPECT_EQ(*CgroupPath("../../../x", "ns", "id", false, "/own"), "/own/x");
  EXPECT_EQ(*CgroupPath("kube-pod-x.slice:cri:abc", "ns", "id", true, ""),
            "/kube.slice/kube-pod.slice/kube-pod-x.slice/cri-abc.scope");
  EXPECT_EQ(*CgroupPath(":p:n", "ns", "id", true, ""), "/p-n.scope");
  EXPECT_FALSE(CgroupPath("/", "ns", "id", false, "").ok());
  EXPECT_FALSE(CgroupPath("/a/..", "ns", "id", false, "").ok());
  EXPECT_FALSE(CgroupPath("a:b", "ns", "id", true, "").ok());
  EXPECT_FALSE(CgroupPath("a--b.slice:p:n", "ns", "id", true, "").ok());
}

TEST(CgroupMountsTest, TellsTheLayouts) {
  auto hybrid = ParseCgroupMounts(
      "30 20 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "31 30 0:2 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
      "32 30 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup "
      "rw,xattr,release_agent=/x,name=systemd\n"
      "33 30 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
      "34 30 0:2 / /var/lib/x/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
  ASSERT_TRUE(hybrid.ok());
  EXPECT_FALSE(hybrid->v2);
  ASSERT_EQ(hybrid->hierarchies.size(), 2u);
  EXPECT_THAT(hybrid->hierarchies[0].controllers, ElementsAre("cpu", "cpuacct"));
  EXPECT_THAT(hybrid->hierarchies[1].controllers, ElementsAre("name=systemd"));
  auto pure = ParseCgroupMounts("30 20 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(pure.ok());
  EXPECT_TRUE(pure->v2);
  EXPECT_FALSE(ParseCgroupMounts("1 1 0:1 / / rw - ext4 /dev/x rw\n").ok());
}

TEST(CgroupMountsTest, FindsItsOwnCgroup) {
  constexpr char kText[] = "3:cpu,cpuacct:/a\n2:name=systemd:/b\n0::/c/d\n";
  EXPECT_EQ(OwnCgroup(kText, "cpuacct"), "/a");
  EXPECT_EQ(OwnCgroup(kText, "name=systemd"), "/b");
  EXPECT_EQ(OwnCgroup(kText, ""), "/c/d");
  EXPECT_EQ(OwnCgroup(kText, "pids"), "/");
}

// Version 2 against plain files: which file gets which text.
class CgroupV2FilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/gantry-cgroup2-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    system_.v2 = true;
    system_.root = dir;
    leaf_ = system_.root + "/ns/id";
    ASSERT_TRUE(base::MakeDirs(leaf_, 0755).ok());
    for (const char* file :
         {"cpu.weight", "cpu.max", "cpuset.cpus", "memory.max", "memory.low", "memory.swap.max",
          "pids.max", "io.weight", "io.max", "hugetlb.2MB.max", "cgroup.procs", "cpu.stat",
          "memory.stat", "memory.high"}) {
      ASSERT_TRUE(base::WriteFile(leaf_ + "/" + file, "").ok());
    }
    for (const std::string& dir_name : {system_.root, system_.root + "/ns"}) {
      ASSERT_TRUE(base::WriteFile(dir_name + "/cgroup.controllers", "cpu memory\n").ok());
      ASSERT_TRUE(base::WriteFile(dir_name + "/cgroup.subtree_control", "cpu\n").ok());
    }
    auto made = Cgroup::Make(system_, "", "ns", "id", false);
    ASSERT_TRUE(made.ok());
    cgroup_ = *std::move(made);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(system_.root).ok()); }
  std::string File(const std::string& name) {
    return base::ReadFile(leaf_ + "/" + name).value_or("<none>");
  }
  absl::Status Apply(const char* json) {
    auto resources = ParseResources(json);
    return resources.ok() ? cgroup_->Apply(*resources, false) : resources.status();
  }

  CgroupSystem system_;
  std::string leaf_;
  std::unique_ptr<Cgroup> cgroup_;
};

TEST_F(CgroupV2FilesTest, HandsDownMissingControllers) {
  ASSERT_TRUE(cgroup_->Create().ok());
  EXPECT_EQ(base::ReadFile(system_.root + "/cgroup.subtree_control").value_or(""), "+memory");
  EXPECT_EQ(base::ReadFile(system_.root + "/ns/cgroup.subtree_control").value_or(""), "+memory");
}

TEST_F(CgroupV2FilesTest, RefusesACgroupWithProcesses) {
  ASSERT_TRUE(base::WriteFile(leaf_ + "/cgroup.procs", "1\n").ok());
  EXPECT_EQ(cgroup_->Create().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CgroupV2FilesTest, TranslatesLimits) {
  absl::Status status = Apply(
      R"({"memory": {"limit": 1000, "swap": 1500, "reservation": 10},
          "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "cpus": "0-1"},
          "pids": {"limit": 9}, "blockIO": {"weight": 500, "throttleReadBpsDevice":
          [{"major": 8, "minor": 0, "rate": 77}]},
          "hugepageLimits": [{"pageSize": "2MB", "limit": 4}], "unified": {"memory.high": "5"}})");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(File("memory.max"), "1000");
  EXPECT_EQ(File("memory.swap.max"), "500");
  EXPECT_EQ(File("memory.low"), "10");
  EXPECT_EQ(File("memory.high"), "5");
  EXPECT_EQ(File("cpu.weight"), "39");
  EXPECT_EQ(File("cpu.max"), "50000 100000");
  EXPECT_EQ(File("cpuset.cpus"), "0-1");
  EXPECT_EQ(File("pids.max"), "9");
  EXPECT_EQ(File("io.weight"), "4950");
  EXPECT_EQ(File("io.max"), "8:0 rbps=77");
  EXPECT_EQ(File("hugetlb.2MB.max"), "4");
  ASSERT_TRUE(Apply(R"({"memory": {"limit": -1}, "cpu": {"quota": -1, "period": 5000},
                        "pids": {"limit": -1}})")
                  .ok());
  EXPECT_EQ(File("memory.max"), "max");
  EXPECT_EQ(File("memory.swap.max"), "max");
  EXPECT_EQ(File("cpu.max"), "max 5000");
  EXPECT_EQ(File("pids.max"), "max");
}

TEST_F(CgroupV2FilesTest, RefusesWhatItCannotSet) {
  EXPECT_EQ(Apply(R"({"memory": {"swap": 10}})").code(), absl::StatusCode::kInvalidArgument);
  absl::Status status = Apply(R"({"rdma": {"mlx5_1": {"hcaHandles": 3}}})");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("controller rdma is not enabled"));
}

TEST_F(CgroupV2FilesTest, ReadsStatistics) {
  ASSERT_TRUE(base::WriteFile(leaf_ + "/cpu.stat", "usage_usec 5\nuser_usec 3\n").ok());
  ASSERT_TRUE(base::WriteFile(leaf_ + "/memory.current", "77\n").ok());
  ASSERT_TRUE(base::WriteFile(leaf_ + "/memory.max", "max\n").ok());
  ASSERT_TRUE(base::WriteFile(leaf_ + "/pids.current", "4\n").ok());
  ASSERT_TRUE(base::WriteFile(leaf_ + "/pids.max", "max\n").ok());
  ASSERT_TRUE(base::WriteFile(leaf_ + "/io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4\n").ok());
  auto stats = cgroup_->Stats();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->version, 2);
  EXPECT_EQ(stats->v2.cpu_stat.at("usage_usec"), 5u);
  EXPECT_EQ(stats->v2.memory_usage, 77u);
  EXPECT_EQ(stats->v2.memory_limit, UINT64_MAX);
  EXPECT_EQ(stats->v2.pids_current, 4u);
  EXPECT_EQ(stats->v2.pids_limit, 0u);
  ASSERT_EQ(stats->v2.io.size(), 1u);
  EXPECT_EQ(stats->v2.io[0].wios, 4u);
}

// A hybrid machine's unified mount is a real cgroup2 without controllers: what is of the core can
// be tried there.
class CgroupV2KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    struct statfs fs;
    system_.v2 = true;
    for (const char* root : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
      if (statfs(root, &fs) == 0 && fs.f_type == 0x63677270) system_.root = root;
    }
    if (statfs(system_.root.c_str(), &fs) != 0 || fs.f_type != 0x63677270 || geteuid() != 0) {
      GTEST_SKIP() << "no cgroup2 here";
    }
    id_ = absl::StrCat("gantry-test-", getpid(), "-", base::RandomHex(4));
    auto made = Cgroup::Make(system_, "/" + id_, "", id_, false);
    ASSERT_TRUE(made.ok());
    cgroup_ = *std::move(made);
    ASSERT_TRUE(cgroup_->Create().ok());
  }
  void TearDown() override {
    if (cgroup_ == nullptr) return;
    EXPECT_TRUE(cgroup_->KillAll().ok());
    if (child_ > 0) waitpid(child_, nullptr, 0);
    EXPECT_TRUE(cgroup_->Remove(/*killed=*/true).ok());
    EXPECT_TRUE(cgroup_->Remove().ok());
  }
  // A child in the cgroup that runs `body` and exits with its value.
  pid_t Fork(const std::function<int()>& body) {
    auto joins = cgroup_->OpenJoins(0);
    EXPECT_TRUE(joins.ok()) << joins.status();
    pid_t pid = fork();
    if (pid == 0) _exit(write((*joins)[0].fd.get(), "0", 1) == 1 ? body() : 99);
    return pid;
  }
  int Run(const std::function<int()>& body) {
    int status = -1;
    waitpid(Fork(body), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  CgroupSystem system_;
  std::string id_;
  std::unique_ptr<Cgroup> cgroup_;
  pid_t child_ = 0;
};

TEST_F(CgroupV2KernelTest, FreezesListsAndKills) {
  child_ = Fork([] { return pause(); });
  while (cgroup_->Pids()->empty()) usleep(1000);
  EXPECT_THAT(*cgroup_->Pids(), Contains(child_));
  EXPECT_TRUE(cgroup_->Freeze(true).ok());
  EXPECT_TRUE(*cgroup_->Frozen());
  EXPECT_TRUE(cgroup_->Freeze(false).ok());
  EXPECT_FALSE(*cgroup_->Frozen());
  EXPECT_TRUE(cgroup_->KillAll().ok());
  int status = 0;
  EXPECT_EQ(waitpid(child_, &status, 0), child_);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  child_ = 0;
}

TEST_F(CgroupV2KernelTest, DeviceProgramDecides) {
  auto can_open = [](const char* path, int flags) { return open(path, flags) >= 0 ? 1 : 0; };
  ASSERT_TRUE(cgroup_->Apply(Resources(), true).ok());
  EXPECT_EQ(Run([&] { return can_open("/dev/null", O_RDWR); }), 1);
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_RDONLY); }), 0);
  Resources more;
  more.devices.push_back({true, 'c', 1, 11, "r"});  // kmsg, reading only
  ASSERT_TRUE(cgroup_->Apply(more, false).ok());
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_RDONLY); }), 1);
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_WRONLY); }), 0);
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_RDWR); }), 0);
  Resources all;
  all.devices.push_back({true, 'a', -1, -1, "rwm"});
  all.devices.push_back({false, 'c', 1, 11, "w"});
  ASSERT_TRUE(cgroup_->Apply(all, false).ok());
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_RDONLY); }), 1);
  EXPECT_EQ(Run([&] { return can_open("/dev/kmsg", O_RDWR); }), 0);
}

TEST_F(CgroupV2KernelTest, RemovesSubCgroups) {
  ASSERT_EQ(mkdir((cgroup_->directory() + "/a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir((cgroup_->directory() + "/a/b.c").c_str(), 0755), 0);
  EXPECT_TRUE(cgroup_->Remove().ok());
  EXPECT_FALSE(base::Exists(cgroup_->directory()));
}

}  // namespace
}  // namespace gantry::oci
