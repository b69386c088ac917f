// ctr: images.

#include "tests/integration/ctr_fixture.h"
#include "tests/integration/docker_registry.h"

namespace gantry::tests {
namespace {

TEST_F(CtrTest, ImageLifecycle) {
  ImportBusybox();
  EXPECT_THAT(CtrOk({"image", "ls"}), AllOf(HasSubstr(kBusybox), HasSubstr("linux/amd64")));
  EXPECT_THAT(CtrOk({"image", "check"}), AllOf(HasSubstr("complete (2/2)"), HasSubstr("true")));
  CtrOk({"image", "tag", Busybox(), "example.com/other:1"});
  base::RunResult again = Ctr({"image", "tag", Busybox(), "example.com/other:1"});
  if (ctr_major() < 2) {
    EXPECT_THAT(again.err, HasSubstr("already exists"));
  } else {  // done by the transfer service, which takes the name away
    EXPECT_EQ(again.out, "example.com/other:1\n");
    EXPECT_THAT(Ctr({"image", "tag", "--local", Busybox(), "example.com/other:1"}).err,
                HasSubstr("already exists"));
  }
  CtrOk({"image", "tag", "--force", Busybox(), "example.com/other:1"});
  CtrOk({"image", "label", "example.com/other:1", "x=y"});
  EXPECT_THAT(CtrOk({"image", "ls", "labels.x==y"}),
              AllOf(HasSubstr("example.com/other:1"), Not(HasSubstr("busybox"))));
  CtrOk({"image", "export", dir() + "/out.tar", Busybox()});
  EXPECT_THAT(tests::Run({"tar", "tf", dir() + "/out.tar"}).out,
              AllOf(HasSubstr("index.json"), HasSubstr("oci-layout")));
  CtrOk({"image", "rm", Busybox(), "example.com/other:1"});
  EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "");
  EXPECT_TRUE(Eventually({"content", "ls", "-q"}, "") &&
              CtrOk({"image", "import", dir() + "/out.tar"}) != "");
  EXPECT_THAT(RunRm({}, {"echo", "reimported"}), "reimported\n");
}

TEST_F(CtrTest, ImageMount) {
  ImportBusybox();
  std::string target = dir() + "/mnt";
  ASSERT_TRUE(base::MakeDirs(target).ok());
  CtrOk({"image", "mount", Busybox(), target});
  EXPECT_TRUE(base::Exists(target + "/bin/busybox"));
  CtrOk({"image", "unmount", "--rm", target});
  EXPECT_FALSE(base::Exists(target + "/bin/busybox"));
  CtrOk({"image", "mount", "--rw", Busybox(), target});
  EXPECT_TRUE(base::WriteFile(target + "/new", "x").ok());
  CtrOk({"image", "unmount", "--rm", target});
  EXPECT_EQ(RunRm({}, {"sh", "-c", "ls /new 2>/dev/null || echo none"}), "none\n");
}

TEST_F(CtrTest, ImageUsageAndLabels) {
  ImportBusybox();
  if (ctr_major() >= 2) {
    EXPECT_THAT(CtrOk({"image", "usage", Busybox()}),
                ContainsRegex("sha256:[0-9a-f]+ +2\\.[0-9] MiB"));
  }
  EXPECT_THAT(CtrOk({"image", "label", Busybox(), "a=b", "c=d"}), HasSubstr("a=b"));
  CtrOk({"image", "label", Busybox(), "a="});
  EXPECT_THAT(CtrOk({"image", "ls"}), AllOf(HasSubstr("c=d"), Not(HasSubstr("a=b"))));
  EXPECT_THAT(CtrOk({"image", "label", "--replace-all", Busybox(), "e=f"}), HasSubstr("e=f"));
  EXPECT_THAT(CtrOk({"image", "ls"}), AllOf(HasSubstr("e=f"), Not(HasSubstr("c=d"))));
  EXPECT_THAT(Ctr({"image", "label", "nothere", "a=b"}).err, HasSubstr("not found"));
}

TEST_F(CtrTest, ImageConvert) {
  ImportBusybox();
  CtrOk({"image", "convert", "--uncompress", "--oci", Busybox(), "example.com/plain:1"});
  std::string content = CtrOk({"content", "ls"});
  EXPECT_THAT(CtrOk({"image", "ls"}), ContainsRegex("example.com/plain:1 .*2\\.[0-9] MiB"));
  CtrOk({"image", "rm", "--sync", Busybox()});
  EXPECT_EQ(CtrOk({"run", "--rm", "example.com/plain:1", "plain", "echo", "plain tar"}),
            "plain tar\n");
}

TEST_F(CtrTest, ImageImportNames) {
  if (ctr_major() < 2) GTEST_SKIP() << "this ctr keeps the archive's names beside those asked for";
  CtrOk({"image", "import", "--base-name", "example.com/base", "--digests", "--index-name",
         "example.com/index:1", BusyboxImage()});
  // The archive names another image: it is only known by its digest.
  EXPECT_THAT(CtrOk({"image", "ls", "-q"}),
              ContainsRegex("^example.com/base@sha256:[0-9a-f]+\nexample.com/index:1\n$"));
  EXPECT_THAT(CtrOk({"image", "check"}), Not(HasSubstr("incomplete")));
  EXPECT_EQ(CtrOk({"run", "--rm", "example.com/index:1", "i", "echo", "by index"}), "by index\n");
}

TEST_F(CtrTest, ImageImportWithoutUnpacking) {
  CtrOk({"image", "import", "--no-unpack", "--all-platforms", BusyboxImage()});
  EXPECT_THAT(CtrOk({"image", "check"}), ContainsRegex("complete \\(2/2\\).* false"));
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), Not(HasSubstr("sha256")));
  EXPECT_EQ(RunRm({}, {"echo", "unpacked now"}), "unpacked now\n");
  EXPECT_THAT(CtrOk({"image", "check"}), ContainsRegex("complete \\(2/2\\).* true"));
}

