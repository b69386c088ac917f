// linux.netDevices: devices of the host that move into a container.

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

base::RunResult Ip(std::vector<std::string> words) {
  base::SpawnOptions options;
  options.argv = {"ip"};
  options.argv.insert(options.argv.end(), words.begin(), words.end());
  auto result = base::RunProcess(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : base::RunResult();
}

TEST(ContainerNetDeviceTest, MovesADeviceWithItsAddresses) {
  std::string name = absl::StrCat("gd", getpid() % 100000), peer = name + "p";
  ASSERT_EQ(Ip({"link", "add", name, "type", "veth", "peer", "name", peer}).exit.code, 0);
  Ip({"addr", "add", "10.98.7.6/24", "brd", "10.98.7.255", "dev", name});
  Ip({"addr", "add", "fd98::6/64", "nodad", "dev", name});
  Ip({"link", "set", name, "mtu", "1400"});
  TestBundle bundle;
  bundle.spec["linux"]["netDevices"] = {{name, {{"name", "inside0"}}}};
  RunOutcome outcome = bundle.RunScript(
      "ls /sys/class/net; cat /proc/net/fib_trie | grep -c 10.98.7.6; cat /proc/net/if_inet6; "
      "cat /sys/class/net/inside0/mtu /sys/class/net/inside0/flags");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out,
              AllOf(HasSubstr("inside0\nlo\n2\n"), HasSubstr("fd980000000000000000000000000006"),
                    HasSubstr("1400\n0x1003\n")));  // up
  // A veth ends with the namespace that it moved to, and its peer with it.
  for (int i = 0; i < 100 && Ip({"link", "show", peer}).exit.code == 0; ++i) usleep(20000);
  if (Ip({"link", "show", peer}).exit.code == 0) Ip({"link", "del", peer});
}

TEST(ContainerNetDeviceTest, NamesADeviceThatDoesNotExist) {
  TestBundle bundle;
  bundle.spec["linux"]["netDevices"] = {{"nosuchdev0", base::Json::object()}};
  EXPECT_THAT(bundle.Run().status.message(),
              HasSubstr("network device nosuchdev0: find it on the host: No such device"));
}

}  // namespace
}  // namespace gantry::oci
