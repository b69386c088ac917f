// Operations on snapshots that a crash cuts off at each of their steps. The operation runs in a
// process of its own (this program once more, with GANTRY_CRASH_POINT), which is killed there.

#include <signal.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/intents.h"
#include "services/snapshots/snapshots.h"
#include "snapshotter/registry.h"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// A layer that the other process has without anybody unpacking it, as lazy snapshotters do.
constexpr char kOffered[] = "sha256:0ffe7ed";
constexpr char kOfferedId[] = "remote/1/layer";

// A snapshotter of another process: it keeps a directory for each snapshot, "a-ID" for active and
// "c-ID" for committed ones, and outlives the daemon.
class RemoteBackend final : public Backend {
 public:
  explicit RemoteBackend(std::string dir) : dir_(std::move(dir)) { fs::create_directories(dir_); }

  std::set<std::string> capabilities() const override { return {}; }
  absl::StatusOr<std::set<std::string>> Reconcile(const std::set<std::string>& known) override {
    next_ = static_cast<int>(known.size()) + 1;
    return std::set<std::string>();
  }
  std::string NewId(absl::string_view ns, absl::string_view key) override {
    return absl::StrCat(ns, "/", next_++, "/", key);
  }
  absl::StatusOr<std::vector<base::Mount>> Create(const Spec& spec) override {
    GANTRY_RETURN_IF_ERROR(Reachable());
    auto target = spec.labels.find("containerd.io/snapshot.ref");
    if (target != spec.labels.end() && target->second == kOffered)
      return absl::AlreadyExistsError("it is here");
    fs::create_directory(Path('a', spec.id));
    return std::vector<base::Mount>();
  }
  absl::StatusOr<Target> FindTarget(absl::string_view target,
                                    absl::string_view parent) const override {
    if (target != kOffered || !parent.empty()) return absl::NotFoundError("no target");
    return Target{kOfferedId, {{"containerd.io/snapshot.ref", kOffered}, {"lazy", "yes"}}};
  }
  absl::StatusOr<std::vector<base::Mount>> Mounts(const Spec&) const override {
    return std::vector<base::Mount>();
  }
  absl::StatusOr<Committed> Commit(const std::string& id, const std::string& new_id,
                                   const SnapshotLabels&, std::optional<SnapshotUsage>) override {
    GANTRY_RETURN_IF_ERROR(Reachable());
    fs::rename(Path('a', id), Path('c', new_id));
    return Committed{new_id, {}};
  }
  absl::StatusOr<SnapshotUsage> GetUsage(const std::string&) const override {
    return SnapshotUsage();
  }
  absl::Status Remove(const std::string& id) override {
    GANTRY_RETURN_IF_ERROR(Reachable());
    fs::remove(Path('a', id));
    fs::remove(Path('c', id));
    return absl::OkStatus();
  }
  bool local() const override { return false; }
  absl::StatusOr<SnapshotLabels> Labels(const std::string& id) const override {
    GANTRY_RETURN_IF_ERROR(Reachable());
    if (id == kOfferedId) return SnapshotLabels{{"lazy", "yes"}};
    if (fs::exists(Path('a', id)) || fs::exists(Path('c', id))) return SnapshotLabels();
    return absl::NotFoundError(id);
  }
  absl::Status UpdateLabels(const std::string&, const SnapshotLabels&,
                            const std::vector<std::string>&) override {
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> LayerDir(const std::string&) const override {
    return absl::UnimplementedError("remote");
  }
  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Cleanup() override { return absl::OkStatus(); }

 private:
  std::string Path(char kind, const std::string& id) const {
    return absl::StrCat(dir_, "/", std::string(1, kind), "-",
                        absl::StrReplaceAll(id, {{"/", "_"}}));
  }
  absl::Status Reachable() const {
    if (!fs::exists(dir_ + ".down")) return absl::OkStatus();
    return absl::UnavailableError("the snapshotter does not answer");
  }

  const std::string dir_;
  int next_ = 1;
};

struct House {
  std::unique_ptr<Db> db;
  std::unique_ptr<Snapshots> snapshots;
};

House OpenHouse(const std::string& dir) {
  House house;
  auto db = Db::Open(dir + "/db");
  EXPECT_TRUE(db.ok()) << db.status();
  house.db = *std::move(db);
  std::map<std::string, std::unique_ptr<Backend>> backends;
  auto driver = snapshotter::OpenDriver("native", {dir + "/native"});
  EXPECT_TRUE(driver.ok()) << driver.status();
  backends.emplace("native", MakeLocalBackend(*std::move(driver)));
  backends.emplace("remote", std::make_unique<RemoteBackend>(dir + "/remote"));
  auto snapshots = Snapshots::Open(house.db.get(), std::move(backends));
  EXPECT_TRUE(snapshots.ok()) << snapshots.status();
  house.snapshots = *std::move(snapshots);
  return house;
}

const Context kCtx{"ns", ""};

// What the process that dies does: "made" exists, active; "layer" and its like are committed.
TEST(SnapshotIntentsChild, DISABLED_Run) {
  const char* dir = getenv("GANTRY_TEST_DIR");
  ASSERT_NE(dir, nullptr) << "only started by the tests below";
  const std::string operation = getenv("GANTRY_TEST_OPERATION");
  const std::string name = getenv("GANTRY_TEST_SNAPSHOTTER");
  House house = OpenHouse(dir);
  absl::Status status = absl::InvalidArgumentError(operation);
  if (operation == "prepare") status = house.snapshots->Prepare(kCtx, name, "new", "", {}).status();
  if (operation == "commit") status = house.snapshots->Commit(kCtx, name, "layer", "made", {});
  if (operation == "remove") status = house.snapshots->Remove(kCtx, name, "made");
  FAIL() << "nobody has killed it: " << status;
}

class SnapshotIntentsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat("/tmp/gantry-intents-", base::RandomHex(6));
    fs::create_directories(dir_);
    for (const char* name : {"native", "remote"}) {
      House house = OpenHouse(dir_);
      ASSERT_TRUE(house.snapshots->Prepare(kCtx, name, "made", "", {}).ok());
    }
  }
  void TearDown() override { fs::remove_all(dir_); }

  void CrashAt(const std::string& point, const std::string& operation, const std::string& name) {
    auto run = base::RunProcess(
        {.argv = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                  "--gtest_filter=SnapshotIntentsChild.*"},
         .env = {"GANTRY_TEST_DIR=" + dir_, "GANTRY_CRASH_POINT=" + point,
                 "GANTRY_TEST_OPERATION=" + operation, "GANTRY_TEST_SNAPSHOTTER=" + name}});
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_EQ(run->exit.signal, SIGKILL) << run->out << run->err;
  }
  // "key kind" of each.
  static std::vector<std::string> Names(const House& house, const std::string& name) {
    std::vector<std::string> names;
    EXPECT_TRUE(house.snapshots
                    ->Walk(kCtx, name, {},
                           [&names](const SnapshotInfo& info) {
                             bool committed = info.kind == SnapshotKind::kCommitted;
                             names.push_back((committed ? "c-" : "a-") + info.name);
                             return true;
                           })
                    .ok());
    return names;
  }
  std::vector<std::string> Directories(const std::string& name) {
    auto names = base::ListDir(dir_ + (name == "remote" ? "/remote" : "/native/snapshots"));
    return names.ok() ? *names : std::vector<std::string>{"unreadable"};
  }
  static std::vector<std::string> Pending(const House& house) {
    std::vector<std::string> kinds;
    EXPECT_TRUE(house.db
                    ->View([&](const ReadView& view) -> absl::Status {
                      GANTRY_ASSIGN_OR_RETURN(std::vector<Intent> list, PendingIntents(view, ""));
                      for (const Intent& intent : list) kinds.push_back(intent.kind());
                      return absl::OkStatus();
                    })
                    .ok());
    return kinds;
  }

  std::string dir_;
};

