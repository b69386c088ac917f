// ctr: content and snapshots.

#include "tests/integration/ctr_fixture.h"

namespace gantry::tests {
namespace {

// Nothing refers to what some cases make: a collection that the start, an import or the end of a
// container asks for would take it.
void LetCollectionsPass() { absl::SleepFor(absl::Milliseconds(700)); }

TEST_F(CtrTest, Content) {
  LetCollectionsPass();
  std::string data = "some content\n";
  std::string digest = absl::StrCat("sha256:", tests::Run({"sha256sum"}, data).out.substr(0, 64));
  CtrOk({"content", "ingest", "--expected-digest", digest, "--expected-size",
         absl::StrCat(data.size()), "ref"},
        data);
  EXPECT_EQ(CtrOk({"content", "get", digest}), data);
  // Labelled as a root it stays while nothing else refers to it.
  CtrOk({"content", "label", digest, "k=v", "containerd.io/gc.root=now"});
  EXPECT_THAT(CtrOk({"content", "ls"}), AllOf(HasSubstr(digest), HasSubstr("k=v")));
  base::RunResult wrong = Ctr(
      {"content", "ingest", "--expected-digest", "sha256:" + std::string(64, '0'), "ref2"}, data);
  EXPECT_NE(wrong.exit.code, 0);
  EXPECT_THAT(wrong.err, HasSubstr("unexpected commit digest"));
  EXPECT_THAT(CtrOk({"content", "active"}), HasSubstr("ref2"));
  EXPECT_EQ(CtrOk({"content", "ls", "-q", "labels.k==v"}), digest + "\n");
  // An editor gets the blob's bytes as a file; what it leaves is a new blob.
  ASSERT_TRUE(base::WriteFile(
                  dir() + "/editor",
                  "#!/bin/sh\ntext=$(sed s/some/other/ \"$1\"); echo \"$text\" > \"$1\"\n", 0755)
                  .ok());
  std::string edited = CtrOk({"content", "edit", "--editor", dir() + "/editor", digest});
  EXPECT_EQ(CtrOk({"content", "get", edited.substr(0, 71)}), "other content\n");
  CtrOk({"content", "rm", digest});
  EXPECT_THAT(Ctr({"content", "get", digest}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, Snapshots) {
  ImportBusybox();
  LetCollectionsPass();
  std::string chain = CtrOk({"snapshot", "ls"});
  size_t at = chain.find("sha256:");
  ASSERT_NE(at, std::string::npos) << chain;
  chain = chain.substr(at, 71);
  CtrOk({"snapshot", "prepare", "one", chain});
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), ContainsRegex("one +sha256:[0-9a-f]+ +Active"));
  EXPECT_THAT(CtrOk({"snapshot", "mounts", "/mnt/x", "one"}), HasSubstr("overlay"));
  EXPECT_THAT(CtrOk({"snapshot", "usage", chain}), ContainsRegex("[0-9.]+ (MiB|KiB|B)"));
  EXPECT_THAT(CtrOk({"snapshot", "tree"}), HasSubstr("one"));
  EXPECT_THAT(CtrOk({"snapshot", "info", "one"}), HasSubstr("\"Active\""));
  EXPECT_THAT(Ctr({"snapshot", "rm", chain}).err, HasSubstr("cannot remove snapshot with child"));
  CtrOk({"snapshot", "commit", "two", "one"});
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), ContainsRegex("two +sha256:[0-9a-f]+ +Committed"));
  CtrOk({"snapshot", "view", "three", "two"});
  CtrOk({"snapshot", "rm", "three"});
  CtrOk({"snapshot", "label", "two", "a=b"});
  EXPECT_THAT(CtrOk({"snapshot", "info", "two"}), HasSubstr("\"a\": \"b\""));
  // --target prints how to mount it.
  EXPECT_THAT(CtrOk({"snapshot", "prepare", "--target", "/mnt/x", "four", "two"}),
              AllOf(HasSubstr("mount -t overlay"), HasSubstr("/mnt/x")));
  CtrOk({"snapshot", "rm", "four"});
  CtrOk({"snapshot", "rm", "two"});
  EXPECT_THAT(Ctr({"snapshot", "rm", "two"}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, SnapshotUnpack) {
  ImportBusybox();
  std::string digest;
  for (absl::string_view word : absl::StrSplit(CtrOk({"image", "ls"}), ' ')) {
    if (absl::StartsWith(word, "sha256:")) digest = std::string(word);
  }
  EXPECT_THAT(CtrOk({"snapshot", "unpack", "--snapshotter", "native", digest}), HasSubstr("done"));
  EXPECT_THAT(CtrOk({"snapshot", "--snapshotter", "native", "ls"}), HasSubstr("Committed"));
  EXPECT_EQ(RunRm({"--snapshotter", "native"}, {"echo", "native"}), "native\n");
}

TEST_F(CtrTest, SnapshotDiffHasWhatTheContainerWrote) {
  ImportBusybox();
  CtrOk({"run", Busybox(), "writer", "sh", "-c", "echo new > /root/new; rm /etc/group"});
  std::string layer = CtrOk({"snapshot", "diff", "writer"});
  ASSERT_TRUE(base::WriteFile(dir() + "/layer", layer).ok());
  EXPECT_THAT(tests::Run({"tar", "tzf", dir() + "/layer"}).out,
              AllOf(HasSubstr("root/new"), HasSubstr("etc/.wh.group")));
}

}  // namespace
}  // namespace gantry::tests
