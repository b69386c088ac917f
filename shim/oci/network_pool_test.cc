#include "shim/oci/network_pool.h"

#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

base::UniqueFd TakeOne(NetworkPool* pool) {
  for (int i = 0; i < 5000; ++i) {
    if (base::UniqueFd one = pool->Take()) return one;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return {};
}

ino_t InodeOf(const base::UniqueFd& fd) {
  struct stat st = {};
  EXPECT_EQ(fstat(fd.get(), &st), 0);
  return st.st_ino;
}

TEST(NetworkPoolTest, EachIsItsOwnAndTheyDoNotRunOut) {
  auto pool = NetworkPool::Start();
  ASSERT_TRUE(pool.ok()) << pool.status();
  struct stat own = {};
  ASSERT_EQ(stat("/proc/self/ns/net", &own), 0);
  std::set<ino_t> seen = {own.st_ino};
  std::vector<base::UniqueFd> taken;
  for (int i = 0; i < 12; ++i) {
    taken.push_back(TakeOne(&*pool));
    ASSERT_TRUE(taken.back().valid());
    EXPECT_TRUE(seen.insert(InodeOf(taken.back())).second) << i;
  }
}

TEST(NetworkPoolTest, TheNextContainerHasTheLentOneWithLoUp) {
  auto pool = NetworkPool::Start();
  ASSERT_TRUE(pool.ok()) << pool.status();
  base::UniqueFd network = TakeOne(&*pool);
  ASSERT_TRUE(network.valid());
  std::string name = absl::StrCat("net:[", InodeOf(network), "]");
  Container::LendNetwork(std::move(network));
  const char* script = "readlink /proc/self/ns/net; cat /sys/class/net/lo/operstate";
  TestBundle first, second;
  EXPECT_EQ(first.RunScript(script).out, absl::StrCat(name, "\nunknown\n"));
  RunOutcome outcome = second.RunScript(script);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, ::testing::Not(HasSubstr(name))) << "lent twice";
}

TEST(NetworkPoolTest, AContainerInTheHostsNetworkDoesNotTakeIt) {
  auto pool = NetworkPool::Start();
  ASSERT_TRUE(pool.ok()) << pool.status();
  Container::LendNetwork(TakeOne(&*pool));
  TestBundle bundle;
  auto& namespaces = bundle.spec["linux"]["namespaces"];
  for (size_t i = 0; i < namespaces.size(); ++i) {
    if (namespaces[i]["type"] == "network") namespaces.erase(i--);
  }
  char own[64] = {};
  ASSERT_GT(readlink("/proc/self/ns/net", own, sizeof own - 1), 0);
  RunOutcome outcome = bundle.RunScript("readlink /proc/self/ns/net");
  EXPECT_EQ(outcome.out, absl::StrCat(own, "\n")) << outcome.status;
}

}  // namespace
}  // namespace gantry::oci
