// Images on their way between gantry, archives and registries, with skopeo as the witness: what
// comes out is what went in, digest by digest.

#include "base/digest.h"
#include "tests/integration/ctr_fixture.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/image_archive.h"

namespace gantry::tests {
namespace {

using ::testing::UnorderedElementsAre;

class ImageTripsTest : public CtrTest {
 protected:
  std::string Skopeo(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "skopeo");
    arguments.insert(arguments.begin() + 2, "--tmpdir=" + dir());
    base::RunResult result = tests::Run(arguments);
    EXPECT_EQ(result.exit.code, 0) << absl::StrJoin(arguments, " ") << "\n" << result.err;
    return result.out;
  }
  // Digest of the manifest or index that `where` names.
  std::string DigestAt(const std::string& where) {
    std::vector<std::string> argv = {"inspect", "--raw", where};
    if (absl::StartsWith(where, "docker://")) argv.push_back("--tls-verify=false");
    return absl::StrCat("sha256:", tests::Run({"sha256sum"}, Skopeo(argv)).out.substr(0, 64));
  }
  // What the image was configured with; the same whatever holds it.
  std::string ConfigAt(const std::string& where) {
    std::vector<std::string> argv = {"inspect", "--config", where};
    if (absl::StartsWith(where, "docker://")) argv.push_back("--tls-verify=false");
    return Skopeo(argv);
  }
  // Digest of an image here.
  std::string DigestOfImage(const std::string& name) {
    for (absl::string_view line : absl::StrSplit(CtrOk({"image", "ls"}), '\n')) {
      std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (words.size() > 2 && words[0] == name) return words[2];
    }
    return "";
  }
  std::vector<std::string> ImageNames() {
    return absl::StrSplit(CtrOk({"image", "ls", "-q"}), '\n', absl::SkipEmpty());
  }
  void RemoveAllImages() {
    for (const std::string& name : ImageNames()) CtrOk({"image", "rm", "--sync", name});
    EXPECT_EQ(CtrOk({"content", "ls", "-q"}), "");
  }
  // Imports by both clients in turn and calls `check` after each.
  void Import(const std::string& tar, const std::function<void()>& check) {
    for (bool ours : {true, false}) {
      SCOPED_TRACE(ours ? "gantryctl" : "ctr");
      if (ours) {
        GantryctlOk({"import", tar});
      } else {
        CtrOk({"image", "import", tar});
      }
      check();
      RemoveAllImages();
    }
  }
  // An image for linux/amd64, which runs, and linux/arm64/v8, which has /etc/only-arm.
  std::string MultiPlatformImage() {
    const std::string arm = dir() + "/arm", images = SourceDir() + "/tests/images/";
    EXPECT_TRUE(base::MakeDirs(arm + "/etc", 0755).ok());
    EXPECT_TRUE(base::WriteFile(arm + "/etc/only-arm", "arm64\n").ok());
    EXPECT_EQ(tests::Run({images + "make-image", arm + ".tar", "x:1", arm}).exit.code, 0);
    base::RunResult made =
        tests::Run({images + "make-index", dir() + "/multi.tar", kMulti, "linux/amd64",
                    BusyboxImage(), "linux/arm64/v8", arm + ".tar"});
    EXPECT_EQ(made.exit.code, 0) << made.err;
    return dir() + "/multi.tar";
  }
  std::unique_ptr<DockerRegistry> StartRegistry(const std::string& htpasswd = "") {
    EXPECT_TRUE(base::MakeDirs(dir() + "/registry").ok());
    return std::make_unique<DockerRegistry>(
        DockerRegistryOptions{dir() + "/registry", htpasswd, false, false});
  }

