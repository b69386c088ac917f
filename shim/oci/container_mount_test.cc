// Mounts beyond the ordinary: id-mapped ones, copies of what they hide, recursive attributes.

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

base::Json Map(uint32_t inside, uint32_t outside, uint32_t size) {
  return base::Json::array({{{"containerID", inside}, {"hostID", outside}, {"size", size}}});
}

// A volume with one file of root's and one of user 5.
std::string MakeVolume(const TestBundle& bundle) {
  std::string volume = bundle.dir() + "/volume";
  EXPECT_EQ(mkdir(volume.c_str(), 0777), 0);
  EXPECT_EQ(chmod(volume.c_str(), 0777), 0);
  WriteTestFile(volume + "/root", "");
  WriteTestFile(volume + "/five", "");
  EXPECT_EQ(chown((volume + "/five").c_str(), 5, 5), 0);
  return volume;
}

constexpr char kOwners[] = "stat -c %u:%g /v/root /v/five; touch /v/new && stat -c %u /v/new";

TEST(ContainerMountTest, MapsIdsByTheMountsOwnMappings) {
  for (const char* option : {"idmap", "ridmap"}) {
    TestBundle bundle;
    std::string volume = MakeVolume(bundle);
    bundle.spec["mounts"].push_back({{"destination", "/v"},
                                     {"type", "bind"},
                                     {"source", volume},
                                     {"options", {"rbind", option}},
                                     {"uidMappings", Map(0, 2000, 10)},
                                     {"gidMappings", Map(0, 1000, 10)}});
    RunOutcome outcome = bundle.RunScript("stat -c %u:%g /v/root /v/five");
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.out, "2000:1000\n2005:1005\n");
  }
}

TEST(ContainerMountTest, MapsIdsByTheContainersUserNamespace) {
  TestBundle bundle;
  std::string volume = MakeVolume(bundle);
  ASSERT_EQ(mkdir((bundle.rootfs() + "/v").c_str(), 0755), 0);
  bundle.UseUserNamespace();
  bundle.spec["mounts"].push_back({{"destination", "/v"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"bind", "idmap"}}});
  RunOutcome outcome = bundle.RunScript(kOwners);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "0:0\n5:5\n0\n");
  struct stat st;
  ASSERT_EQ(stat((volume + "/new").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u);  // on disk it belongs to root, not to the mapped one
}

TEST(ContainerMountTest, RefusesIdMappingsThatMeanNothing) {
  struct Case {
    base::Json mount;
    const char* error;
  };
  const Case kCases[] = {
      {{{"destination", "/v"},
        {"type", "bind"},
        {"source", "/tmp"},
        {"options", {"bind", "idmap"}}},
       "needs mappings"},
      {{{"destination", "/v"},
        {"type", "bind"},
        {"source", "/tmp"},
        {"options", {"bind"}},
        {"uidMappings", Map(0, 1, 1)}},
       "must be given together"},
      {{{"destination", "/v"}, {"type", "tmpfs"}, {"options", {"idmap"}}}, "are for bind mounts"},
      {{{"destination", "/v"}, {"type", "bind"}, {"source", "/tmp"}, {"options", {"tmpcopyup"}}},
       "tmpcopyup is for tmpfs"},
      {{{"destination", "/"}, {"type", "tmpfs"}, {"options", {"tmpcopyup"}}}, "on the root"}};
  for (const Case& c : kCases) {
    TestBundle bundle;
    bundle.spec["mounts"].push_back(c.mount);
    RunOutcome outcome = bundle.Run();
    EXPECT_EQ(outcome.status.code(), absl::StatusCode::kInvalidArgument) << c.mount;
    EXPECT_THAT(outcome.status.message(), HasSubstr(c.error)) << c.mount;
  }
}

TEST(ContainerMountTest, CopiesUpWhatATmpfsHides) {
  TestBundle bundle;
  std::string dir = bundle.rootfs() + "/data";
  ASSERT_TRUE(base::MakeDirs(dir + "/sub/deep", 0755).ok());
  WriteTestFile(dir + "/file", "text\n", 04751);
  ASSERT_EQ(chown((dir + "/sub").c_str(), 7, 8), 0);
  ASSERT_EQ(chmod((dir + "/sub").c_str(), 0710), 0);
  WriteTestFile(dir + "/sub/deep/big", std::string(100000, 'x'));
  ASSERT_EQ(symlink("/etc/passwd", (dir + "/link").c_str()), 0);
  ASSERT_EQ(mkfifo((dir + "/fifo").c_str(), 0600), 0);
  ASSERT_EQ(chmod(dir.c_str(), 0705), 0);
  bundle.spec["mounts"].push_back({{"destination", "/data"},
                                   {"type", "tmpfs"},
                                   {"source", "tmpfs"},
                                   {"options", {"tmpcopyup", "size=1m"}}});
  RunOutcome outcome = bundle.RunScript(
      "cd /data; cat file; stat -c '%n %a %u:%g %F' . file sub fifo; readlink link; "
      "wc -c < sub/deep/big; echo new > file; rm -r sub 2>/dev/null; grep ' /data ' /proc/mounts");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("text\n. 705 0:0 directory\nfile 4751 0:0 regular file\n"
                              "sub 710 7:8 directory\nfifo 600 0:0 fifo\n/etc/passwd\n100000\n"),
                    HasSubstr("tmpfs")));
  EXPECT_EQ(base::ReadFile(dir + "/file").value_or(""), "text\n");  // the image keeps its own
}