TEST_F(SnapshotIntentsTest, EachStepIsUndoneOrFinished) {
  struct Case {
    const char* point;
    const char* operation;
    const char* snapshotter;
    std::vector<std::string> want;
  } cases[] = {
      {"snapshot.prepare.begun", "prepare", "native", {"a-made"}},
      {"snapshot.prepare.made", "prepare", "native", {"a-made"}},
      {"snapshot.prepare.recorded", "prepare", "native", {"a-made", "a-new"}},
      {"snapshot.commit.done", "commit", "native", {"a-made"}},
      {"snapshot.remove.recorded", "remove", "native", {}},
      {"snapshot.prepare.begun", "prepare", "remote", {"a-made"}},
      {"snapshot.prepare.made", "prepare", "remote", {"a-made"}},
      {"snapshot.prepare.recorded", "prepare", "remote", {"a-made", "a-new"}},
      {"snapshot.commit.begun", "commit", "remote", {"a-made"}},
      {"snapshot.commit.done", "commit", "remote", {"c-layer"}},
      {"snapshot.remove.recorded", "remove", "remote", {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.snapshotter, " ", c.point));
    CrashAt(c.point, c.operation, c.snapshotter);
    House house = OpenHouse(dir_);
    EXPECT_EQ(Names(house, c.snapshotter), c.want);
    EXPECT_EQ(Directories(c.snapshotter).size(), c.want.size());
    EXPECT_THAT(Pending(house), IsEmpty());
    house = {};
    TearDown();
    SetUp();
  }
}