TEST_F(CtrTest, ImagePullPushAndFetch) {
  ASSERT_TRUE(base::MakeDirs(dir() + "/registry").ok());
  DockerRegistry registry({dir() + "/registry", "me:secret", false, false});
  const std::string name = registry.host() + "/some/busybox:1";
  ImportBusybox();
  CtrOk({"image", "push", "--plain-http", "--user", "me:secret", name, Busybox()});
  EXPECT_NE(Ctr({"image", "push", "--plain-http", "--user", "me:wrong", name, Busybox()}).exit.code,
            0);
  std::string digest;
  for (absl::string_view word : absl::StrSplit(CtrOk({"image", "ls"}), ' ')) {
    if (absl::StartsWith(word, "sha256:")) digest = std::string(word);
  }
  CtrOk({"image", "rm", "--sync", Busybox()});
  EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");

  base::RunResult refused = Ctr({"image", "pull", "--plain-http", name});
  EXPECT_NE(refused.exit.code, 0);
  EXPECT_THAT(refused.err,
              ContainsRegex("401 Unauthorized|authorization failed|asks for a user name"));
  const std::vector<std::string> login = {"--plain-http", "--user", "me:secret"};
  auto with_login = [&](std::vector<std::string> command, const std::string& what) {
    command.insert(command.end(), login.begin(), login.end());
    command.push_back(what);
    return CtrOk(command);
  };
  with_login({"image", "pull", "--label", "k=v"}, name);
  EXPECT_THAT(CtrOk({"image", "ls"}), AllOf(HasSubstr(name), HasSubstr(digest)));
  EXPECT_EQ(CtrOk({"run", "--rm", name, "pulled", "echo", "pulled"}), "pulled\n");
  if (ctr_major() >= 2) {  // by itself, without the transfer service
    CtrOk({"image", "export", "--local", dir() + "/local.tar", name});
    with_login({"image", "push", "--local"}, name);
    CtrOk({"image", "rm", "--sync", name});
    with_login({"image", "pull", "--local"}, name);
    EXPECT_EQ(CtrOk({"run", "--rm", name, "local", "echo", "local"}), "local\n");
    CtrOk({"image", "rm", "--sync", name});
    CtrOk({"image", "import", "--local", dir() + "/local.tar"});
    EXPECT_EQ(CtrOk({"run", "--rm", name, "local", "echo", "again"}), "again\n");
  }
  // By digest.
  const std::string by_digest = registry.host() + "/some/busybox@" + digest;
  with_login({"image", "pull"}, by_digest);
  EXPECT_EQ(CtrOk({"run", "--rm", by_digest, "by-digest", "echo", "exact"}), "exact\n");
  CtrOk({"image", "rm", "--sync", name, by_digest});
  // Only the content.
  with_login({"content", "fetch"}, name);
  EXPECT_THAT(CtrOk({"image", "check"}), ContainsRegex("complete \\(2/2\\).* false"));
  EXPECT_THAT(with_login({"content", "fetch-object"}, name), HasSubstr("schemaVersion"));
  base::RunResult absent =
      Ctr({"image", "pull", "--plain-http", "--user", "me:secret", registry.host() + "/absent:1"});
  EXPECT_NE(absent.exit.code, 0);
  EXPECT_THAT(absent.err, HasSubstr("not found"));
}

TEST_F(CtrTest, RemovedImageFreesContentAndSnapshots) {
  ImportBusybox();
  RunRm({}, {"true"});
  EXPECT_NE(CtrOk({"content", "ls", "-q"}), "");
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), HasSubstr("Committed"));
  CtrOk({"image", "rm", "--sync", Busybox()});
  EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
  EXPECT_THAT(CtrOk({"snapshot", "ls"}), Not(HasSubstr("Committed")));
}

}  // namespace
}  // namespace gantry::tests
