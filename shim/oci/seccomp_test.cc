#include "shim/oci/seccomp.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

constexpr char kProfile[] = R"({"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
  "defaultAction":"SCMP_ACT_ERRNO","syscalls":[
  {"action":"SCMP_ACT_ALLOW","names":["read","write","exit_group","nosuchcall"]},
  {"action":"SCMP_ACT_ALLOW","names":["personality"],"args":[
    {"index":0,"op":"SCMP_CMP_EQ","value":0},{"index":0,"op":"SCMP_CMP_EQ","value":8}]}]})";

TEST(SeccompTest, CompilesAndSkipsUnknownNames) {
  auto program = CompileSeccomp(kProfile);
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_GT(program->filter.size(), 10u);
}

TEST(SeccompTest, NamesWhatIsWrong) {
  for (const auto& [json, message] : std::vector<std::pair<std::string, std::string>>{
           {R"({"defaultAction":"SCMP_ACT_FOO"})", "linux.seccomp.defaultAction"},
           {R"({})", "defaultAction"},
           {R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["X"]})", "architectures[0]"},
           {R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]})", "flags[0]"},
           {R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
                "action":"SCMP_ACT_NOTIFY"}]})",
            "listenerPath"},
           {R"({"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/x"})", "defaultAction"},
           {R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],
                "action":"SCMP_ACT_ERRNO","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]})",
            "syscalls[0].args[0].index"}}) {
    auto program = CompileSeccomp(json);
    EXPECT_EQ(program.status().code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(program.status().message()), HasSubstr(message));
  }
}

TEST(SeccompTest, CacheGivesTheSameFilterAndDistrustsItsFiles) {
  char dir[] = "/tmp/gantry-seccomp-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  std::string cache = absl::StrCat(dir, "/cache");
  // A profile of its own, so that no other test has it in memory already.
  std::string profile = absl::StrCat(R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":)",
                                     getpid() % 4000 + 1, "}");
  auto compiled = CompileSeccomp(profile);
  ASSERT_TRUE(compiled.ok());
  auto first = CachedSeccomp(profile, cache);
  ASSERT_TRUE(first.ok());
  auto files = base::ListDir(cache);
  ASSERT_EQ(files->size(), 1u);
  std::string path = absl::StrCat(cache, "/", (*files)[0]);
  EXPECT_EQ(first->filter.size(), compiled->filter.size());
  // 17 other profiles push it out of memory: then the file answers.
  auto flush = [] {
    for (int i = 0; i < 17; ++i) {
      (void)CachedSeccomp(absl::StrCat(R"({"defaultAction":"SCMP_ACT_ALLOW","x":)", i, "}"), "");
    }
  };
  flush();
  auto second = CachedSeccomp(profile, cache);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(memcmp(second->filter.data(), compiled->filter.data(),
                   compiled->filter.size() * sizeof(sock_filter)),
            0);
  // A file that anybody may write, or of another profile, is a miss.
  flush();
  ASSERT_TRUE(base::WriteFile(path, "gantry-seccomp-1 0.0.0\nwrong").ok());
  EXPECT_EQ(CachedSeccomp(profile, cache)->filter.size(), compiled->filter.size());
  EXPECT_TRUE(base::RemoveTree(dir).ok());
}

}  // namespace
}  // namespace gantry::oci
