#include "client/spec/spec.h"

#include "client/image.h"
#include "client/spec/seccomp_table.h"
#include "client/stdio.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::client {
namespace {

using base::Json;
using ::testing::ElementsAre;

ImageConfig Image() {
  ImageConfig image;
  image.entrypoint = {"/entry"};
  image.cmd = {"default"};
  image.env = {"A=1", "PATH=/bin"};
  return image;
}

Json Build(const SpecOptions& options) {
  SpecOptions full = options;
  full.id = "0123456789abcdef";
  full.ns = "ns";
  auto spec = BuildSpec(Image(), ResolvedUser{}, full);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : Json();
}

bool Allows(const Json& profile, const std::string& call) {
  for (const Json& rule : profile["syscalls"]) {
    if (rule["action"] != "SCMP_ACT_ALLOW" || rule.contains("args")) continue;
    for (const Json& name : rule["names"]) {
      if (name == call) return true;
    }
  }
  return false;
}

TEST(SpecTest, CommandLineIsPutTogetherAsDockerDoes) {
  EXPECT_EQ(Build({})["process"]["args"], Json({"/entry", "default"}));
  SpecOptions args;
  args.args = {"x", "y"};
  EXPECT_EQ(Build(args)["process"]["args"], Json({"/entry", "x", "y"}));
  SpecOptions entry;
  entry.entrypoint = {"/other"};
  EXPECT_EQ(Build(entry)["process"]["args"], Json::array({"/other"}));
  SpecOptions none;
  none.id = "x";
  none.ns = "ns";
  EXPECT_TRUE(absl::IsInvalidArgument(BuildSpec(ImageConfig(), {}, none).status()));
}

TEST(SpecTest, DefaultsConfine) {
  Json spec = Build({});
  EXPECT_EQ(spec["linux"]["cgroupsPath"], "/ns/0123456789abcdef");
  EXPECT_EQ(spec["hostname"], "0123456789ab");
  EXPECT_EQ(spec["process"]["noNewPrivileges"], true);
  EXPECT_EQ(spec["process"]["capabilities"]["bounding"].size(), 14u);
  EXPECT_EQ(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
  EXPECT_EQ(spec["linux"]["resources"]["devices"][0], Json({{"allow", false}, {"access", "rwm"}}));
  EXPECT_EQ(spec["linux"]["namespaces"].size(), 5u);
}

TEST(SpecTest, OptionsChangeWhatTheyName) {
  SpecOptions o;
  o.privileged = true;
  o.network = NetworkMode::kHost;
  o.memory_bytes = 1 << 20;
  o.cpus = 0.5;
  o.pids_limit = 7;
  Json spec = Build(o);
  EXPECT_FALSE(spec["linux"].contains("maskedPaths"));
  EXPECT_FALSE(spec["linux"].contains("seccomp"));
  EXPECT_EQ(spec["linux"]["namespaces"].size(), 4u);
  EXPECT_EQ(spec["linux"]["resources"]["memory"]["limit"], 1 << 20);
  EXPECT_EQ(spec["linux"]["resources"]["cpu"]["quota"], 50000);
  EXPECT_EQ(spec["linux"]["resources"]["pids"]["limit"], 7);
}

TEST(SpecTest, OwnMountReplacesDefault) {
  SpecOptions o;
  o.mounts = {{"tmpfs", "tmpfs", "/dev/shm", {"size=1g"}}};
  int found = 0;
  Json spec = Build(o);
  for (const Json& mount : spec["mounts"]) {
    if (mount["destination"] != "/dev/shm") continue;
    ++found;
    EXPECT_EQ(mount["options"], Json::array({"size=1g"}));
  }
  EXPECT_EQ(found, 1);
}

TEST(SpecTest, EnvironmentMerges) {
  EXPECT_THAT(MergeEnv({"A=1", "B=2"}, {"B=3", "C="}), ElementsAre("A=1", "B=3", "C="));
  SpecOptions o;
  o.env = {"A=9"};
  EXPECT_EQ(Build(o)["process"]["env"], Json({"PATH=/bin", "A=9"}));
}

TEST(SeccompTest, CapabilitiesOpenTheirCalls) {
  Json plain = DefaultSeccompProfile({});
  EXPECT_TRUE(Allows(plain, "openat"));
  for (const char* call : {"mount", "bpf", "reboot", "init_module", "io_uring_setup", "setns"}) {
    EXPECT_FALSE(Allows(plain, call)) << call;
  }
  Json admin = DefaultSeccompProfile({"CAP_SYS_ADMIN"});
  EXPECT_TRUE(Allows(admin, "mount"));
  EXPECT_TRUE(Allows(admin, "clone3"));
  EXPECT_TRUE(Allows(DefaultSeccompProfile({"CAP_SYS_BOOT"}), "reboot"));
}

TEST(ImageTest, ReferencesAndChains) {
  EXPECT_EQ(NormalizeReference("busybox"), "docker.io/library/busybox:latest");
  EXPECT_EQ(NormalizeReference("a/b:1"), "docker.io/a/b:1");
  EXPECT_EQ(NormalizeReference("localhost:5000/x"), "localhost:5000/x:latest");
  EXPECT_EQ(NormalizeReference("r.example/x@sha256:00"), "r.example/x@sha256:00");
  EXPECT_THAT(ReferenceCandidates("hello"),
              ElementsAre("docker.io/library/hello:latest", "gantry.local/hello:latest", "hello"));
  auto one = *base::Digest::Parse("sha256:" + std::string(64, '1'));
  auto two = *base::Digest::Parse("sha256:" + std::string(64, '2'));
  std::vector<std::string> chain = ChainIds({one, two});
  EXPECT_EQ(chain[0], one.str());
  EXPECT_EQ(chain[1], base::DigestOf(one.str() + " " + two.str()).str());
}

TEST(ImageTest, DescriptorsAreChecked) {
  EXPECT_FALSE(Descriptor::FromJson(Json::object()).ok());
  EXPECT_FALSE(Descriptor::FromJson({{"digest", "sha256:../../x"}, {"size", 1}}).ok());
  EXPECT_FALSE(
      Descriptor::FromJson({{"digest", "sha256:" + std::string(64, 'a')}, {"size", -1}}).ok());
}

TEST(DetachKeysTest, Parses) {
  EXPECT_EQ(*ParseDetachKeys("ctrl-p,ctrl-q"), "\x10\x11");
  EXPECT_EQ(*ParseDetachKeys("a,ctrl-["), "a\x1b");
  EXPECT_EQ(*ParseDetachKeys(""), "");
  EXPECT_FALSE(ParseDetachKeys("ctrl-?").ok());
  EXPECT_FALSE(ParseDetachKeys("shift-a").ok());
}

}  // namespace
}  // namespace gantry::client