TEST_F(SnapshotIntentsTest, WaitForASnapshotterThatIsDown) {
  CrashAt("snapshot.commit.done", "commit", "remote");
  std::string down = dir_ + "/remote.down";
  ASSERT_TRUE(base::WriteFile(down, "").ok());
  {
    House house = OpenHouse(dir_);
    EXPECT_THAT(Pending(house), ElementsAre("snapshot.commit"));
    // Nobody knows whether it was made: the intent stays.
    EXPECT_EQ(house.snapshots->Prepare(kCtx, "remote", "other", "", {}).status().code(),
              absl::StatusCode::kUnavailable);
    EXPECT_THAT(Pending(house), UnorderedElementsAre("snapshot.commit", "snapshot.prepare"));
  }
  fs::remove(down);
  House house = OpenHouse(dir_);
  EXPECT_THAT(Pending(house), IsEmpty());
  EXPECT_THAT(Names(house, "remote"), ElementsAre("c-layer"));
  EXPECT_THAT(Directories("remote"), ElementsAre("c-ns_2_layer"));
}

TEST_F(SnapshotIntentsTest, AFailureLeavesNothingPending) {
  House house = OpenHouse(dir_);
  for (const char* name : {"native", "remote"}) {
    EXPECT_TRUE(
        absl::IsAlreadyExists(house.snapshots->Prepare(kCtx, name, "made", "", {}).status()));
    EXPECT_TRUE(absl::IsNotFound(house.snapshots->Prepare(kCtx, name, "x", "nosuch", {}).status()));
    EXPECT_TRUE(absl::IsNotFound(house.snapshots->Commit(kCtx, name, "layer", "nosuch", {})));
  }
  EXPECT_THAT(Pending(house), IsEmpty());
}

TEST_F(SnapshotIntentsTest, ALayerThatTheSnapshotterOffersIsTaken) {
  House house = OpenHouse(dir_);
  const SnapshotLabels wanted = {{"containerd.io/snapshot.ref", kOffered}};
  absl::Status taken = house.snapshots->Prepare(kCtx, "remote", "extract-1", "", wanted).status();
  EXPECT_TRUE(absl::IsAlreadyExists(taken)) << taken;
  EXPECT_THAT(Names(house, "remote"), UnorderedElementsAre("a-made", absl::StrCat("c-", kOffered)));
  auto info = house.snapshots->Stat(kCtx, "remote", kOffered);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->labels.at("lazy"), "yes");
  EXPECT_THAT(Directories("remote"), ElementsAre("a-ns_1_made")) << "nothing was unpacked";
  EXPECT_TRUE(house.snapshots->Prepare(kCtx, "remote", "box", kOffered, {}).ok());
  EXPECT_THAT(Pending(house), IsEmpty());
}

}  // namespace
}  // namespace gantry::services
