#include "docker/images/changes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using base::Json;
using ::testing::HasSubstr;

TEST(ChangesTest, EachInstruction) {
  const struct {
    const char* change;
    const char* config;
  } cases[] = {
      {"CMD [\"a\",\"b\"]", R"({"Cmd":["a","b"]})"},
      {"cmd echo hi", R"({"Cmd":["/bin/sh","-c","echo hi"]})"},
      {"ENTRYPOINT [\"x\"]", R"({"Cmd":null,"Entrypoint":["x"]})"},
      {"ENV A=1 B='x y' C=\"q\\\"r\"", R"({"Env":["A=1","B=x y","C=q\"r"]})"},
      {"ENV A some  words", R"({"Env":["A=some  words"]})"},
      {"ENV A=1\nENV A=2", R"({"Env":["A=2"]})"},
      {"EXPOSE 80 53/udp 1000-1001",
       R"({"ExposedPorts":{"1000/tcp":{},"1001/tcp":{},"53/udp":{},"80/tcp":{}}})"},
      {"LABEL k=v", R"({"Labels":{"k":"v"}})"},
      {"ONBUILD RUN x", R"({"OnBuild":["RUN x"]})"},
      {"USER me:us", R"({"User":"me:us"})"},
      {"VOLUME /a /b", R"({"Volumes":{"/a":{},"/b":{}}})"},
      {"VOLUME [\"/a b\"]", R"({"Volumes":{"/a b":{}}})"},
      {"WORKDIR /a/../b/./c", R"({"WorkingDir":"/b/c"})"},
      {"WORKDIR /a\nWORKDIR b", R"({"WorkingDir":"/a/b"})"},
      {"STOPSIGNAL SIGINT", R"({"StopSignal":"SIGINT"})"},
      {"SHELL [\"/bin/bash\",\"-c\"]\nCMD x",
       R"({"Cmd":["/bin/bash","-c","x"],"Shell":["/bin/bash","-c"]})"},
      {"HEALTHCHECK NONE", R"({"Healthcheck":{"Test":["NONE"]}})"},
      {"HEALTHCHECK --interval=5s --retries=2 CMD true",
       R"({"Healthcheck":{"Interval":5000000000,"Retries":2,"Test":["CMD-SHELL","true"]}})"},
      {"HEALTHCHECK CMD [\"true\"]", R"({"Healthcheck":{"Test":["CMD","true"]}})"},
      {"# nothing\n\n", "{}"},
  };
  for (const auto& c : cases) {
    Json config;
    absl::Status status = ApplyChanges({c.change}, &config);
    ASSERT_TRUE(status.ok()) << c.change << status;
    EXPECT_EQ(config.dump(), c.config) << c.change;
  }
}

TEST(ChangesTest, Refuses) {
  const struct {
    const char* change;
    const char* message;
  } cases[] = {
      {"RUN x", "RUN is not a valid change command"},
      {"FROM x", "FROM is not a valid change command"},
      {"nonsense", "NONSENSE is not a valid change command"},
      {"CMD", "CMD requires at least one argument"},
      {"ENV A", "ENV must have two arguments"},
      {"ENV A=1 B", "can't find = in \"B\""},
      {"EXPOSE 0", "Invalid containerPort: 0"},
      {"EXPOSE 70000", "Invalid containerPort"},
      {"EXPOSE 80/icmp", "Invalid containerPort"},
      {"EXPOSE 5-4", "Invalid containerPort"},
      {"USER a b", "USER requires exactly one argument"},
      {"SHELL x", "JSON form"},
      {"HEALTHCHECK --bad=1 CMD x", "unknown flag: bad"},
      {"HEALTHCHECK --interval=x CMD x", "invalid value for interval"},
      {"HEALTHCHECK FOO", "Unknown type \"FOO\""},
      {"HEALTHCHECK CMD", "Missing command"},
      {"LABEL k='v", "unmatched quote"},
      {"VOLUME [\"\"]", "can not be an empty string"},
  };
  for (const auto& c : cases) {
    Json config;
    absl::Status status = ApplyChanges({c.change}, &config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.change;
    EXPECT_THAT(status.message(), HasSubstr(c.message)) << c.change;
  }
}

}  // namespace
}  // namespace gantry::docker
