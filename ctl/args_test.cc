#include "ctl/args.h"

#include "ctl/output.h"
#include "ctl/run_options.h"
#include "ctl/task_ops.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::ctl {
namespace {

using ::testing::ElementsAre;

std::vector<Flag> Flags() {
  return {{"interactive", 'i', FlagKind::kBool, "", ""},
          {"tty", 't', FlagKind::kBool, "", ""},
          {"env", 'e', FlagKind::kList, "X", ""},
          {"name", '\0', FlagKind::kString, "X", ""}};
}

TEST(ArgumentsTest, FormsOfFlags) {
  auto args = ParseArguments(
      {"-it", "-eA=1", "-e", "B=2", "--env=C=3", "--name", "x", "img", "--", "-e"}, Flags());
  ASSERT_TRUE(args.ok()) << args.status();
  EXPECT_TRUE(args->Bool("interactive"));
  EXPECT_TRUE(args->Bool("tty"));
  EXPECT_THAT(args->List("env"), ElementsAre("A=1", "B=2", "C=3"));
  EXPECT_EQ(args->String("name"), "x");
  EXPECT_THAT(args->positional(), ElementsAre("img", "-e"));
}

TEST(ArgumentsTest, ProgramsKeepTheirFlags) {
  auto args = ParseArguments({"-i", "img", "sh", "-c", "--name"}, Flags(), true);
  ASSERT_TRUE(args.ok());
  EXPECT_THAT(args->positional(), ElementsAre("img", "sh", "-c", "--name"));
  EXPECT_FALSE(args->Has("name"));
}

TEST(ArgumentsTest, Mistakes) {
  for (std::vector<std::string> args :
       {std::vector<std::string>{"--nope"}, {"-x"}, {"--name"}, {"--tty=maybe"}, {"-ie"}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseArguments(args, Flags()).status())) << args[0];
  }
}

TEST(OutputTest, Tables) {
  EXPECT_EQ(FormatTable({"A", "LONG"}, {{"wide cell", "x"}, {"b", "y"}}),
            "A           LONG\nwide cell   x\nb           y\n");
  EXPECT_EQ(Printable("a\x1b[2Jb\n"), "a?[2Jb ");
  EXPECT_EQ(ShortId(std::string(64, 'a')), std::string(12, 'a'));
  EXPECT_EQ(ShortId("web-1"), "web-1");
}

TEST(OutputTest, Sizes) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(int64_t{20} << 30), "20 GiB");
  struct Case {
    const char* text;
    int64_t bytes;  // 0: refused
  };
  const Case kCases[] = {{"512", 512},    {"64m", 64 << 20}, {"1.5G", 3 << 29}, {"2KiB", 2048},
                         {"10kb", 10240}, {"7b", 7},         {"", 0},           {"-1", 0},
                         {"0", 0},        {"m", 0},          {"1e9", 0},        {"9999999t", 0},
                         {"nan", 0},      {"1 g", 0}};
  for (const Case& c : kCases) {
    auto bytes = ParseBytes(c.text);
    EXPECT_EQ(bytes.ok(), c.bytes != 0) << c.text;
    if (bytes.ok()) {
      EXPECT_EQ(*bytes, c.bytes) << c.text;
    }
  }
}

TEST(RunOptionsTest, Mounts) {
  auto volume = ParseVolume("/tmp:/inside:ro,nosuid");
  ASSERT_TRUE(volume.ok()) << volume.status();
  EXPECT_EQ(volume->source, "/tmp");
  EXPECT_EQ(volume->destination, "/inside");
  EXPECT_THAT(volume->options, ElementsAre("rbind", "rprivate", "ro", "nosuid"));
  for (const char* bad : {"", "/a", ":/b", "/a:b", "/a:/b:zz", "/a:/b:ro:x"}) {
    EXPECT_FALSE(ParseVolume(bad).ok()) << bad;
  }
  auto mount = ParseMount("type=tmpfs,dst=/t,options=size=1m:mode=700,readonly");
  ASSERT_TRUE(mount.ok());
  EXPECT_THAT(mount->options, ElementsAre("size=1m", "mode=700", "ro"));
  EXPECT_FALSE(ParseMount("type=bind,dst=/t").ok());
  EXPECT_FALSE(ParseMount("src=/x,dst=relative").ok());
}

TEST(RunOptionsTest, Values) {
  EXPECT_EQ(ParseDevice("/dev/null:/dev/x:rw")->access, "rw");
  EXPECT_EQ(ParseDevice("/dev/null:r")->container_path, "/dev/null");
  EXPECT_FALSE(ParseDevice("null").ok());
  EXPECT_EQ(ParseUlimit("nofile=10:20")->hard, 20u);
  EXPECT_EQ(ParseUlimit("core=unlimited")->soft, ~uint64_t{0});
  EXPECT_FALSE(ParseUlimit("nofile=20:10").ok());
  EXPECT_FALSE(ParseUlimit("nofile").ok());
  EXPECT_FALSE(ParseEnvironment({"=x"}, {}).ok());
  EXPECT_EQ(*ParseSignal("sigterm"), 15u);
  EXPECT_EQ(*ParseSignal("9"), 9u);
  EXPECT_FALSE(ParseSignal("SIGNOPE").ok());
  EXPECT_FALSE(ParseSignal("0").ok());
}

TEST(RunOptionsTest, WholeLines) {
  auto parse = [](std::vector<std::string> words) -> absl::StatusOr<RunOptions> {
    auto args = ParseArguments(words, RunFlags(), true);
    return args.ok() ? ParseRunOptions(*args) : args.status();
  };
  auto run = parse({"--rm", "-m", "64m", "--net=host", "-u", "1000:5", "img", "echo", "-n"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->remove);
  EXPECT_EQ(run->spec.memory_bytes, 64 << 20);
  EXPECT_EQ(run->spec.network, client::NetworkMode::kHost);
  EXPECT_THAT(run->spec.args, ElementsAre("echo", "-n"));
  EXPECT_FALSE(parse({}).ok());
  EXPECT_FALSE(run->managed);
  EXPECT_FALSE(parse({"--net", "container:x", "img"}).ok());
  run = parse({"--net", "shop", "-v", "data:/d:ro", "img"});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_TRUE(run->managed);
  EXPECT_EQ(run->policy.endpoints(0).network(), "shop");
  EXPECT_TRUE(run->named_volumes[0].read_only);
  EXPECT_FALSE(parse({"-u", "4294967296", "img"}).ok());
  EXPECT_FALSE(parse({"--cpus", "0", "img"}).ok());
  EXPECT_FALSE(parse({"--privileged", "--cap-drop", "ALL", "img"}).ok());
  EXPECT_FALSE(parse({"--name", "../x", "img"}).ok());
  EXPECT_FALSE(parse({"--pull", "sometimes", "img"}).ok());
}

}  // namespace
}  // namespace gantry::ctl
