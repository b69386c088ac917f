// kill -9 of gantryd at random points of a mixed load: every container goes on, every record stays
// consistent, nothing is left without an owner.
//
// GANTRY_CRASH_ROUNDS sets the number of kills (default 25, which fits the ordinary test run).

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::HasSubstr;

class KillGantrydTest : public GantrydTest {
 protected:
  // id → pid of the running tasks of the namespace, as gantryd tells it.
  std::map<std::string, std::string> RunningTasks() {
    std::map<std::string, std::string> tasks;
    for (absl::string_view line : absl::StrSplit(CtrOk({"task", "ls"}), '\n', absl::SkipEmpty())) {
      std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() == 3 && fields[2] == "RUNNING")
        tasks[std::string(fields[0])] = std::string(fields[1]);
    }
    return tasks;
  }

  // What other clients do meanwhile. Failures are expected: their daemon is shot under them.
  void LoadOnce(int kind, const std::string& tag) {
    switch (kind % 6) {
      case 0:
        Ctr({"run", "--rm", std::string(kBusybox), "run-" + tag, "true"});
        break;
      case 1:
        Ctr({"task", "exec", "--exec-id", "exec-" + tag, "keep-0", "true"});
        break;
      case 2:
        Ctr({"image", "tag", std::string(kBusybox), "docker.io/library/copy:" + tag});
        break;
      case 3:
        Ctr({"snapshot", "prepare", "snap-" + tag});
        break;
      case 4:
        Ctr({"content", "ingest", "ref-" + tag}, std::string(200000, 'x') + tag);
        break;
      case 5:
        Ctr({"run", "-d", std::string(kBusybox), "bg-" + tag, "sleep", "1000"});
        break;
    }
  }

  // gantryd accounts for every object of its own; what is younger than a minute it passes over, so
  // this sees what the rounds before have left.
  void ExpectInOrder() {
    base::RunResult check = Gantryctl({"fsck", "--verify"});
    EXPECT_EQ(check.exit.code, 0) << check.out << check.err;
  }

  // Through the front door, as an operator would.
  void RemoveLoad() {
    for (const auto& [id, pid] : RunningTasks()) {
      if (!absl::StartsWith(id, "keep-")) Ctr({"task", "rm", "--force", id});
    }
    for (absl::string_view id :
         absl::StrSplit(CtrOk({"task", "ls", "-q"}), '\n', absl::SkipEmpty())) {
      if (!absl::StartsWith(id, "keep-")) Ctr({"task", "rm", "--force", std::string(id)});
    }
    for (absl::string_view id :
         absl::StrSplit(CtrOk({"container", "ls", "-q"}), '\n', absl::SkipEmpty())) {
      if (!absl::StartsWith(id, "keep-")) CtrOk({"container", "rm", std::string(id)});
    }
    for (absl::string_view line :
         absl::StrSplit(CtrOk({"snapshot", "ls"}), '\n', absl::SkipEmpty())) {
      std::string key(line.substr(0, line.find(' ')));
      if (absl::StartsWith(key, "snap-") || absl::StartsWith(key, "run-") ||
          absl::StartsWith(key, "bg-")) {
        CtrOk({"snapshot", "rm", key});
      }
    }
    for (absl::string_view name :
         absl::StrSplit(CtrOk({"image", "ls", "-q"}), '\n', absl::SkipEmpty())) {
      if (absl::StrContains(name, "copy:")) CtrOk({"image", "rm", std::string(name)});
    }
  }
};

TEST_F(KillGantrydTest, ContainersGoOnAndNothingIsLeft) {
  const char* wanted = getenv("GANTRY_CRASH_ROUNDS");
  int rounds = 25;
  if (wanted != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(wanted, &rounds));
  }
  unsigned seed = static_cast<unsigned>(absl::ToUnixNanos(absl::Now()));
  std::mt19937 random(seed);
  RecordProperty("seed", absl::StrCat(seed));

  StartGantryd();
  ImportBusybox();
  std::string shared = dir() + "/ticks";
  ASSERT_TRUE(base::MakeDirs(shared).ok());
  for (int i = 0; i < 3; ++i) {
    CtrOk({"run", "-d", "--mount",
           absl::StrCat("type=bind,src=", shared, ",dst=/ticks,options=rbind:rw"),
           std::string(kBusybox), absl::StrCat("keep-", i), "sh", "-c",
           absl::StrCat("while :; do echo x >> /ticks/", i, "; sleep 0.05; done")});
  }
  std::map<std::string, std::string> kept = RunningTasks();
  ASSERT_EQ(kept.size(), 3u);

  for (int round = 0; round < rounds; ++round) {
    std::atomic<bool> done{false};
    std::vector<std::thread> load;
    for (int worker = 0; worker < 2; ++worker) {
      int first = static_cast<int>(random() % 6);
      load.emplace_back([&, worker, first] {
        for (int i = 0; !done; ++i) LoadOnce(first + i, absl::StrCat(round, "-", worker, "-", i));
      });
    }
    absl::SleepFor(absl::Milliseconds(random() % 400));
    KillGantryd();
    done = true;
    // Before the clients have ended: ctr goes on trying where it finds nobody who listens.
    StartGantryd();
    for (std::thread& thread : load) thread.join();
    ASSERT_TRUE(running()) << "round " << round << ", seed " << seed;

    std::map<std::string, std::string> now = RunningTasks();
    for (const auto& [id, pid] : kept) {
      EXPECT_EQ(now[id], pid) << id << " in round " << round << ", seed " << seed;
      EXPECT_EQ(kill(atoi(pid.c_str()), 0), 0) << id << " is dead in round " << round;
    }
    // Every blob that is listed can be read and is what its digest says.
    for (absl::string_view digest :
         absl::StrSplit(CtrOk({"content", "ls", "-q"}), '\n', absl::SkipEmpty())) {
      base::RunResult blob = Ctr({"content", "get", std::string(digest)});
      if (absl::StrContains(blob.err, "not found")) continue;  // collected meanwhile
      EXPECT_EQ(blob.exit.code, 0) << digest << ": " << blob.err;
      EXPECT_EQ(absl::StrCat("sha256:", tests::Run({"sha256sum"}, blob.out).out.substr(0, 64)),
                std::string(digest));
    }
    if (round % 5 == 4) RemoveLoad();
    if (round % 25 == 24) ExpectInOrder();
    if (HasFailure()) break;
  }
  RemoveLoad();
  ExpectInOrder();
  EXPECT_THAT(CtrOk({"run", "--rm", std::string(kBusybox), "after", "echo", "still works"}),
              HasSubstr("still works"));

  for (int i = 0; i < 3; ++i) {
    std::string path = absl::StrCat(shared, "/", i);
    size_t before = base::ReadFile(path)->size();
    absl::SleepFor(absl::Milliseconds(300));
    EXPECT_GT(base::ReadFile(path)->size(), before) << "keep-" << i << " does not go on";
    CtrOk({"task", "rm", "--force", absl::StrCat("keep-", i)});
    CtrOk({"container", "rm", absl::StrCat("keep-", i)});
  }
  // With all containers gone, only the image's layers are left on disk.
  CtrOk({"image", "rm", "--sync", std::string(kBusybox)});
  EXPECT_EQ(CtrOk({"container", "ls", "-q"}), "");
  EXPECT_EQ(CtrOk({"task", "ls", "-q"}), "");
  EXPECT_THAT(GantryctlOk({"fsck", "--verify"}), HasSubstr("all in order"));
}

}  // namespace
}  // namespace gantry::tests
