// With real mounts, in a mount namespace of the test's own.
#include "services/volumes/volume_manager.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/process.h"
#include "gantry/types/object_event.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/db.h"
#include "services/metadata/intents.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kNs[] = "n1";
constexpr char kChildRoot[] = "GANTRY_VOLUME_TEST_ROOT";

class VolumeManagerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // A child of the crash tests shares its parent's mounts.
    if (geteuid() != 0 || getenv(kChildRoot) != nullptr) return;
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  }
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    const char* given = getenv(kChildRoot);
    root_ = given != nullptr
                ? given
                : absl::StrCat("/tmp/gantry-volumes-", getpid(), "-", base::RandomHex(4));
    child_ = given != nullptr;
    ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs").ok());
    Open();
  }
  void TearDown() override {
    manager_.reset();
    db_.reset();
    if (root_.empty() || child_) return;
    EXPECT_THAT(Mounts(), IsEmpty());
    for (const std::string& left : Mounts()) umount2(left.c_str(), MNT_DETACH);
    EXPECT_TRUE(base::RemoveTree(root_).ok());
  }

  void Open() {
    auto db = Db::Open(root_ + "/metadata");
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    db_->AddCommitListener([this](const CommitInfo& info) {
      for (const NumberedEvent& event : info.events) {
        gantry::types::ObjectEvent object;
        EXPECT_TRUE(object.ParseFromString(event.envelope.event().value()));
        std::string line = absl::StrCat(event.envelope.topic(), " ", object.id());
        std::map<std::string, std::string> sorted(object.attributes().begin(),
                                                  object.attributes().end());
        for (const auto& [key, value] : sorted) absl::StrAppend(&line, " ", key, "=", value);
        events_.push_back(line);
      }
    });
    VolumeManager::Options options;
    options.root = root_;
    options.with_rootfs = [this](const std::string&, const std::string& container,
                                 const std::function<absl::Status(const std::string&)>& use) {
      if (container == "missing") return absl::NotFoundError("no container");
      return use(root_ + "/rootfs");
    };
    auto manager = OpenVolumeManager(db_.get(), options);
    ASSERT_TRUE(manager.ok()) << manager.status();
    manager_ = *std::move(manager);
  }
  // As after a kill of gantryd: `existing` and `running` are what it finds.
  void Restart(std::vector<std::string> existing, std::vector<std::string> running = {}) {
    manager_.reset();
    db_.reset();
    Open();
    auto in = [](std::vector<std::string> list) {
      return [list](const std::string&, const std::string& id) {
        return std::find(list.begin(), list.end(), id) != list.end();
      };
    };
    ASSERT_TRUE(manager_->Recover(in(existing), in(running)).ok());
  }
  std::vector<std::string> TakeEvents() { return std::exchange(events_, {}); }

  volumes::Volume Create(const std::string& name, std::map<std::string, std::string> options = {}) {
    volumes::Volume volume;
    volume.set_name(name);
    for (const auto& [key, value] : options) (*volume.mutable_options())[key] = value;
    auto created = manager_->Create(kNs, volume);
    EXPECT_TRUE(created.ok()) << created.status();
    return created.ok() ? created->volume() : volume;
  }
  absl::Status Acquire(const std::string& container, std::vector<std::string> names) {
    return manager_->Acquire(kNs, container, names).status();
  }
  absl::Status Populate(const std::string& name, const std::string& path,
                        const std::string& container = "c1") {
    volumes::PopulateVolumeRequest request;
    request.set_name(name);
    request.set_container_id(container);
    request.set_path(path);
    return manager_->Populate(kNs, request);
  }
  std::string Data(const std::string& name) const {
    return absl::StrCat(root_, "/volumes/", kNs, "/", name, "/_data");
  }
  bool Present(const std::string& name) { return manager_->Get(kNs, name).ok(); }
  void ExpectTrashToBeEmptied() const {
    const std::string trash = root_ + "/volumes/.trash";
    for (int i = 0; i < 500 && !base::ListDir(trash)->empty(); ++i)
      absl::SleepFor(absl::Milliseconds(10));
    EXPECT_THAT(*base::ListDir(trash), IsEmpty());
  }
  // Mount points below the test's directory, each as often as it is mounted on.
  std::vector<std::string> Mounts() const {
    std::vector<std::string> found;
    std::string table = *base::ReadFile("/proc/self/mountinfo");
    for (absl::string_view line : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
      std::vector<std::string> fields = absl::StrSplit(line, ' ');
      if (absl::StartsWith(fields[4], root_ + "/")) found.push_back(fields[4]);
    }
    return found;
  }
  // Runs the body of CrashTest.Child in a process that dies at `point`.
  void RunAndCrash(const std::string& action, const std::string& point) {
    manager_.reset();
    db_.reset();
    base::SpawnOptions options;
    options.argv = {"/proc/self/exe", "--gtest_also_run_disabled_tests",
                    "--gtest_filter=VolumeManagerTest.DISABLED_Child"};
    options.env = {absl::StrCat(kChildRoot, "=", root_), "GANTRY_VOLUME_TEST_ACTION=" + action,
                   "GANTRY_CRASH_POINT=" + point};
    auto result = base::RunProcess(options);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->exit.signal, SIGKILL) << result->out << result->err;
    Open();
  }

  std::string root_;
  bool child_ = false;
  std::unique_ptr<Db> db_;
  std::unique_ptr<VolumeManager> manager_;
  std::vector<std::string> events_;
};

