#include "services/tasks/bootstrap.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

TEST(Bootstrap, ReadsWhatShimsPrint) {
  struct Case {
    std::string name, output;
    int version;
    std::string address;
  } cases[] = {
      {"json 3", R"({"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"})", 3,
       "unix:///run/s/1"},
      {"json 2",
       R"({"version":2,"address":"unix:///run/s/1","protocol":"TTRPC"})"
       "\n",
       2, "unix:///run/s/1"},
      {"bare", "unix:///run/s/2\n", 2, "unix:///run/s/2"},
      {"bare path", "  /run/s/3  ", 2, "/run/s/3"},
  };
  for (const Case& c : cases) {
    auto parsed = ParseBootstrap(c.output);
    ASSERT_TRUE(parsed.ok()) << c.name << ": " << parsed.status();
    EXPECT_EQ(parsed->version, c.version) << c.name;
    EXPECT_EQ(parsed->address, c.address) << c.name;
    EXPECT_EQ(parsed->protocol, "ttrpc") << c.name;
  }
}

TEST(Bootstrap, RefusesTheRest) {
  struct Case {
    std::string name, output;
    absl::StatusCode code;
  } cases[] = {
      {"nothing", "", absl::StatusCode::kFailedPrecondition},
      {"chatter", "hello there", absl::StatusCode::kFailedPrecondition},
      {"abstract socket", "unix://@abstract", absl::StatusCode::kFailedPrecondition},
      {"vsock", "vsock://3:1024", absl::StatusCode::kFailedPrecondition},
      {"too long", "unix:///" + std::string(200, 'a'), absl::StatusCode::kFailedPrecondition},
      {"binary", std::string("/run\0x", 6), absl::StatusCode::kFailedPrecondition},
      {"two lines", "/run/a\n/run/b", absl::StatusCode::kFailedPrecondition},
      {"newer", R"({"version":4,"address":"unix:///x","protocol":"ttrpc"})",
       absl::StatusCode::kUnimplemented},
      {"grpc", R"({"version":3,"address":"unix:///x","protocol":"grpc"})",
       absl::StatusCode::kUnimplemented},
      {"flood", std::string(100000, 'x'), absl::StatusCode::kFailedPrecondition},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ParseBootstrap(c.output).status().code(), c.code) << c.name;
  }
}

TEST(Bootstrap, SurvivesInTheBundle) {
  std::string dir = absl::StrCat(::testing::TempDir(), "gantry-boot-", base::RandomHex(6));
  std::filesystem::create_directories(dir + "/ns/a");
  Bundle bundle(dir, dir, "ns", "a");
  EXPECT_EQ(ReadBootstrap(bundle).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(base::WriteFile(bundle.File("address"), "unix:///old").ok());
  EXPECT_EQ(ReadBootstrap(bundle)->address, "unix:///old");
  ASSERT_TRUE(WriteBootstrap(bundle, {3, "unix:///new", "ttrpc"}).ok());
  EXPECT_EQ(ReadBootstrap(bundle)->address, "unix:///new");
  EXPECT_EQ(ReadBootstrap(bundle)->version, 3);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace gantry::services
