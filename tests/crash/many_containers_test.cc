// Five hundred containers at once: what they leave behind, and what the last one costs.

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr size_t kContainers = 500;
constexpr size_t kClients = 4;
constexpr size_t kSamples = 20;
constexpr size_t kBatch = 25;
// gRPC makes threads as calls come in, and keeps them.
constexpr size_t kDescriptorsOfThreads = 16;

class ManyContainersTest : public GantrydTest {
 protected:
  std::string StartOne() {
    std::string id =
        GantryctlOk({"run", "-d", "--log-driver", "none", std::string(kBusybox), "sleep", "1000"});
    return id.substr(0, id.find('\n'));
  }

  // Appends `count` new containers to `ids`, several at a time.
  void Start(size_t count, std::vector<std::string>* ids) {
    size_t first = ids->size();
    ids->resize(first + count);
    std::vector<std::thread> clients;
    for (size_t client = 0; client < kClients; ++client) {
      clients.emplace_back([this, ids, first, client] {
        for (size_t i = first + client; i < ids->size(); i += kClients) (*ids)[i] = StartOne();
      });
    }
    for (std::thread& client : clients) client.join();
  }

  void Remove(const std::vector<std::string>& ids) {
    std::vector<std::thread> clients;
    for (size_t client = 0; client < kClients; ++client) {
      clients.emplace_back([this, &ids, client] {
        for (size_t i = client * kBatch; i < ids.size(); i += kClients * kBatch) {
          std::vector<std::string> batch = {"rm", "--force"};
          batch.insert(batch.end(), ids.begin() + static_cast<long>(i),
                       ids.begin() + static_cast<long>(std::min(i + kBatch, ids.size())));
          GantryctlOk(batch);
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }

  // The shortest of several starts one after the other: the one that nothing else has disturbed.
  absl::Duration CostOfOne(std::vector<std::string>* ids) {
    absl::Duration shortest = absl::InfiniteDuration();
    for (size_t i = 0; i < kSamples; ++i) {
      absl::Time begin = absl::Now();
      ids->push_back(StartOne());
      shortest = std::min(shortest, absl::Now() - begin);
    }
    return shortest;
  }

  struct Holdings {
    size_t objects = 0;      // mounts, cgroups and processes that bear this test's name
    size_t containers = 0;   // cgroups of single containers
    size_t descriptors = 0;  // of gantryd, but for those of the database, which come and go
    bool NoMoreThan(const Holdings& other) const {
      return objects <= other.objects && containers <= other.containers &&
             descriptors <= other.descriptors + kDescriptorsOfThreads;
    }
    friend std::ostream& operator<<(std::ostream& out, const Holdings& held) {
      return out << held.objects << " objects, " << held.containers << " cgroups of containers, "
                 << held.descriptors << " descriptors";
    }
  };
  Holdings Hold() {
    Holdings held;
    held.objects = FindLeftovers(dir()).size() + FindLeftovers(ns()).size();
    std::error_code gone;
    for (const char* hierarchy : {"", "pids/", "memory/", "devices/"}) {
      std::string mine = absl::StrCat("/sys/fs/cgroup/", hierarchy, ns());
      for (const auto& entry : std::filesystem::directory_iterator(mine, gone)) {
        if (entry.is_directory(gone)) ++held.containers;
      }
    }
    for (const auto& fd :
         std::filesystem::directory_iterator(absl::StrCat("/proc/", gantryd_pid(), "/fd"), gone)) {
      std::string target = std::filesystem::read_symlink(fd.path(), gone).string();
      if (!absl::StrContains(target, "/metadata/")) ++held.descriptors;
    }
    return held;
  }
  // Connections and removals end a moment after the answer.
  Holdings HoldOnceSettled(const Holdings& wanted) {
    for (int i = 0; i < 30 && !Hold().NoMoreThan(wanted); ++i)
      absl::SleepFor(absl::Milliseconds(100));
    return Hold();
  }
};

TEST_F(ManyContainersTest, LeaveNothingBehindAndTheLastCostsWhatTheFirstDid) {
  StartGantryd();
  ImportBusybox();
  GantryctlOk({"run", "--rm", std::string(kBusybox), "true"});
  absl::SleepFor(absl::Seconds(1));
  const Holdings before = Hold();

  std::vector<std::string> ids;
  const absl::Duration first = CostOfOne(&ids);
  Start(kContainers - 2 * kSamples, &ids);
  const absl::Duration last = CostOfOne(&ids);
  ASSERT_THAT(ids, SizeIs(kContainers));
  std::vector<std::string> running =
      absl::StrSplit(GantryctlOk({"ps", "-q"}), '\n', absl::SkipEmpty());
  EXPECT_THAT(running, SizeIs(kContainers));
  std::cerr << "start of the first " << first << ", of the last " << last << "\n";
  EXPECT_LT(last, 3 * first + absl::Milliseconds(20));
  EXPECT_GE(Hold().containers, before.containers + kContainers) << "the count sees nothing";
  EXPECT_GE(Hold().descriptors, before.descriptors + kContainers) << "the count sees nothing";

  Remove(ids);
  EXPECT_EQ(GantryctlOk({"ps", "-a", "-q"}), "");
  const Holdings after = HoldOnceSettled(before);
  EXPECT_TRUE(after.NoMoreThan(before)) << after << "; before: " << before;
  EXPECT_THAT(GantryctlOk({"fsck", "--verify"}), HasSubstr("all in order"));
}

}  // namespace
}  // namespace gantry::tests