TEST_F(VolumeManagerTest, CreateIsIdempotentAndSaysWhatDiffers) {
  volumes::Volume volume;
  volume.set_name("data");
  (*volume.mutable_labels())["a"] = "b";
  auto first = manager_->Create(kNs, volume);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(first->existed());
  EXPECT_EQ(first->volume().driver(), "local");
  EXPECT_EQ(first->volume().mountpoint(), Data("data"));
  EXPECT_GT(first->volume().created_at().seconds(), 0);
  struct stat st {};
  ASSERT_EQ(stat(Data("data").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  auto second = manager_->Create(kNs, volume);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->existed());
  (*volume.mutable_options())["type"] = "tmpfs";
  (*volume.mutable_options())["device"] = "tmpfs";
  absl::Status conflict = manager_->Create(kNs, volume).status();
  EXPECT_EQ(conflict.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(conflict.message(), "create data: conflict: volume name must be unique");
  EXPECT_THAT(TakeEvents(), ElementsAre("/volume/create data driver=local"));
  auto info = manager_->Get(kNs, "data");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->volume().labels().at("a"), "b");
  EXPECT_EQ(manager_->Get("other", "data").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(manager_->Get(kNs, "none").status().message(), "get none: no such volume");
}

TEST_F(VolumeManagerTest, AnonymousOnesGoWithTheirContainer) {
  std::string name = Create("").name();
  EXPECT_THAT(name, SizeIs(64));
  auto info = manager_->Get(kNs, name);
  EXPECT_TRUE(info->volume().anonymous());
  EXPECT_TRUE(info->volume().labels().contains("com.docker.volume.anonymous"));
  Create("named");
  ASSERT_TRUE(Acquire("c1", {name, "named"}).ok());
  ASSERT_TRUE(Acquire("c2", {name}).ok());
  TakeEvents();
  ASSERT_TRUE(manager_->Release(kNs, "c1", true).ok());
  EXPECT_TRUE(Present(name));  // c2 has it, too
  ASSERT_TRUE(manager_->Release(kNs, "c2", true).ok());
  EXPECT_FALSE(Present(name));
  EXPECT_TRUE(Present("named"));
  EXPECT_FALSE(base::Exists(Data(name)));
  EXPECT_THAT(TakeEvents(), ElementsAre(absl::StrCat("/volume/destroy ", name, " driver=local")));
}

TEST_F(VolumeManagerTest, InUseMeansNotDeleted) {
  Create("data");
  ASSERT_TRUE(Acquire("c1", {"data"}).ok());
  ASSERT_TRUE(Acquire("c2", {"data", "data"}).ok());
  absl::Status refused = manager_->Delete(kNs, "data", true);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refused.message(), "remove data: volume is in use - [c1, c2]");
  absl::Status missing = Acquire("c3", {"data", "none"});
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.message(), "get none: no such volume");
  EXPECT_THAT(manager_->Get(kNs, "data")->containers(), ElementsAre("c1", "c2"));
  ASSERT_TRUE(manager_->Release(kNs, "c1", false).ok());
  ASSERT_TRUE(manager_->Release(kNs, "c2", false).ok());
  ASSERT_TRUE(base::WriteFile(Data("data") + "/file", "x").ok());
  ASSERT_TRUE(manager_->Delete(kNs, "data", false).ok());
  ExpectTrashToBeEmptied();
  EXPECT_EQ(manager_->Delete(kNs, "data", false).message(), "get data: no such volume");
  EXPECT_TRUE(manager_->Delete(kNs, "data", true).ok());
  Create("data");
  EXPECT_THAT(*base::ListDir(Data("data")), IsEmpty());
}

