// docker cp, diff, export, events, info, df and prune by the docker CLI.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/docker_fixture.h"

namespace gantry::tests {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class DockerSystemTest : public DockerTest {
 protected:
  std::string File(const std::string& name) {
    auto text = base::ReadFile(dir() + "/" + name);
    return text.ok() ? *text : std::string(text.status().message());
  }
  void MakeFile(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir() + "/" + name, text, 0644).ok());
  }
  // Containers in both states, the same for `docker cp`.
  std::vector<std::string> BothContainers(std::vector<std::string> options = {}) {
    for (const char* name : {"up", "down"}) {
      std::vector<std::string> arguments = {"create", "--name", name, "--network", "none"};
      arguments.insert(arguments.end(), options.begin(), options.end());
      arguments.insert(arguments.end(), {kImage, "sleep", "1000"});
      DockerOk(arguments);
    }
    DockerOk({"start", "up"});
    return {"up", "down"};
  }
};

TEST_F(DockerSystemTest, CopiesInAndOut) {
  MakeFile("in", "hello");
  ASSERT_TRUE(base::MakeDirs(dir() + "/tree/sub").ok());
  MakeFile("tree/sub/f", "deep");
  for (const std::string& c : BothContainers()) {
    SCOPED_TRACE(c);
    DockerOk({"cp", dir() + "/in", c + ":/tmp/in"});
    DockerOk({"cp", c + ":/tmp/in", dir() + "/out-" + c});
    EXPECT_EQ(File("out-" + c), "hello");
    // Into a directory, and a directory's contents.
    DockerOk({"cp", dir() + "/tree", c + ":/tmp"});
    DockerOk({"cp", dir() + "/tree/.", c + ":/srv-" + c + "/"}).c_str();
    DockerOk({"cp", c + ":/tmp/tree", dir() + "/got-" + c});
    EXPECT_EQ(File("got-" + c + "/sub/f"), "deep");
    // Streams.
    base::RunResult stream = Docker({"cp", c + ":/tmp/tree", "-"});
    EXPECT_EQ(tests::Run({"tar", "-tf", "-"}, stream.out).out, "tree/\ntree/sub/\ntree/sub/f\n");
    DockerOk({"cp", "-", c + ":/tmp"}, tests::Run({"tar", "-C", dir(), "-cf", "-", "in"}).out);
    EXPECT_EQ(Docker({"cp", c + ":/nosuch", "-"}).exit.code, 1);
    EXPECT_THAT(Docker({"cp", c + ":/nosuch", "-"}).err,
                HasSubstr("Could not find the file /nosuch in container " + c));
    EXPECT_NE(Docker({"cp", dir() + "/in", c + ":/etc/passwd/x"}).exit.code, 0);
  }
  EXPECT_EQ(DockerOk({"exec", "up", "cat", "/tmp/tree/sub/f"}), "deep");
  DockerOk({"start", "down"});
  EXPECT_EQ(DockerOk({"exec", "down", "cat", "/tmp/in"}), "hello");
}

TEST_F(DockerSystemTest, CopiesThroughVolumesAndBindMounts) {
  ASSERT_TRUE(base::MakeDirs(dir() + "/bound").ok());
  ASSERT_TRUE(base::MakeDirs(dir() + "/fixed").ok());
  MakeFile("fixed/f", "fixed");
  MakeFile("in", "hello");
  for (const std::string& c :
       BothContainers({"-v", dir() + "/bound:/data", "-v", dir() + "/fixed:/fixed:ro"})) {
    SCOPED_TRACE(c);
    DockerOk({"cp", dir() + "/in", c + ":/data/from-" + c});
    EXPECT_EQ(File("bound/from-" + c), "hello");
    DockerOk({"cp", c + ":/fixed/f", dir() + "/out-" + c});
    EXPECT_EQ(File("out-" + c), "fixed");
    base::RunResult refused = Docker({"cp", dir() + "/in", c + ":/fixed/x"});
    EXPECT_EQ(refused.exit.code, 1);
    EXPECT_THAT(refused.err, HasSubstr("marked read-only"));
  }
}

TEST_F(DockerSystemTest, AContainersLinksStayInIt) {
  MakeFile("in", "evil");
  MakeFile("secret", "host");
  for (const std::string& c : BothContainers()) {
    SCOPED_TRACE(c);
    // What a container can prepare: links to files and directories of the host.
    ASSERT_TRUE(base::MakeDirs(dir() + "/links").ok());
    (void)symlink((dir() + "/secret").c_str(), (dir() + "/links/file").c_str());
    (void)symlink(dir().c_str(), (dir() + "/links/dir").c_str());
    DockerOk({"cp", dir() + "/links", c + ":/"});
    (void)Docker({"cp", dir() + "/in", c + ":/links/file"});
    (void)Docker({"cp", dir() + "/in", c + ":/links/dir/secret"});
    EXPECT_EQ(File("secret"), "host");
    base::RunResult out = Docker({"cp", "-L", c + ":/links/file", "-"});
    EXPECT_THAT(out.out, Not(HasSubstr("host")));
    (void)Docker({"cp", dir() + "/in", c + ":/proc/1/oom_score_adj"});
  }
}

