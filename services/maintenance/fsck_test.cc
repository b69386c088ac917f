#include "services/maintenance/fsck.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "containerd/services/content/v1/content.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/wrappers.pb.h"
#include "gtest/gtest.h"
#include "services/content/blob_files.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class FsckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-fsck-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    db_ = *Db::Open(dir_ + "/db");
    for (const char* sub :
         {"/root/io.containerd.content.v1.content/blobs/sha256",
          "/root/io.containerd.snapshotter.v1.overlayfs/snapshots",
          "/state/io.containerd.runtime.v2.task/default", "/state/s", "/cgroup/memory/default"}) {
      ASSERT_TRUE(base::MakeDirs(dir_ + sub).ok());
    }
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [](Tx& tx) {
                              tx.Put(Key({kTableNamespaces, "default"}), "");
                              return absl::OkStatus();
                            })
                    .ok());
  }
  void TearDown() override {
    db_.reset();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  Fsck::Report Check(bool repair, bool verify = false,
                     absl::Duration grace = absl::ZeroDuration()) {
    FsckDeps deps;
    deps.db = db_.get();
    deps.root = dir_ + "/root";
    deps.state = dir_ + "/state";
    deps.local_snapshotters = {"overlayfs"};
    deps.cgroup_root = dir_ + "/cgroup";
    deps.shims = [this] { return shims_; };
    deps.grace = grace;
    Fsck::Request request;
    request.set_repair(repair);
    request.set_verify_content(verify);
    auto report = Fsck(deps).Check(request);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : Fsck::Report();
  }

  std::string BlobPath(const std::string& data) {
    return absl::StrCat(dir_, "/root/io.containerd.content.v1.content/blobs/sha256/",
                        base::DigestOf(data).hex());
  }
  void AddBlob(const std::string& data, const std::string& on_disk) {
    ASSERT_TRUE(base::WriteFile(BlobPath(data), on_disk).ok());
    AddBlobRecord(data);
  }
  void AddBlobRecord(const std::string& data) {
    std::string digest = base::DigestOf(data).str();
    containerd::services::content::v1::Info info;
    info.set_digest(digest);
    info.set_size(static_cast<int64_t>(data.size()));
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              tx.PutProto(Key({kTableBlobs, "default", digest}), info);
                              tx.Put(Key({kTableBlobReferences, digest, "default"}), "");
                              return absl::OkStatus();
                            })
                    .ok());
  }

  // Checks that there is one finding, that a repair mends it, and that nothing is found afterwards.
  void ExpectOneThatIsMended(absl::string_view kind, absl::string_view problem,
                             bool verify = false) {
    Fsck::Report report = Check(false, verify);
    ASSERT_EQ(report.findings_size(), 1) << report.DebugString();
    EXPECT_EQ(report.findings(0).kind(), kind);
    EXPECT_THAT(report.findings(0).problem(), HasSubstr(std::string(problem)));
    EXPECT_FALSE(report.findings(0).repaired());
    report = Check(true, verify);
    ASSERT_EQ(report.findings_size(), 1);
    EXPECT_TRUE(report.findings(0).repaired()) << report.DebugString();
    EXPECT_EQ(Check(false, verify).findings_size(), 0);
  }

  std::string dir_;
  std::unique_ptr<Db> db_;
  std::vector<KnownShim> shims_;
};

TEST_F(FsckTest, WhatHasAnOwnerIsInOrder) {
  AddBlob("abc", "abc");
  shims_ = {{"default", "c1", absl::StrCat("unix://", dir_, "/state/s/1")}};
  ASSERT_TRUE(base::MakeDirs(dir_ + "/state/io.containerd.runtime.v2.task/default/c1").ok());
  ASSERT_TRUE(base::MakeDirs(dir_ + "/cgroup/memory/default/c1").ok());
  ASSERT_TRUE(base::WriteFile(dir_ + "/state/s/1", "").ok());
  Fsck::Report report = Check(false, true);
  EXPECT_EQ(report.findings_size(), 0) << report.DebugString();
  int64_t seen = 0;
  for (const auto& count : report.counts()) seen += count.seen();
  EXPECT_EQ(seen, 4);
}

TEST_F(FsckTest, YoungThingsAreLeftAlone) {
  ASSERT_TRUE(base::WriteFile(BlobPath("x"), "x").ok());
  ASSERT_TRUE(base::MakeDirs(dir_ + "/state/io.containerd.runtime.v2.task/default/new").ok());
  EXPECT_EQ(Check(true, false, absl::Minutes(1)).findings_size(), 0);
  EXPECT_TRUE(base::Exists(BlobPath("x")));
}

TEST_F(FsckTest, StrayBlob) {
  ASSERT_TRUE(base::WriteFile(BlobPath("x"), "x").ok());
  ExpectOneThatIsMended("blob", "no namespace has a record");
}

TEST_F(FsckTest, MissingBlob) {
  AddBlobRecord("abc");
  ExpectOneThatIsMended("blob", "missing");
}

TEST_F(FsckTest, ShortBlob) {
  AddBlob("abc", "ab");
  ExpectOneThatIsMended("blob", "has 2 bytes instead of 3");
}

TEST_F(FsckTest, DamagedBlobIsSeenOnlyWhenVerified) {
  AddBlob("abc", "abd");
  EXPECT_EQ(Check(false).findings_size(), 0);
  ExpectOneThatIsMended("blob", "damaged", true);
}

TEST_F(FsckTest, StraySnapshotDirectory) {
  ASSERT_TRUE(
      base::MakeDirs(dir_ + "/root/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs").ok());
  ExpectOneThatIsMended("snapshot", "no record");
}