  static constexpr char kMulti[] = "docker.io/library/multi:1";
};

TEST_F(ImageTripsTest, ExportsAreReadByOthers) {
  auto registry = StartRegistry();
  const std::string original = "oci-archive:" + BusyboxImage();
  for (bool ours : {true, false}) {
    SCOPED_TRACE(ours ? "gantryctl" : "ctr");
    ImportBusybox();
    const std::string tar = absl::StrCat(dir(), "/export-", ours, ".tar");
    if (ours) {
      GantryctlOk({"export", tar, std::string(kBusybox)});
    } else {
      CtrOk({"image", "export", tar, Busybox()});
    }
    EXPECT_EQ(DigestAt("oci-archive:" + tar), DigestAt(original));
    EXPECT_EQ(ConfigAt("oci-archive:" + tar), ConfigAt(original));
    // The same file is one of `docker save` as well.
    EXPECT_EQ(ConfigAt("docker-archive:" + tar), ConfigAt(original));
    EXPECT_THAT(tests::Run({"tar", "xOf", tar, "manifest.json"}).out,
                ContainsRegex("\"RepoTags\":.\"(docker.io/library/)?busybox:latest\"."));
    // Through a registry and back.
    const std::string name = absl::StrCat(registry->host(), "/from-", ours, ":1");
    Skopeo({"copy", "--dest-tls-verify=false", "oci-archive:" + tar, "docker://" + name});
    EXPECT_EQ(DigestAt("docker://" + name), DigestAt(original));
    RemoveAllImages();
    GantryctlOk({"pull", name});
    EXPECT_EQ(DigestOfImage(name), DigestAt(original));
    EXPECT_EQ(GantryctlOk({"run", "--rm", name, "echo", "round trip"}), "round trip\n");
    RemoveAllImages();
    const std::string as_docker = absl::StrCat(registry->host(), "/docker-", ours, ":1");
    Skopeo({"copy", "--dest-tls-verify=false", "--format=v2s2", "docker-archive:" + tar,
            "docker://" + as_docker});
    GantryctlOk({"pull", as_docker});
    EXPECT_EQ(GantryctlOk({"run", "--rm", as_docker, "echo", "by schema 2"}), "by schema 2\n");
    Skopeo({"copy", "docker-archive:" + tar, absl::StrCat("dir:", dir(), "/as-dir-", ours)});
    RemoveAllImages();
  }
}

TEST_F(ImageTripsTest, PushesAreReadByOthers) {
  auto registry = StartRegistry("me:secret");
  ImportBusybox();
  const std::string digest = DigestOfImage(Busybox());
  const std::string name = registry->host() + "/pushed:1";
  EXPECT_NE(Gantryctl({"push", "--user", "me:wrong", Busybox(), name}).exit.code, 0);
  base::RunResult anonymous = Gantryctl({"push", Busybox(), name});
  EXPECT_NE(anonymous.exit.code, 0);
  EXPECT_THAT(anonymous.err, HasSubstr("asks for a user name and password"));
  GantryctlOk({"push", "--user", "me:secret", Busybox(), name});
  const std::string copied = "oci:" + dir() + "/copied:1";
  Skopeo({"copy", "--src-creds=me:secret", "--src-tls-verify=false", "docker://" + name, copied});
  EXPECT_EQ(DigestAt(copied), digest);
  RemoveAllImages();
  EXPECT_THAT(Gantryctl({"pull", name}).err, HasSubstr("asks for a user name and password"));
  const std::string by_digest = registry->host() + "/pushed@" + digest;
  GantryctlOk({"pull", "--user", "me:secret", by_digest});
  EXPECT_THAT(ImageNames(), UnorderedElementsAre(by_digest));
  EXPECT_EQ(GantryctlOk({"run", "--rm", by_digest, "echo", "exact"}), "exact\n");
}

TEST_F(ImageTripsTest, DockerArchivesWithSeveralTags) {
  const std::string tar = dir() + "/docker.tar";
  Skopeo({"copy", "--additional-tag=example.com/team/app:v1", "--additional-tag=busybox:second",
          "oci-archive:" + BusyboxImage(), "docker-archive:" + tar + ":busybox:first"});
  const std::string config = ConfigAt("docker-archive:" + tar + ":busybox:first");
  Import(tar, [&] {
    EXPECT_THAT(ImageNames(), UnorderedElementsAre("docker.io/library/busybox:first",
                                                   "docker.io/library/busybox:second",
                                                   "example.com/team/app:v1"));
    EXPECT_EQ(GantryctlOk({"run", "--rm", "busybox:second", "echo", "second"}), "second\n");
    EXPECT_EQ(CtrOk({"run", "--rm", "example.com/team/app:v1", "third", "echo", "third"}),
              "third\n");
    // And out again.
    CtrOk({"image", "export", dir() + "/again.tar", "docker.io/library/busybox:first",
           "example.com/team/app:v1"});
    EXPECT_EQ(ConfigAt("docker-archive:" + dir() + "/again.tar:example.com/team/app:v1"), config);
  });
}

// The layout that docker wrote before 1.10 and, with manifest.json beside it, up to 24.
TEST_F(ImageTripsTest, DockerArchivesOfOldLayout) {
  const std::string id(64, 'a'), top(64, 'b'), config_name = std::string(64, 'c') + ".json";
  // The base is busybox's own layer.
  ASSERT_EQ(tests::Run({"sh", "-c",
                        absl::StrCat("mkdir ", dir(), "/b && tar -C ", dir(), "/b -xf ",
                                     BusyboxImage(), " && cd ", dir(),
                                     "/b/blobs/sha256 && for f in *; do gzip -t $f 2>/dev/null && "
                                     "gzip -dc < $f > ",
                                     dir(), "/layer.tar; done; true")})
                .exit.code,
            0);
  const std::string busybox = *base::ReadFile(dir() + "/layer.tar", 64 << 20);
  const std::string second =
      PackTar({TarFile("etc/added", "by the second layer\n"), TarFile("etc/.wh.group", "")});
  auto members = [&](bool with_manifest) {
    const std::string config = absl::StrCat(
        R"({"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":["PATH=/bin"]},)",
        R"("rootfs":{"type":"layers","diff_ids":[")", base::DigestOf(busybox).str(), R"(",")",
        base::DigestOf(second).str(), "\"]}}");
    std::vector<TarItem> items;
    for (const auto& [layer_id, layer] : {std::pair(id, busybox), std::pair(top, second)}) {
      items.push_back(TarNode(layer_id + "/", archive::TarType::kDirectory));
      items.push_back(TarFile(layer_id + "/VERSION", "1.0"));
      items.push_back(TarFile(layer_id + "/json", absl::StrCat("{\"id\":\"", layer_id, "\"}")));
      items.push_back(TarFile(layer_id + "/layer.tar", layer));
    }
    items.push_back(TarFile(config_name, config));
    items.push_back(TarFile("repositories", absl::StrCat("{\"old\":{\"1\":\"", top, "\"}}")));
    if (with_manifest) {
      items.push_back(TarFile(
          "manifest.json",
          absl::StrCat("[{\"Config\":\"", config_name, "\",\"RepoTags\":[\"old:1\"],\"Layers\":[\"",
                       id, "/layer.tar\",\"", top, "/layer.tar\"]}]")));
    }
    return PackTar(items);
  };
  const std::string tar = dir() + "/old.tar";
  ASSERT_TRUE(base::WriteFile(tar, members(true)).ok());
  Import(tar, [&] {
    EXPECT_THAT(ImageNames(), UnorderedElementsAre("docker.io/library/old:1"));
    EXPECT_EQ(GantryctlOk({"run", "--rm", "old:1", "sh", "-c",
                           "cat /etc/added; ls /etc/group 2>&1 || true"}),
              "by the second layer\nls: /etc/group: No such file or directory\n");
  });
  if (ctr_major() >= 2) {
    CtrOk({"image", "import", "--compress-blobs", tar});
    EXPECT_THAT(CtrOk({"image", "inspect", "docker.io/library/old:1"}),
                ContainsRegex("rootfs.diff.tar.gzip|tar.gzip"));
    RemoveAllImages();
  }
  ASSERT_TRUE(base::ReplaceFile(tar, members(false)).ok());
  EXPECT_THAT(Gantryctl({"import", tar}).err, HasSubstr("neither an OCI image layout"));
  EXPECT_NE(Ctr({"image", "import", tar}).exit.code, 0);
}