TEST_F(DockerSystemTest, ExportsAndDiffs) {
  DockerOk({"run", "-d", "--name", "box", "--network", "none", "-v", "/vol", kImage, "sh", "-c",
            "echo x > /made; echo y > /vol/inside; sleep 1000"});
  for (int i = 0; i < 100 && Docker({"exec", "box", "test", "-e", "/vol/inside"}).exit.code != 0;
       ++i) {
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ(DockerOk({"diff", "box"}), "A /made");
  const std::string running = tests::Run({"tar", "-tf", "-"}, Docker({"export", "box"}).out).out;
  EXPECT_THAT(running, AllOf(HasSubstr("made\n"), HasSubstr("etc/passwd\n"),
                             Not(HasSubstr("vol/inside")), Not(HasSubstr("proc/1"))));
  DockerOk({"kill", "box"});
  EXPECT_EQ(DockerOk({"diff", "box"}), "A /made");
  EXPECT_THAT(tests::Run({"tar", "-tf", "-"}, Docker({"export", "box"}).out).out,
              HasSubstr("made\n"));
}

TEST_F(DockerSystemTest, TellsEvents) {
  const std::string begin = absl::StrCat(absl::ToUnixSeconds(absl::Now()) - 1);
  const std::string log = dir() + "/events.log";
  base::Process live = DockerInBackground({"events", "--format", "{{json .}}"}, log);
  absl::SleepFor(absl::Milliseconds(500));
  DockerOk({"tag", "busybox", "x:1"});
  DockerOk({"run", "--rm", "--name", "box", "--network", "none", "--label", "k=v", kImage, "true"});
  DockerOk({"rmi", "x:1"});
  const std::string end = absl::StrCat(absl::ToUnixSeconds(absl::Now()) + 1);
  absl::SleepFor(absl::Seconds(2));
  auto replay = [&](std::vector<std::string> filters) {
    std::vector<std::string> arguments = {
        "events", "--since", begin, "--until", end, "--format", "{{.Type}} {{.Action}}"};
    for (const std::string& filter : filters) {
      arguments.push_back("-f");
      arguments.push_back(filter);
    }
    return DockerOk(arguments);
  };
  EXPECT_EQ(replay({"type=image"}), "image tag\nimage untag");
  EXPECT_THAT(
      replay({"container=box"}),
      AllOf(HasSubstr("container create"), HasSubstr("container start"), HasSubstr("container die"),
            HasSubstr("container destroy"), Not(HasSubstr("image"))));
  EXPECT_THAT(replay({"label=k=v", "event=die"}), "container die");
  auto seen = base::ReadFile(log);
  ASSERT_TRUE(seen.ok());
  EXPECT_THAT(*seen, AllOf(HasSubstr("\"Action\":\"tag\""), HasSubstr("\"Action\":\"die\"")));
  // From the history, also when nobody was there.
  KillGantryDocker();
  StartGantryDocker();
  EXPECT_EQ(replay({"type=image"}), "image tag\nimage untag");
  (void)live.Signal(SIGKILL);
  (void)live.Wait(absl::Seconds(5));
}

TEST_F(DockerSystemTest, TellsAboutItself) {
  auto info = base::ParseJson(DockerOk({"info", "--format", "{{json .}}"}));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(base::JsonInt(*info, "Images"), 1);
  EXPECT_EQ(base::JsonInt(*info, "Containers"), 0);
  EXPECT_EQ(base::JsonString(*info, "OSType"), "linux");
  EXPECT_GT(base::JsonInt(*info, "MemTotal"), 0);
  EXPECT_EQ(base::JsonString(base::JsonAt(*info, "Swarm"), "LocalNodeState"), "inactive");
  EXPECT_THAT(Docker({"service", "ls"}).err, HasSubstr("This node is not a swarm manager."));
  EXPECT_EQ(DockerOk({"plugin", "ls", "-q"}), "");
}

TEST_F(DockerSystemTest, MeasuresTheDiskAndPrunes) {
  DockerOk({"run", "--name", "box", "--network", "none", kImage, "sh", "-c",
            "dd if=/dev/zero of=/big bs=1024 count=1024 2>/dev/null"});
  EXPECT_THAT(DockerOk({"system", "df"}), AllOf(HasSubstr("Images"), HasSubstr("Containers")));
  const std::string verbose = DockerOk({"system", "df", "-v"});
  EXPECT_THAT(verbose, AllOf(HasSubstr("busybox"), HasSubstr("box\n")));
  auto df = base::ParseJson(Curl("GET", "/system/df").substr(4));
  ASSERT_TRUE(df.ok());
  const base::Json& containers = base::JsonAt(*df, "Containers");
  ASSERT_EQ(containers.size(), 1u);
  EXPECT_GE(base::JsonInt(containers[0], "SizeRw"), 1 << 20);
  EXPECT_THAT(DockerOk({"system", "prune", "-af"}), HasSubstr("Total reclaimed space:"));
  EXPECT_EQ(DockerOk({"images", "-aq"}), "");
  EXPECT_EQ(DockerOk({"ps", "-aq"}), "");
}

}  // namespace
}  // namespace gantry::tests
