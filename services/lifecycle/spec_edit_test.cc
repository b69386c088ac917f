#include "services/lifecycle/spec_edit.h"

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gtest/gtest.h"

namespace gantry::services::lifecycle {
namespace {

base::Json Parsed(const absl::StatusOr<std::string>& text) {
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? base::Json::parse(*text) : base::Json();
}

TEST(SpecEditTest, PlacesAreFilledWhereTheyMeanSomething) {
  const std::string spec = R"({"root":{"path":"{rootfs}"},
    "process":{"args":["echo","{dir}","{netns}"],"env":["A={dir}"]},
    "mounts":[{"destination":"/etc/hosts","source":"{dir}/hosts"},
              {"destination":"/x","source":"/{dir}"},{"destination":"/proc"}],
    "linux":{"namespaces":[{"type":"network","path":"{netns}"},{"type":"pid"}]}})";
  base::Json json = Parsed(FillPlaces(spec, "/d", "/run/n"));
  EXPECT_EQ(json["mounts"][0]["source"], "/d/hosts");
  EXPECT_EQ(json["mounts"][1]["source"], "/{dir}");
  EXPECT_EQ(json["linux"]["namespaces"][0]["path"], "/run/n");
  EXPECT_EQ(json["process"]["args"][1], "{dir}");
  EXPECT_EQ(json["process"]["env"][0], "A={dir}");
  EXPECT_EQ(json["root"]["path"], "rootfs");
  json = Parsed(FillPlaces(spec, "/d", ""));
  EXPECT_FALSE(json["linux"]["namespaces"][0].contains("path"));
}

TEST(SpecEditTest, WhatIsNoSpecification) {
  for (const char* bad : {"", "[]", "{", "3", "{\"mounts\":", "\"{dir}\""}) {
    EXPECT_FALSE(FillPlaces(bad, "/d", "").ok()) << bad;
  }
  // Other types in the places are left alone.
  for (const char* odd :
       {R"({"mounts":3,"x":"{dir}"})", R"({"mounts":[1,{"source":5}],"x":"{dir}"})",
        R"({"linux":[],"x":"{netns}"})", R"({"linux":{"namespaces":{}},"x":"{netns}"})",
        R"({"root":7,"x":"{rootfs}"})"}) {
    EXPECT_EQ(Parsed(FillPlaces(odd, "/d", "/n")), base::Json::parse(odd)) << odd;
  }
  std::string deep(100'000, '[');
  EXPECT_FALSE(FillPlaces(absl::StrCat("{\"a\":", deep), "/d", "").ok());
}

TEST(SpecEditTest, NamespacesOfOthers) {
  const char* spec = R"({"linux":{"namespaces":[{"type":"network"},{"type":"pid"},
                                                {"type":"ipc","path":"/old"}]}})";
  base::Json json =
      Parsed(WithNamespaces(spec, {{"network", "/proc/1/fd/3"}, {"ipc", ""}, {"pid", "host"}}));
  EXPECT_EQ(json["linux"]["namespaces"],
            base::Json::parse(R"([{"type":"ipc"},{"type":"network","path":"/proc/1/fd/3"}])"));
  EXPECT_EQ(Parsed(WithNamespaces("{}", {{"uts", "/x"}}))["linux"]["namespaces"][0]["path"], "/x");
}

TEST(SpecEditTest, AProcessBesideIt) {
  base::Json json = Parsed(ProcessWith(
      R"({"process":{"terminal":true,"consoleSize":{"width":1},"cwd":"/w","args":["a"]}})",
      {"sh", "-c", "true"}));
  EXPECT_EQ(json, base::Json::parse(R"({"terminal":false,"cwd":"/w","args":["sh","-c","true"]})"));
  EXPECT_FALSE(ProcessWith("{}", {"x"}).ok());
}

}  // namespace
}  // namespace gantry::services::lifecycle
