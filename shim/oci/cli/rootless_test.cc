// gantry-oci for a user without privileges, whose ids stand in files that only a private mount
// namespace has.

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uid_t kUser = 64242;

class RootlessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* bin = getenv("GANTRY_BIN_DIR");
    if (bin == nullptr) GTEST_SKIP() << "GANTRY_BIN_DIR is not set: run by ctest";
    if (!base::Exists("/usr/bin/newuidmap")) GTEST_SKIP() << "newuidmap is not installed";
    const std::string& dir = bundle_.dir();
    std::filesystem::copy_file(absl::StrCat(bin, "/gantry-oci"), dir + "/gantry-oci");
    std::string users = base::ReadFile("/etc/passwd").value_or("");
    WriteTestFile(dir + "/passwd", users + "gantrytest:x:64242:64242::/:/bin/sh\n");
    WriteTestFile(dir + "/sub", "gantrytest:300000:2000\n");
    ASSERT_TRUE(base::MakeDirs(dir + "/state", 0700).ok());
    ASSERT_EQ(chown((dir + "/state").c_str(), kUser, kUser), 0);
    auto& linux_spec = bundle_.spec["linux"];
    linux_spec["namespaces"].push_back({{"type", "user"}});
    for (const char* key : {"uidMappings", "gidMappings"}) {
      linux_spec[key] = {Line(0, kUser, 1), Line(1, 300000, 1000), Line(5000, 301000, 10)};
    }
  }

  static base::Json Line(uint32_t inside, uint32_t outside, uint32_t size) {
    return {{"containerID", inside}, {"hostID", outside}, {"size", size}};
  }

  base::RunResult Call(const std::vector<std::string>& words) {
    const std::string& dir = bundle_.dir();
    WriteTestFile(dir + "/config.json", bundle_.spec.dump());
    base::SpawnOptions options;
    options.argv = {"unshare",
                    "-m",
                    "sh",
                    "-ec",
                    absl::StrCat("cd ", dir,
                                 "; mount --bind passwd /etc/passwd; mount --bind sub /etc/subuid; "
                                 "mount --bind sub /etc/subgid; exec setpriv --reuid 64242 "
                                 "--regid 64242 --clear-groups ./gantry-oci --root state \"$@\""),
                    "sh"};
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    auto result = base::RunProcess(options, "", absl::Seconds(20));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : base::RunResult();
  }

  TestBundle bundle_;
};

TEST_F(RootlessTest, RunsWithSeveralLinesOfMaps) {
  bundle_.Script(
      "id -u; cat /proc/self/uid_map; touch /run/x && stat -c %u /run/x; echo y > /dev/null && "
      "echo null; hostname; exit 3");
  base::RunResult run = Call({"run", bundle_.id()});
  EXPECT_EQ(run.exit.code, 3) << run.err;
  EXPECT_EQ(run.out,
            "0\n         0      64242          1\n         1     300000       1000\n"
            "      5000     301000         10\n0\nnull\ngantry-test\n");
}

TEST_F(RootlessTest, RunsAsAnotherUserOfTheMaps) {
  bundle_.spec["process"]["user"] = {{"uid", 5009}, {"gid", 7}, {"additionalGids", {8}}};
  bundle_.Script("id -u; id -g; id -G");
  base::RunResult run = Call({"run", bundle_.id()});
  EXPECT_EQ(run.out, "5009\n7\n7 8\n") << run.err;
}

TEST_F(RootlessTest, NeedsNoHelpForTheOwnIds) {
  for (const char* key : {"uidMappings", "gidMappings"}) {
    bundle_.spec["linux"][key] = {Line(0, kUser, 1)};
  }
  for (base::Json& mount : bundle_.spec["mounts"]) {
    if (mount["destination"] == "/dev/pts") mount["options"].erase(5);  // gid=5
  }
  bundle_.Script("id -u; cat /proc/self/setgroups");
  EXPECT_EQ(Call({"run", bundle_.id()}).out, "0\ndeny\n");
  bundle_.spec["process"]["user"]["additionalGids"] = {1};
  EXPECT_THAT(Call({"run", bundle_.id()}).err, HasSubstr("additionalGids"));
}

TEST_F(RootlessTest, GoesThroughALife) {
  bundle_.Script("exec >/dev/null 2>&1 </dev/null; sleep 100");
  base::RunResult run = Call({"run", "-d", bundle_.id()});
  ASSERT_EQ(run.exit.code, 0) << run.err;
  EXPECT_THAT(Call({"state", bundle_.id()}).out, HasSubstr("\"running\""));
  base::RunResult exec = Call({"exec", bundle_.id(), "sh", "-c", "id -u; hostname; echo $$"});
  EXPECT_THAT(exec.out, AllOf(HasSubstr("0\ngantry-test\n"))) << exec.err;
  base::RunResult pause = Call({"pause", bundle_.id()});
  EXPECT_THAT(pause.err, HasSubstr("no cgroup of its own"));
  EXPECT_EQ(Call({"kill", bundle_.id(), "KILL"}).exit.code, 0);
  for (int i = 0; i < 100; ++i) {
    if (Call({"delete", bundle_.id()}).exit.code == 0) break;
    usleep(20000);
  }
  EXPECT_NE(Call({"state", bundle_.id()}).exit.code, 0);
}

TEST_F(RootlessTest, SaysWhatIsMissing) {
  bundle_.Script("true");
  bundle_.spec["linux"]["uidMappings"] = {Line(0, kUser, 1), Line(1, 400000, 5)};
  EXPECT_THAT(Call({"run", bundle_.id()}).err, AllOf(HasSubstr("newuidmap"), HasSubstr("subuid")));
  bundle_.spec["linux"]["uidMappings"] = {Line(0, kUser, 1), Line(1, 300000, 1000)};
  bundle_.spec["linux"]["resources"]["pids"] = {{"limit", 5}};
  EXPECT_THAT(Call({"run", bundle_.id()}).err, HasSubstr("cannot set limits"));
  bundle_.spec["linux"]["namespaces"].erase(bundle_.spec["linux"]["namespaces"].size() - 1);
  bundle_.spec["linux"].erase("uidMappings");
  bundle_.spec["linux"].erase("gidMappings");
  EXPECT_THAT(Call({"run", bundle_.id()}).err, HasSubstr("spec --rootless"));
}

}  // namespace
}  // namespace gantry::oci
