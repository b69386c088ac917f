// What a container sees of its cgroups, and what it may do with them.

#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/cgroup.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class CgroupViewTest : public ::testing::Test {
 protected:
  CgroupViewTest() : system_(*DetectCgroups()) {}
  static void MountCgroups(TestBundle* bundle, bool writable, bool own_namespace) {
    bundle->spec["mounts"].push_back(
        {{"destination", "/sys/fs/cgroup"},
         {"type", "cgroup"},
         {"source", "cgroup"},
         {"options", {writable ? "rw" : "ro", "nosuid", "noexec", "nodev", "relatime"}}});
    if (own_namespace) bundle->spec["linux"]["namespaces"].push_back({{"type", "cgroup"}});
  }
  CgroupSystem system_;
};

TEST_F(CgroupViewTest, ItsOwnCgroupIsTheRootOfANamespace) {
  for (bool writable : {false, true}) {
    TestBundle bundle;
    MountCgroups(&bundle, writable, true);
    RunOutcome outcome = bundle.RunScript(
        absl::StrCat("cut -d: -f3 /proc/self/cgroup | grep -v '^/$'; cd /sys/fs/cgroup/",
                     system_.v2 ? "" : "pids",
                     "; cat cgroup.procs | head -n1; mkdir x && echo made && rmdir x"));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    if (system_.v2) {
      EXPECT_THAT(outcome.out, writable ? HasSubstr("1\nmade\n") : HasSubstr("Read-only"))
          << writable;
      EXPECT_THAT(outcome.out, Not(HasSubstr(bundle.id())));
    } else {
      // A hybrid's cgroup2 is no part of a container.
      EXPECT_THAT(outcome.out, writable ? HasSubstr("\nmade\n") : HasSubstr("Read-only"))
          << outcome.out;
    }
  }
}

// As with runc: without a namespace /proc/self/cgroup holds the host's path, and it has to be
// there.
TEST_F(CgroupViewTest, TheHostsCgroupsWithoutANamespace) {
  if (!system_.v2) GTEST_SKIP() << "about cgroup v2";
  TestBundle bundle;
  MountCgroups(&bundle, false, false);
  RunOutcome outcome = bundle.RunScript(
      "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cgroup.procs | head -n1; "
      "mkdir /sys/fs/cgroup/x");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("1\n"), HasSubstr("Read-only")));
}

// A container that manages services of its own: exec, pause, kill and delete go on working.
TEST_F(CgroupViewTest, SubCgroupsOfAContainer) {
  if (!system_.v2) GTEST_SKIP() << "about cgroup v2";
  TestBundle bundle;
  MountCgroups(&bundle, true, true);
  bundle.Script(
      "cd /sys/fs/cgroup && mkdir init service && echo 1 > init/cgroup.procs && "
      "echo '+memory +pids' > cgroup.subtree_control && echo 33554432 > service/memory.max && "
      "{ sleep 1000 & echo $! > service/cgroup.procs; } && touch /tmp/ready; wait");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  for (int i = 0; i < 200 && !base::Exists(bundle.rootfs() + "/tmp/ready"); ++i) usleep(50000);
  RunOutcome outcome =
      bundle.ExecScript("cat /proc/self/cgroup; cat /sys/fs/cgroup/service/memory.max");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "0::/init\n33554432\n");
  EXPECT_EQ(bundle.container()->Pids()->size(), 2u);
  EXPECT_TRUE(bundle.container()->Pause().ok());
  EXPECT_TRUE(bundle.container()->Resume().ok());
  std::string dir = absl::StrCat(system_.root, "/", bundle.options.ns, "/", bundle.id());
  EXPECT_TRUE(base::Exists(dir + "/service"));
  bundle.Delete();
  EXPECT_FALSE(base::Exists(dir));
}

// runtime-spec, "Cgroup ownership": the container's root may divide what it was given, not raise
// it.
TEST_F(CgroupViewTest, DelegatesToTheRootOfAUserNamespace) {
  if (!system_.v2) GTEST_SKIP() << "about cgroup v2";
  TestBundle bundle;
  MountCgroups(&bundle, true, true);
  bundle.spec["linux"]["namespaces"].push_back({{"type", "user"}});
  base::Json map = {{"containerID", 0}, {"hostID", 100000}, {"size", 65536}};
  bundle.spec["linux"]["uidMappings"] = {map};
  bundle.spec["linux"]["gidMappings"] = {map};
  RunOutcome outcome = bundle.RunScript(
      "cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && "
      "echo +pids > cgroup.subtree_control && cat init/pids.max; echo max > memory.max");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("max\n"), HasSubstr("memory.max: Permission denied")));
}

}  // namespace
}  // namespace gantry::oci