TEST_F(VolumeManagerTest, SizesAndReferences) {
  Create("big");
  Create("small");
  Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  ASSERT_TRUE(base::WriteFile(Data("big") + "/file", std::string(1 << 20, 'x')).ok());
  ASSERT_EQ(link((Data("big") + "/file").c_str(), (Data("big") + "/again").c_str()), 0);
  ASSERT_EQ(symlink("/", (Data("small") + "/root").c_str()), 0);
  ASSERT_TRUE(Acquire("c1", {"big"}).ok());
  auto list = manager_->List(kNs, true);
  ASSERT_TRUE(list.ok());
  ASSERT_THAT(*list, SizeIs(3));
  EXPECT_GE((*list)[0].usage().size(), 1 << 20);
  EXPECT_LT((*list)[0].usage().size(), 3 << 19);
  EXPECT_EQ((*list)[0].usage().references(), 1u);
  EXPECT_EQ((*list)[1].usage().size(), -1);  // ram
  EXPECT_LT((*list)[2].usage().size(), 1 << 16);
  EXPECT_FALSE((*manager_->List(kNs, false))[0].has_usage());
}

TEST_F(VolumeManagerTest, MountedOnceForAllWhoRun) {
  Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,mode=0711,nosuid"}});
  Create("plain");
  ASSERT_TRUE(Acquire("c1", {"ram", "plain"}).ok());
  ASSERT_TRUE(Acquire("c2", {"ram"}).ok());
  TakeEvents();
  EXPECT_THAT(Mounts(), IsEmpty());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  ASSERT_TRUE(manager_->Mount(kNs, "c2").ok());
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  struct stat st {};
  ASSERT_EQ(stat(Data("ram").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0711u);
  EXPECT_FALSE(base::WriteFile(Data("ram") + "/much", std::string(2 << 20, 'x')).ok());
  EXPECT_THAT(TakeEvents(), ElementsAre("/volume/mount plain container=c1 driver=local",
                                        "/volume/mount ram container=c1 driver=local",
                                        "/volume/mount ram container=c2 driver=local"));
  ASSERT_TRUE(manager_->Unmount(kNs, "c1").ok());
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  ASSERT_TRUE(manager_->Unmount(kNs, "c2").ok());
  ASSERT_TRUE(manager_->Unmount(kNs, "c2").ok());
  EXPECT_THAT(Mounts(), IsEmpty());
  EXPECT_THAT(TakeEvents(), ElementsAre("/volume/unmount plain container=c1 driver=local",
                                        "/volume/unmount ram container=c1 driver=local",
                                        "/volume/unmount ram container=c2 driver=local"));
  // A container that is removed while it runs takes its mounts with it.
  ASSERT_TRUE(manager_->Mount(kNs, "c2").ok());
  ASSERT_TRUE(manager_->Release(kNs, "c2", false).ok());
  EXPECT_THAT(Mounts(), IsEmpty());
}

TEST_F(VolumeManagerTest, BindsOfHostDirectories) {
  std::string host = root_ + "/host";
  ASSERT_TRUE(base::MakeDirs(host).ok());
  ASSERT_TRUE(base::WriteFile(host + "/there", "x").ok());
  Create("dir", {{"type", "none"}, {"device", host}, {"o", "bind,ro"}});
  ASSERT_TRUE(Acquire("c1", {"dir"}).ok());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  EXPECT_TRUE(base::Exists(Data("dir") + "/there"));
  EXPECT_EQ(base::ErrnoOf(base::WriteFile(Data("dir") + "/new", "x")), EROFS);
  ASSERT_TRUE(manager_->Unmount(kNs, "c1").ok());
  ASSERT_TRUE(manager_->Release(kNs, "c1", false).ok());
  ASSERT_TRUE(manager_->Delete(kNs, "dir", false).ok());
  ExpectTrashToBeEmptied();
  EXPECT_TRUE(base::Exists(host + "/there"));
}

TEST_F(VolumeManagerTest, AMountThatFailsLeavesNone) {
  Create("a-ram", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  Create("b-bad", {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=wrong"}});
  Create("c-gone", {{"type", "none"}, {"device", "/nonexistent/dir"}, {"o", "bind"}});
  Create("d-fs", {{"type", "nosuchfs"}, {"device", "x"}});
  ASSERT_TRUE(Acquire("c1", {"a-ram", "b-bad"}).ok());
  TakeEvents();
  absl::Status bad = manager_->Mount(kNs, "c1");
  EXPECT_THAT(bad.message(), HasSubstr("failed to mount local volume: tmpfs tmpfs: size=wrong"));
  EXPECT_THAT(bad.message(), HasSubstr("Bad value"));
  EXPECT_THAT(Mounts(), IsEmpty());
  ASSERT_TRUE(Acquire("c2", {"c-gone"}).ok());
  absl::Status gone = manager_->Mount(kNs, "c2");
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(gone.message(), HasSubstr("/nonexistent/dir"));
  ASSERT_TRUE(Acquire("c3", {"d-fs"}).ok());
  EXPECT_THAT(manager_->Mount(kNs, "c3").message(), HasSubstr("knows no file system nosuchfs"));
}

TEST_F(VolumeManagerTest, FilledOnceWithEverythingAFileHas) {
  std::string image = root_ + "/rootfs/var/lib/app";
  ASSERT_TRUE(base::MakeDirs(image + "/sub", 0755).ok());
  ASSERT_TRUE(base::WriteFile(image + "/file", "content", 0640).ok());
  ASSERT_EQ(link((image + "/file").c_str(), (image + "/sub/hard").c_str()), 0);
  ASSERT_EQ(symlink("/etc/shadow", (image + "/link").c_str()), 0);
  ASSERT_EQ(lsetxattr((image + "/file").c_str(), "trusted.test", "v", 1, 0), 0);
  ASSERT_EQ(chown((image + "/file").c_str(), 12, 34), 0);
  ASSERT_EQ(chown(image.c_str(), 999, 998), 0);
  ASSERT_EQ(chmod(image.c_str(), 01770), 0);
  Create("data");
  ASSERT_TRUE(Populate("data", "/var/lib/app").ok());
  struct stat st {
  }, hard{};
  ASSERT_EQ(stat(Data("data").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 01770u);
  EXPECT_EQ(st.st_uid, 999u);
  EXPECT_EQ(st.st_gid, 998u);
  ASSERT_EQ(stat((Data("data") + "/file").c_str(), &st), 0);
  ASSERT_EQ(stat((Data("data") + "/sub/hard").c_str(), &hard), 0);
  EXPECT_EQ(st.st_ino, hard.st_ino);
  EXPECT_EQ(st.st_uid, 12u);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  char value = 0;
  EXPECT_EQ(lgetxattr((Data("data") + "/file").c_str(), "trusted.test", &value, 1), 1);
  ASSERT_EQ(lstat((Data("data") + "/link").c_str(), &st), 0);
  EXPECT_TRUE(S_ISLNK(st.st_mode));
  // It has content now: another image does not change it.
  ASSERT_TRUE(base::WriteFile(image + "/later", "x").ok());
  ASSERT_TRUE(Populate("data", "/var/lib/app").ok());
  EXPECT_FALSE(base::Exists(Data("data") + "/later"));
  EXPECT_THAT(*base::ListDir(absl::StrCat(root_, "/volumes/", kNs, "/data")), ElementsAre("_data"));
}

TEST_F(VolumeManagerTest, FillingStaysInsideOfTheImage) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/secret").ok());
  ASSERT_TRUE(base::WriteFile(root_ + "/secret/key", "k").ok());
  std::string image = root_ + "/rootfs";
  ASSERT_EQ(symlink((root_ + "/secret").c_str(), (image + "/absolute").c_str()), 0);
  ASSERT_EQ(symlink("../secret", (image + "/relative").c_str()), 0);
  ASSERT_TRUE(base::MakeDirs(image + "/real", 0755).ok());
  ASSERT_TRUE(base::WriteFile(image + "/real/file", "x").ok());
  ASSERT_EQ(symlink("/real", (image + "/inside").c_str()), 0);
  Create("data");
  for (const char* path : {"/absolute", "/relative", "/../secret", "/missing"})
    EXPECT_TRUE(Populate("data", path).ok()) << path;
  EXPECT_THAT(*base::ListDir(Data("data")), IsEmpty());
  absl::Status file = Populate("data", "/real/file");
  EXPECT_EQ(file.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(file.message(), HasSubstr("cannot mount volume over existing file"));
  EXPECT_EQ(Populate("data", "/real", "missing").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Populate("none", "/real").message(), "get none: no such volume");
  ASSERT_TRUE(Populate("data", "/inside").ok());
  EXPECT_THAT(*base::ListDir(Data("data")), ElementsAre("file"));
}

TEST_F(VolumeManagerTest, FillingBehindARunningContainerKeepsItsDirectory) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs/app", 0755).ok());
  ASSERT_TRUE(base::WriteFile(root_ + "/rootfs/app/file", "x").ok());
  Create("data");
  ASSERT_TRUE(Acquire("c1", {"data"}).ok());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  struct stat before {
  }, after{};
  ASSERT_EQ(stat(Data("data").c_str(), &before), 0);
  ASSERT_TRUE(Populate("data", "/app", "c2").ok());
  ASSERT_EQ(stat(Data("data").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_TRUE(base::Exists(Data("data") + "/file"));
  // Into the volume's own mount, which is there for the copy only.
  std::string host = root_ + "/host";
  ASSERT_TRUE(base::MakeDirs(host).ok());
  Create("bound", {{"type", "none"}, {"device", host}, {"o", "bind"}});
  ASSERT_TRUE(Populate("bound", "/app").ok());
  EXPECT_TRUE(base::Exists(host + "/file"));
  EXPECT_THAT(Mounts(), IsEmpty());
}

TEST_F(VolumeManagerTest, ARestartKeepsTheMountsOfThoseWhoRun) {
  Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  Create("other", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  for (const char* id : {"c1", "c2"}) {
    ASSERT_TRUE(Acquire(id, {id == std::string("c1") ? "ram" : "other"}).ok());
    ASSERT_TRUE(manager_->Mount(kNs, id).ok());
  }
  Restart({"c1", "c2"}, {"c1"});
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  EXPECT_THAT(manager_->Get(kNs, "other")->containers(), ElementsAre("c2"));
  // c1's record is gone: so are its uses.
  Restart({"c2"}, {"c2"});
  EXPECT_THAT(Mounts(), IsEmpty());
  EXPECT_THAT(manager_->Get(kNs, "ram")->containers(), IsEmpty());
  EXPECT_TRUE(manager_->Delete(kNs, "ram", false).ok());
}

TEST_F(VolumeManagerTest, ADirectoryWithoutARecordIsNeverTakenOrRemoved) {
  ASSERT_TRUE(base::MakeDirs(Data("lost")).ok());
  ASSERT_TRUE(base::WriteFile(Data("lost") + "/precious", "x").ok());
  Restart({});
  EXPECT_TRUE(base::Exists(Data("lost") + "/precious"));
  volumes::Volume volume;
  volume.set_name("lost");
  absl::Status refused = manager_->Create(kNs, volume).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("holds data of a volume that has no record"));
}

TEST_F(VolumeManagerTest, ManyAtOnceCountRight) {
  Create("shared", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t] {
      std::string id = absl::StrCat("c", t);
      for (int i = 0; i < 10; ++i) {
        std::string own = Create("").name();
        EXPECT_TRUE(Acquire(id, {"shared", own}).ok());
        EXPECT_TRUE(manager_->Mount(kNs, id).ok());
        EXPECT_THAT(Mounts(), ElementsAre(Data("shared")));
        EXPECT_TRUE(manager_->Unmount(kNs, id).ok());
        EXPECT_TRUE(manager_->Release(kNs, id, true).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Mounts(), IsEmpty());
  EXPECT_THAT(*manager_->List(kNs, false), SizeIs(1));
  EXPECT_THAT(*base::ListDir(absl::StrCat(root_, "/volumes/", kNs)), ElementsAre("shared"));
}

// The other process of the tests below.
TEST_F(VolumeManagerTest, DISABLED_Child) {
  ASSERT_NE(getenv(kChildRoot), nullptr) << "only for the tests below";
  std::string action = getenv("GANTRY_VOLUME_TEST_ACTION");
  if (action == "create") Create("data");
  if (action == "delete") (void)manager_->Delete(kNs, "data", false);
  if (action == "release") (void)manager_->Release(kNs, "c1", true);
  if (action == "populate") (void)Populate("data", "/app");
  if (action == "mount") (void)manager_->Mount(kNs, "c1");
}

TEST_F(VolumeManagerTest, KilledDuringCreate) {
  RunAndCrash("create", "volume.create.made");
  Restart({});
  EXPECT_FALSE(Present("data"));
  Create("data");
  EXPECT_TRUE(base::Exists(Data("data")));
}

TEST_F(VolumeManagerTest, KilledDuringDelete) {
  for (const char* point : {"volume.delete.recorded", "volume.delete.discarded"}) {
    Create("data");
    ASSERT_TRUE(base::WriteFile(Data("data") + "/file", "x").ok());
    RunAndCrash("delete", point);
    EXPECT_FALSE(Present("data"));
    Restart({});
    EXPECT_FALSE(base::Exists(Data("data"))) << point;
    ExpectTrashToBeEmptied();
    ASSERT_TRUE(db_->View([](const ReadView& view) {
                     EXPECT_THAT(*PendingIntents(view, ""), IsEmpty());
                     return absl::OkStatus();
                   })
                    .ok());
  }
}

// Without a Recover() in between: the name is wanted again at once.
TEST_F(VolumeManagerTest, CreatedAgainAfterADeletionThatWasCutOff) {
  Create("data");
  ASSERT_TRUE(base::WriteFile(Data("data") + "/file", "x").ok());
  RunAndCrash("delete", "volume.delete.recorded");
  Create("data");
  EXPECT_THAT(*base::ListDir(Data("data")), IsEmpty());
  ASSERT_TRUE(base::WriteFile(Data("data") + "/new", "x").ok());
  Restart({});
  EXPECT_TRUE(base::Exists(Data("data") + "/new"));
}

TEST_F(VolumeManagerTest, KilledDuringRelease) {
  std::string own = Create("").name();
  Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  ASSERT_TRUE(Acquire("c1", {own, "ram"}).ok());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  RunAndCrash("release", "volume.release.recorded");
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  Restart({});
  EXPECT_THAT(Mounts(), IsEmpty());
  EXPECT_FALSE(base::Exists(Data(own)));
}

TEST_F(VolumeManagerTest, KilledDuringAFilling) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs/app", 0755).ok());
  ASSERT_TRUE(base::WriteFile(root_ + "/rootfs/app/file", "x").ok());
  Create("data");
  RunAndCrash("populate", "volume.populate.copied");
  EXPECT_THAT(*base::ListDir(Data("data")), IsEmpty());
  Restart({});
  EXPECT_THAT(*base::ListDir(absl::StrCat(root_, "/volumes/", kNs, "/data")), ElementsAre("_data"));
  ASSERT_TRUE(Populate("data", "/app").ok());
  EXPECT_TRUE(base::Exists(Data("data") + "/file"));
}

TEST_F(VolumeManagerTest, KilledDuringAMount) {
  Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}});
  ASSERT_TRUE(Acquire("c1", {"ram"}).ok());
  RunAndCrash("mount", "volume.mount.mounted");
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  Restart({"c1"});
  EXPECT_THAT(Mounts(), IsEmpty());
  ASSERT_TRUE(manager_->Mount(kNs, "c1").ok());
  EXPECT_THAT(Mounts(), ElementsAre(Data("ram")));
  ASSERT_TRUE(manager_->Unmount(kNs, "c1").ok());
}

}  // namespace
}  // namespace gantry::services