TEST_F(ImageTripsTest, IndexesGiveTheRightPlatform) {
  auto registry = StartRegistry();
  const std::string tar = MultiPlatformImage();
  const std::string index = DigestAt("oci-archive:" + tar);
  const std::string name = registry->host() + "/multi:1";
  // The whole index goes to the registry and comes back.
  CtrOk({"image", "import", "--all-platforms", tar});
  EXPECT_EQ(DigestOfImage(kMulti), index);
  EXPECT_THAT(CtrOk({"image", "ls"}), HasSubstr("linux/amd64,linux/arm64"));
  CtrOk({"image", "push", "--plain-http", name, kMulti});
  EXPECT_EQ(DigestAt("docker://" + name), index);
  RemoveAllImages();
  // This machine's part runs; the other's is not fetched.
  GantryctlOk({"pull", name});
  EXPECT_EQ(DigestOfImage(name), index);
  EXPECT_EQ(
      GantryctlOk({"run", "--rm", name, "sh", "-c", "ls /etc/only-arm 2>/dev/null || echo amd64"}),
      "amd64\n");
  RemoveAllImages();
  CtrOk({"image", "pull", "--plain-http", "--platform", "linux/arm64", name});
  EXPECT_THAT(CtrOk({"image", "ls"}), HasSubstr("linux/arm64"));
  EXPECT_THAT(Ctr({"run", "--rm", name, "wrong", "true"}).err,
              ContainsRegex("not found|no match|no unpack"));
  std::string mounted = dir() + "/mnt";
  ASSERT_TRUE(base::MakeDirs(mounted).ok());
  CtrOk({"image", "mount", "--platform", "linux/arm64", name, mounted});
  EXPECT_EQ(*base::ReadFile(mounted + "/etc/only-arm"), "arm64\n");
  CtrOk({"image", "unmount", "--rm", mounted});
  RemoveAllImages();
  CtrOk({"image", "pull", "--plain-http", "--all-platforms", name});
  EXPECT_THAT(CtrOk({"image", "ls"}), HasSubstr("linux/amd64,linux/arm64"));
  base::RunResult other = Ctr({"image", "pull", "--plain-http", "--platform", "linux/s390x", name});
  EXPECT_NE(other.exit.code, 0);
  EXPECT_THAT(other.err, HasSubstr("not found"));
}

TEST_F(ImageTripsTest, IndexesWithMissingPlatforms) {
  auto registry = StartRegistry();
  const std::string name = registry->host() + "/multi:1", tar = dir() + "/partial.tar";
  Skopeo({"copy", "--all", "--dest-tls-verify=false", "oci-archive:" + MultiPlatformImage(),
          "docker://" + name});
  const std::string index = DigestAt("docker://" + name);
  GantryctlOk({"pull", name});
  // What is here goes out, under the whole index.
  GantryctlOk({"export", tar, name});
  EXPECT_EQ(DigestAt("oci-archive:" + tar), index);
  EXPECT_NE(Ctr({"image", "export", "--all-platforms", dir() + "/all.tar", name}).exit.code, 0);
  RemoveAllImages();
  Import(tar, [&] {
    EXPECT_EQ(DigestOfImage(name), index);
    EXPECT_EQ(GantryctlOk({"run", "--rm", name, "echo", "partial"}), "partial\n");
  });
}

}  // namespace
}  // namespace gantry::tests
