// Images by the docker CLI, with Debian's registry.

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_fixture.h"
#include "tests/integration/docker_registry.h"

namespace gantry::tests {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class DockerImagesTest : public DockerTest {
 protected:
  std::string Id(const std::string& name) {
    return DockerOk({"image", "inspect", "-f", "{{.Id}}", name});
  }
  std::string MakeDir(const std::string& name) {
    const std::string path = dir() + "/" + name;
    EXPECT_TRUE(base::MakeDirs(path).ok());
    return path;
  }
  // An image that differs from busybox, with one more layer.
  std::string Derive(const std::string& name, const std::string& file) {
    DockerOk({"create", "--name", "derive", "--network", "none", kImage, "true"});
    DockerOk({"cp", "-", "derive:/"}, TarOf(file));
    DockerOk({"commit", "derive", name});
    DockerOk({"rm", "derive"});
    return Id(name);
  }
  std::string TarOf(const std::string& file) {
    const std::string path = MakeDir("tar-" + file);
    EXPECT_TRUE(base::WriteFile(path + "/" + file, "content of " + file).ok());
    return tests::Run({"tar", "-C", path, "-cf", "-", file}).out;
  }
};

TEST_F(DockerImagesTest, ListsAndInspects) {
  EXPECT_EQ(DockerOk({"images", "--format", "{{.Repository}}:{{.Tag}}"}), "busybox:latest");
  const std::string id = Id("busybox");
  EXPECT_THAT(id, ContainsRegex("^sha256:[0-9a-f]{64}$"));
  for (const std::string& name : {id, id.substr(7), id.substr(7, 12), std::string("busybox:latest"),
                                  std::string("docker.io/library/busybox")}) {
    EXPECT_EQ(Id(name), id) << name;
  }
  EXPECT_EQ(DockerOk({"images", "-q", "--no-trunc"}), id);
  base::RunResult none = Docker({"image", "inspect", "nosuch"});
  EXPECT_EQ(none.exit.code, 1);
  EXPECT_THAT(none.err, HasSubstr("No such image: nosuch:latest"));
  EXPECT_THAT(Docker({"inspect", "nosuch"}).err, HasSubstr("No such object: nosuch"));
  EXPECT_EQ(DockerOk({"image", "inspect", "-f", "{{.Os}} {{.RootFS.Type}}", kImage}),
            "linux layers");
  EXPECT_THAT(DockerOk({"history", kImage}), HasSubstr("IMAGE"));
  EXPECT_EQ(DockerOk({"images", "-q", "-f", "reference=busy*"}), id.substr(7, 12));
  EXPECT_EQ(DockerOk({"images", "-q", "-f", "reference=x*"}), "");
  EXPECT_EQ(DockerOk({"images", "-q", "-f", "dangling=true"}), "");
  EXPECT_THAT(Docker({"images", "-f", "nosuch=1"}).err, HasSubstr("invalid filter 'nosuch'"));
}

TEST_F(DockerImagesTest, TagsAndRemoves) {
  const std::string id = Id(kImage);
  DockerOk({"tag", "busybox", "other:1"});
  DockerOk({"tag", id.substr(7, 12), "127.0.0.1:5000/x/y"});
  EXPECT_EQ(Id("other:1"), id);
  EXPECT_THAT(Docker({"tag", "busybox", "Bad:1"}).err, HasSubstr("must be lowercase"));
  EXPECT_THAT(Docker({"tag", "nosuch", "x"}).err, HasSubstr("No such image: nosuch:latest"));
  base::RunResult many = Docker({"rmi", id.substr(7, 12)});
  EXPECT_THAT(many.err, HasSubstr(absl::StrCat("conflict: unable to delete ", id.substr(7, 12),
                                               " (must be forced) - image is referenced in "
                                               "multiple repositories")));
  EXPECT_EQ(DockerOk({"rmi", "other:1"}), "Untagged: other:1");
  EXPECT_EQ(DockerOk({"rmi", "127.0.0.1:5000/x/y"}), "Untagged: 127.0.0.1:5000/x/y:latest");

  DockerOk({"create", "--name", "user", "--network", "none", kImage, "true"});
  base::RunResult used = Docker({"rmi", "busybox"});
  EXPECT_EQ(used.exit.code, 1);
  EXPECT_THAT(used.err,
              AllOf(HasSubstr("conflict: unable to remove repository reference "
                              "\"busybox\" (must force) - container "),
                    HasSubstr(absl::StrCat(" is using its referenced image ", id.substr(7, 12)))));
  DockerOk({"rm", "user"});
  EXPECT_THAT(DockerOk({"rmi", "busybox"}),
              AllOf(HasSubstr("Untagged: busybox:latest"), HasSubstr("Deleted: " + id)));
  EXPECT_THAT(Docker({"rmi", "busybox"}).err, HasSubstr("No such image: busybox:latest"));
  EXPECT_EQ(DockerOk({"images", "-aq"}), "");
}

TEST_F(DockerImagesTest, PushesAndPulls) {
  DockerRegistry registry({.dir = MakeDir("registry")});
  const std::string name = registry.host() + "/sub/bb";
  DockerOk({"tag", "busybox", name + ":1"});
  const std::string id = Id(kImage);
  const std::string pushed = DockerOk({"push", name + ":1"});
  EXPECT_THAT(pushed, HasSubstr("The push refers to repository [" + name + "]"));
  EXPECT_THAT(pushed, ContainsRegex("1: digest: sha256:[0-9a-f]{64} size: [0-9]+"));
  EXPECT_THAT(DockerOk({"push", name + ":1"}), HasSubstr("Layer already exists"));
  EXPECT_THAT(Docker({"push", name + ":none"}).err, HasSubstr("tag does not exist"));
  EXPECT_THAT(
      Docker({"push", registry.host() + "/nothere"}).err,
      HasSubstr("An image does not exist locally with the tag: " + registry.host() + "/nothere"));
  const std::string digest =
      DockerOk({"image", "inspect", "-f", "{{index .RepoDigests 0}}", name + ":1"});
  EXPECT_THAT(digest, HasSubstr(name + "@sha256:"));

  DockerOk({"rmi", name + ":1", "busybox"});
  EXPECT_EQ(DockerOk({"images", "-aq"}), "");
  const std::string pulled = DockerOk({"pull", name + ":1"});
  EXPECT_THAT(pulled, AllOf(HasSubstr("1: Pulling from sub/bb"), HasSubstr("Pull complete"),
                            HasSubstr("Digest: sha256:"),
                            HasSubstr("Status: Downloaded newer image for " + name + ":1")));
  EXPECT_THAT(DockerOk({"pull", name + ":1"}),
              HasSubstr("Status: Image is up to date for " + name + ":1"));
  EXPECT_EQ(Id(name + ":1"), id);
  EXPECT_EQ(DockerOk({"run", "--rm", "--network", "none", name + ":1", "echo", "hi"}), "hi");
  EXPECT_EQ(DockerOk({"pull", "-q", digest}), digest);
  EXPECT_THAT(DockerOk({"images", "--digests"}), HasSubstr(digest.substr(digest.find("sha256"))));

  base::RunResult none = Docker({"pull", name + ":nosuch"});
  EXPECT_EQ(none.exit.code, 1);
  EXPECT_THAT(none.err, HasSubstr("manifest for " + name +
                                  ":nosuch not found: manifest unknown: "
                                  "manifest unknown"));
  EXPECT_EQ(Docker({"pull", registry.host() + "/UPPER"}).exit.code, 1);

  // All tags.
  DockerOk({"tag", name + ":1", name + ":2"});
  DockerOk({"push", "-a", name});
  DockerOk({"rmi", "-f", id});
  EXPECT_THAT(DockerOk({"pull", "-a", name}),
              AllOf(HasSubstr("1: Pulling from sub/bb"), HasSubstr("2: Pulling from sub/bb")));
  EXPECT_EQ(DockerOk({"images", "--format", "{{.Tag}}"}), "1\n2");
}

TEST_F(DockerImagesTest, LogsIn) {
  DockerRegistry registry({.dir = MakeDir("registry"), .htpasswd = "me:geheim"});
  const std::string name = registry.host() + "/x:1";
  DockerOk({"tag", "busybox", name});
  EXPECT_THAT(Docker({"push", name}).err, HasSubstr("no basic auth credentials"));
  EXPECT_THAT(Docker({"pull", name}).err, HasSubstr("no basic auth credentials"));
  base::RunResult wrong =
      Docker({"login", "-u", "me", "--password-stdin", registry.host()}, "falsch");
  EXPECT_EQ(wrong.exit.code, 1);
  EXPECT_THAT(wrong.err, HasSubstr("unauthorized"));
  EXPECT_THAT(DockerOk({"login", "-u", "me", "--password-stdin", registry.host()}, "geheim"),
              HasSubstr("Login Succeeded"));
  DockerOk({"push", name});
  DockerOk({"rmi", name});
  EXPECT_THAT(DockerOk({"pull", name}), HasSubstr("Status: "));
  DockerOk({"logout", registry.host()});
  EXPECT_THAT(Docker({"pull", name}).err, HasSubstr("no basic auth credentials"));
  auto log = base::ReadFile(dir() + "/gantry-docker.log");
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_THAT(*log, Not(HasSubstr("geheim")));
}

TEST_F(DockerImagesTest, AnInsecureRegistryWithTls) {
  DockerRegistry registry({.dir = MakeDir("registry"), .tls = true});
  const std::string name = registry.host() + "/x:1";
  const std::string config = dir() + "/daemon.json";
  ASSERT_TRUE(base::WriteFile(
                  config, absl::StrCat("{\"insecure-registries\": [\"", registry.host(), "\"]}"))
                  .ok());
  DockerOk({"tag", "busybox", name});
  KillGantryDocker();
  StartGantryDocker({"--config-file", config});
  DockerOk({"push", name});
  DockerOk({"rmi", name});
  DockerOk({"pull", name});
  EXPECT_THAT(DockerOk({"info"}), HasSubstr(registry.host()));
}

TEST_F(DockerImagesTest, SavesAndLoads) {
  const std::string id = Id(kImage);
  DockerOk({"tag", "busybox", "second:2"});
  const std::string tar = dir() + "/images.tar";
  DockerOk({"save", "-o", tar, "busybox:latest", "second:2"});
  const std::string members = tests::Run({"tar", "-tf", tar}).out;
  EXPECT_THAT(members,
              AllOf(HasSubstr("manifest.json"), HasSubstr("index.json"), HasSubstr("oci-layout")));
  EXPECT_THAT(tests::Run({"tar", "-xOf", tar, "manifest.json"}).out,
              AllOf(HasSubstr("\"busybox:latest\""), HasSubstr("\"second:2\"")));
  DockerOk({"rmi", "-f", id});
  EXPECT_EQ(DockerOk({"images", "-aq"}), "");
  EXPECT_THAT(DockerOk({"load", "-i", tar}), AllOf(HasSubstr("Loaded image: busybox:latest"),
                                                   HasSubstr("Loaded image: second:2")));
  EXPECT_EQ(Id("busybox"), id);
  EXPECT_EQ(Id("second:2"), id);

  // By id it has no name.
  auto saved = Docker({"save", id});
  ASSERT_EQ(saved.exit.code, 0);
  DockerOk({"rmi", "-f", id});
  EXPECT_THAT(DockerOk({"load", "-q"}, saved.out), HasSubstr("Loaded image ID: " + id));
  EXPECT_EQ(DockerOk({"images", "--format", "{{.Repository}} {{.Tag}}"}), "<none> <none>");
  EXPECT_EQ(DockerOk({"images", "-q", "-f", "dangling=true", "--no-trunc"}), id);
  EXPECT_EQ(DockerOk({"run", "--rm", "--network", "none", id, "echo", "hi"}), "hi");
  EXPECT_THAT(DockerOk({"image", "prune", "-f"}), HasSubstr("deleted: " + id));
  EXPECT_EQ(DockerOk({"images", "-aq"}), "");

  EXPECT_THAT(Docker({"load"}, "no archive at all").err, Not(testing::IsEmpty()));
  EXPECT_EQ(Docker({"save", "nosuch"}).exit.code, 1);
}

TEST_F(DockerImagesTest, ImportsARootFileSystem) {
  DockerOk({"create", "--name", "box", "--network", "none", kImage, "true"});
  base::RunResult exported = Docker({"export", "box"});
  ASSERT_EQ(exported.exit.code, 0) << exported.err;
  const std::string id = DockerOk({"import", "-c", "CMD [\"echo\", \"imported\"]", "-c", "ENV A=b",
                                   "-m", "my words", "-", "made:1"},
                                  exported.out);
  EXPECT_THAT(id, ContainsRegex("^sha256:[0-9a-f]{64}$"));
  EXPECT_EQ(Id("made:1"), id);
  EXPECT_EQ(DockerOk({"run", "--rm", "--network", "none", "made:1"}), "imported");
  EXPECT_THAT(DockerOk({"history", "made:1"}), HasSubstr("my words"));
  EXPECT_THAT(Docker({"import", "-c", "RUN x", "-", "bad:1"}, exported.out).err,
              HasSubstr("RUN is not a valid change command"));
  // The old one loses its name and stays.
  const std::string second =
      DockerOk({"import", "-c", "CMD [\"true\"]", "-", "made:1"}, exported.out);
  EXPECT_EQ(DockerOk({"images", "-q", "-f", "dangling=true", "--no-trunc"}), id);
  EXPECT_EQ(Id("made:1"), second);
}

TEST_F(DockerImagesTest, Commits) {
  DockerOk({"run", "--name", "box", "--network", "none", kImage, "sh", "-c",
            "echo made > /made; rm /etc/passwd"});
  EXPECT_THAT(DockerOk({"diff", "box"}),
              AllOf(HasSubstr("A /made"), HasSubstr("D /etc/passwd"), HasSubstr("C /etc")));
  const std::string id = DockerOk({"commit", "-a", "Me", "-m", "why", "-c", "ENV X=1", "-c",
                                   "CMD [\"cat\", \"/made\"]", "box", "committed:1"});
  EXPECT_EQ(Id("committed:1"), id);
  EXPECT_EQ(
      DockerOk({"image", "inspect", "-f", "{{.Author}} {{.Comment}} {{.Parent}}", "committed:1"}),
      "Me why " + Id(kImage));
  EXPECT_EQ(DockerOk({"run", "--rm", "--network", "none", "committed:1"}), "made");
  EXPECT_EQ(
      Docker({"run", "--rm", "--network", "none", "committed:1", "cat", "/etc/passwd"}).exit.code,
      1);
  EXPECT_EQ(DockerOk({"run", "--rm", "--network", "none", "committed:1", "sh", "-c", "echo $X"}),
            "1");
  DockerOk({"rm", "box"});
  base::RunResult parent = Docker({"rmi", "-f", Id(kImage)});
  EXPECT_THAT(parent.err, HasSubstr("image has dependent child images"));
  EXPECT_THAT(DockerOk({"rmi", "committed:1"}), HasSubstr("Deleted: " + id));
}

TEST_F(DockerImagesTest, AManifestOfARegistry) {
  DockerRegistry registry({.dir = MakeDir("registry")});
  const std::string name = registry.host() + "/x:1";
  DockerOk({"tag", "busybox", name});
  DockerOk({"push", name});
  EXPECT_THAT(Curl("GET", "/distribution/" + name + "/json"),
              AllOf(HasSubstr("200 "), HasSubstr("\"digest\":\"sha256:"),
                    HasSubstr("\"architecture\":\"")));
  EXPECT_THAT(Curl("GET", "/distribution/" + registry.host() + "/none:1/json"), HasSubstr("404 "));
}

TEST_F(DockerImagesTest, BadRequestsAreAnswered) {
  EXPECT_THAT(Curl("GET", "/images/json?filters=%7B"), HasSubstr("400 "));
  EXPECT_THAT(Curl("POST", "/images/create"), HasSubstr("400 "));
  EXPECT_THAT(Curl("POST", "/images/create?fromImage=a%0Ab"),
              AllOf(HasSubstr("400 "), HasSubstr("invalid reference format")));
  EXPECT_THAT(Curl("POST", "/images/create?fromImage=x&platform=a/b/c/d"), HasSubstr("400 "));
  EXPECT_THAT(Curl("GET", "/images/..%2F..%2Fetc/json"), HasSubstr("400 "));
  EXPECT_THAT(Curl("DELETE", "/images/%00"), HasSubstr("40"));
  EXPECT_THAT(Curl("POST", "/auth", "{\"username\": 1}"), HasSubstr("400 "));
  EXPECT_THAT(Curl("POST", "/build"), AllOf(HasSubstr("501 "), HasSubstr("later")));
  EXPECT_THAT(Curl("GET", "/services"),
              AllOf(HasSubstr("503 "), HasSubstr("This node is not a swarm manager. Use")));
  EXPECT_THAT(Curl("GET", "/plugins/x/json"),
              AllOf(HasSubstr("404 "), HasSubstr("plugin \\\"x\\\" not found")));
}

}  // namespace
}  // namespace gantry::tests