TEST_F(FsckTest, MissingSnapshotDirectoryIsReportedOnly) {
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [](Tx& tx) {
                            tx.Put(Key({"snpref", "overlayfs", "9", "default", "layer"}), "");
                            return absl::OkStatus();
                          })
                  .ok());
  Fsck::Report report = Check(true);
  ASSERT_EQ(report.findings_size(), 1);
  EXPECT_EQ(report.findings(0).object(), "default/layer");
  EXPECT_FALSE(report.findings(0).repaired());
}

TEST_F(FsckTest, StrayBundleSocketAndCgroup) {
  ASSERT_TRUE(
      base::MakeDirs(dir_ + "/state/io.containerd.runtime.v2.task/default/gone/rootfs").ok());
  ExpectOneThatIsMended("bundle", "no task");
  ASSERT_TRUE(base::WriteFile(dir_ + "/state/s/old", "").ok());
  ExpectOneThatIsMended("shim", "gone");
  ASSERT_TRUE(base::MakeDirs(dir_ + "/cgroup/memory/default/gone").ok());
  ExpectOneThatIsMended("cgroup", "no task");
}

TEST_F(FsckTest, StrayUploadWorkAndTemporaryDirectory) {
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [](Tx& tx) {
                            tx.Put(Key({kTableIngests, "default", "known"}), "");
                            return absl::OkStatus();
                          })
                  .ok());
  std::string ingests = dir_ + "/root/io.containerd.content.v1.content/ingest/";
  ASSERT_TRUE(base::MakeDirs(ingests + BlobFiles::IngestId("default", "known")).ok());
  EXPECT_EQ(Check(false).findings_size(), 0);
  ASSERT_TRUE(base::MakeDirs(ingests + "0123").ok());
  ExpectOneThatIsMended("upload", "no record");
  ASSERT_TRUE(base::MakeDirs(dir_ + "/root/io.containerd.runtime.v2.task/default/gone/x").ok());
  ExpectOneThatIsMended("work dir", "no task");
  ASSERT_TRUE(base::MakeDirs(dir_ + "/root/containers/default/gone").ok());
  ExpectOneThatIsMended("container dir", "no container");
  ASSERT_TRUE(base::MakeDirs(dir_ + "/state/tmp/mount-1").ok());
  ExpectOneThatIsMended("temporary mount", "nobody");
}

TEST_F(FsckTest, StrayMounts) {
  std::string bundle = dir_ + "/state/io.containerd.runtime.v2.task/default/gone/rootfs";
  for (const std::string& target : {bundle, dir_ + "/state/tmp/mount-1", dir_ + "/state/other"}) {
    ASSERT_TRUE(base::MakeDirs(target).ok());
    ASSERT_EQ(mount("none", target.c_str(), "tmpfs", 0, "size=4k"), 0) << strerror(errno);
  }
  Fsck::Report report = Check(false);
  std::vector<std::string> kinds;
  for (const auto& finding : report.findings()) kinds.push_back(finding.kind());
  EXPECT_THAT(kinds,
              ::testing::UnorderedElementsAre("bundle", "temporary mount", "mount", "mount"));
  Check(true);
  report = Check(false);
  EXPECT_EQ(report.findings_size(), 0) << report.DebugString();
  EXPECT_THAT(*base::ReadFile("/proc/self/mountinfo", 64 << 20), Not(HasSubstr(dir_)));
}

// Data of users: what has no record is told, and kept.
TEST_F(FsckTest, VolumesAndTheirMounts) {
  std::string volumes = dir_ + "/root/volumes/default/";
  for (const char* name : {"stray", "known", "ended"})
    ASSERT_TRUE(base::MakeDirs(volumes + name + "/_data").ok());
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [](Tx& tx) {
                            for (const char* name : {"known", "ended", "lost"})
                              tx.Put(Key({"vol", "default", name}), "");
                            tx.Put(Key({"vlu", "default", "known", "c1"}), "m");
                            tx.Put(Key({"vlu", "default", "ended", "c1"}), "");
                            return absl::OkStatus();
                          })
                  .ok());
  for (const char* name : {"known", "ended"}) {
    std::string target = volumes + name + "/_data";
    ASSERT_EQ(mount("none", target.c_str(), "tmpfs", 0, "size=4k"), 0) << strerror(errno);
  }
  std::vector<std::string> objects;
  Fsck::Report report = Check(true);
  for (const auto& finding : report.findings())
    objects.push_back(absl::StrCat(finding.kind(), " ", finding.object()));
  EXPECT_THAT(objects,
              ::testing::UnorderedElementsAre("volume " + volumes + "stray", "volume default/lost",
                                              "mount " + volumes + "ended/_data"));
  EXPECT_TRUE(base::Exists(volumes + "stray/_data"));
  EXPECT_EQ(umount2((volumes + "known/_data").c_str(), MNT_DETACH), 0);
  EXPECT_NE(umount2((volumes + "ended/_data").c_str(), MNT_DETACH), 0);
}

TEST_F(FsckTest, IntentsThatNobodyEnded) {
  google::protobuf::StringValue payload;
  ASSERT_TRUE(db_->Update(Durability::kNone,
                          [&](Tx& tx) { return BeginIntent(tx, "pull", payload).status(); })
                  .ok());
  EXPECT_EQ(Check(false, false, absl::Minutes(1)).findings_size(), 0) << "it may be a long pull";
  Fsck::Report report = Check(true);
  ASSERT_EQ(report.findings_size(), 1);
  EXPECT_EQ(report.findings(0).kind(), "intent");
}

}  // namespace
}  // namespace gantry::services