TEST(ContainerMountTest, NamesACopyUpThatDoesNotFit) {
  TestBundle bundle;
  ASSERT_EQ(mkdir((bundle.rootfs() + "/data").c_str(), 0755), 0);
  WriteTestFile(bundle.rootfs() + "/data/big", std::string(100000, 'x'));
  bundle.spec["mounts"].push_back({{"destination", "/data"},
                                   {"type", "tmpfs"},
                                   {"source", "tmpfs"},
                                   {"options", {"tmpcopyup", "size=4k"}}});
  EXPECT_THAT(bundle.Run().status.message(), HasSubstr("copy up \"/data\": no space left"));
}

TEST(ContainerMountTest, AppliesRecursiveAttributes) {
  TestBundle bundle;
  std::string volume = bundle.dir() + "/volume";
  ASSERT_TRUE(base::MakeDirs(volume + "/sub", 0755).ok());
  ASSERT_EQ(mount("tmpfs", (volume + "/sub").c_str(), "tmpfs", 0, nullptr), 0);
  bundle.spec["mounts"].push_back({{"destination", "/r"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"rbind", "rro", "rnosuid", "rnoatime"}}});
  bundle.spec["mounts"].push_back({{"destination", "/plain"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"rbind", "ro"}}});
  bundle.spec["mounts"].push_back({{"destination", "/t"},
                                   {"type", "tmpfs"},
                                   {"source", "tmpfs"},
                                   {"options", {"rro", "rnodev"}}});
  RunOutcome outcome = bundle.RunScript(
      "touch /r/x || echo ro-top; touch /r/sub/x || echo ro-sub; touch /plain/sub/x && echo "
      "rw-sub; "
      "touch /t/x || echo ro-tmpfs; grep ' /r/sub ' /proc/mounts; grep ' /t ' /proc/mounts");
  EXPECT_EQ(umount2((volume + "/sub").c_str(), MNT_DETACH), 0);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("ro-top"), HasSubstr("ro-sub"), HasSubstr("rw-sub"),
                                 HasSubstr("ro-tmpfs"), HasSubstr("/r/sub tmpfs ro,nosuid,noatime"),
                                 HasSubstr("/t tmpfs ro,nodev")));
}

// docker run --read-only -w /new: the directory is made before the root becomes read-only.
TEST(ContainerMountTest, MakesTheWorkingDirectoryOfAReadonlyRoot) {
  TestBundle bundle;
  bundle.spec["root"]["readonly"] = true;
  bundle.spec["process"]["cwd"] = "/new/dir";
  RunOutcome outcome = bundle.RunScript("pwd; touch x || echo ro");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("/new/dir\n"), HasSubstr("ro\n")));
}

TEST(ContainerMountTest, ExecDoesNotMakeItsWorkingDirectory) {
  TestBundle bundle;
  bundle.Script("sleep 100");
  ASSERT_TRUE(bundle.Create().ok());
  ASSERT_TRUE(bundle.container()->Start().ok());
  base::Json process = bundle.spec["process"];
  process["cwd"] = "/missing";
  RunOutcome exec = bundle.ExecScript("pwd", process);
  EXPECT_THAT(exec.status.message(),
              HasSubstr("working directory \"/missing\": no such file or directory"));
  EXPECT_FALSE(base::Exists(bundle.rootfs() + "/missing"));
}

TEST(ContainerMountTest, MakesDevicesThatTheHostLacksInAUserNamespace) {
  TestBundle bundle;
  bundle.UseUserNamespace();
  bundle.spec["linux"]["devices"] = base::Json::array({{{"path", "/dev/foo/"},
                                                        {"type", "c"},
                                                        {"major", 1},
                                                        {"minor", 5},
                                                        {"fileMode", 0640},
                                                        {"uid", 10},
                                                        {"gid", 11}}});
  RunOutcome outcome = bundle.RunScript(
      "stat -c '%a %u:%g %t:%T' /dev/foo; grep ' /dev/null ' /proc/self/mountinfo");
  if (absl::IsFailedPrecondition(outcome.status)) GTEST_SKIP() << outcome.status;
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("640 10:11 1:5\n"), HasSubstr("nosuid,noexec")));
}

TEST(ContainerMountTest, ShowsTheHostsSysfsWhereItMayMountNone) {
  TestBundle bundle;
  bundle.UseUserNamespace();
  base::Json namespaces = base::Json::array();
  for (const base::Json& ns : bundle.spec["linux"]["namespaces"]) {
    if (ns["type"] != "network") namespaces.push_back(ns);
  }
  bundle.spec["linux"]["namespaces"] = namespaces;
  RunOutcome outcome = bundle.RunScript("test -d /sys/class/net/lo && echo sysfs");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "sysfs\n");
}

}  // namespace
}  // namespace gantry::oci
