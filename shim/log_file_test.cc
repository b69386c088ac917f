#include "shim/log_file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/json.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

class LogFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-log-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  std::shared_ptr<LogWriter> OpenUri(const std::string& text) {
    auto uri = ParseStdioUri(text);
    EXPECT_TRUE(uri.ok()) << uri.status();
    auto options = LogFile::ParseOptions(*uri);
    EXPECT_TRUE(options.ok()) << options.status();
    LogWriter::Open(
        &loop_,
        {.path = options->path, .format = options->format, .attributes = options->attributes},
        [options = *options]() -> absl::StatusOr<std::unique_ptr<LogTarget>> {
          return LogFile::Open(options);
        },
        [this](absl::StatusOr<std::shared_ptr<LogWriter>> log) {
          EXPECT_TRUE(log.ok()) << log.status();
          log_ = *log;
          loop_.Stop();
        });
    EXPECT_TRUE(loop_.Run().ok());
    return log_;
  }
  void Settle() {
    log_->WhenIdle([this] { loop_.Stop(); });
    ASSERT_TRUE(loop_.Run().ok());
  }
  std::vector<std::string> Lines(const std::string& path) {
    Settle();
    auto text = base::ReadFile(path);
    EXPECT_TRUE(text.ok()) << text.status();
    return absl::StrSplit(*text, '\n', absl::SkipEmpty());
  }

  std::string dir_;
  base::EventLoop loop_;
  std::shared_ptr<LogWriter> log_;  // the newest
};

TEST_F(LogFileTest, JsonFileIsWhatDockerReads) {
  std::string path = dir_ + "/deep/er/x-json.log";
  auto file = OpenUri("json-file://" + path);
  auto out = LogWriter::Stream(file, "stdout");
  auto err = LogWriter::Stream(file, "stderr");
  out->Write("hel");
  out->Write("lo\nnext \"quoted\" <&> \x01\xff tab\t\xc3\xa4\n");
  err->Write("oops\n\n");
  out->Write("no newline");
  out->Finish();
  auto lines = Lines(path);
  ASSERT_EQ(lines.size(), 5u);
  std::vector<std::pair<std::string, std::string>> want = {
      {"stdout", "hello\n"},
      {"stdout", "next \"quoted\" <&> \x01\xef\xbf\xbd tab\t\xc3\xa4\n"},
      {"stderr", "oops\n"},
      {"stderr", "\n"},
      {"stdout", "no newline"}};
  for (size_t i = 0; i < want.size(); ++i) {
    auto json = base::ParseJson(lines[i]);
    ASSERT_TRUE(json.ok()) << lines[i];
    EXPECT_EQ(base::JsonString(*json, "stream"), want[i].first);
    EXPECT_EQ(base::JsonString(*json, "log"), want[i].second);
    EXPECT_TRUE(base::ParseRfc3339(base::JsonString(*json, "time")).ok());
    // Docker's readers look for the keys in this order.
    EXPECT_TRUE(absl::StartsWith(lines[i], "{\"log\":"));
  }
  struct stat st {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0640u);
}

TEST_F(LogFileTest, CriMarksPieces) {
  std::string path = dir_ + "/0.log";
  auto out = LogWriter::Stream(OpenUri("cri://" + path), "stdout");
  out->Write("one\n" + std::string(16 * 1024 + 5, 'x') + "\n");
  out->Write("rest");
  out->Finish();
  auto lines = Lines(path);
  ASSERT_EQ(lines.size(), 4u);
  std::vector<std::pair<std::string, std::string>> want = {
      {"F", "one"}, {"P", std::string(16 * 1024, 'x')}, {"F", "xxxxx"}, {"P", "rest"}};
  for (size_t i = 0; i < 4; ++i) {
    std::vector<std::string> parts = absl::StrSplit(lines[i], absl::MaxSplits(' ', 3));
    ASSERT_EQ(parts.size(), 4u);
    EXPECT_TRUE(base::ParseRfc3339(parts[0]).ok()) << parts[0];
    EXPECT_EQ(parts[0].size(), 30u);
    EXPECT_EQ(parts[1], "stdout");
    EXPECT_EQ(parts[2], want[i].first);
    EXPECT_EQ(parts[3], want[i].second);
  }
}

TEST_F(LogFileTest, ALineOfExactlyTheLimitIsWhole) {
  std::string path = dir_ + "/0.log";
  auto out = LogWriter::Stream(OpenUri("cri://" + path), "stdout");
  out->Write(std::string(16 * 1024, 'x'));
  out->Write("\n");
  auto lines = Lines(path);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(absl::StrContains(lines[0].substr(0, 60), " F xxx"));
}

TEST_F(LogFileTest, RotatesBySizeAndKeepsTheNewest) {
  std::string path = dir_ + "/x.log";
  auto out =
      LogWriter::Stream(OpenUri("json-file://" + path + "?max-size=1k&max-file=3"), "stdout");
  for (int i = 0; i < 100; ++i) out->Write(absl::StrCat("line ", i, "\n"));
  std::vector<std::string> all;
  for (const char* suffix : {".2", ".1", ""}) {
    Settle();
    struct stat st {};
    ASSERT_EQ(stat((path + suffix).c_str(), &st), 0) << suffix;
    EXPECT_LE(st.st_size, 1024);
    for (const std::string& line : Lines(path + suffix)) all.push_back(line);
  }
  EXPECT_FALSE(base::Exists(path + ".3"));
  ASSERT_GT(all.size(), 20u);
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_TRUE(absl::StrContains(all[i], absl::StrCat("line ", 100 - all.size() + i, "\\n")));
}

TEST_F(LogFileTest, OneFileIsEmptiedInstead) {
  std::string path = dir_ + "/x.log";
  auto out = LogWriter::Stream(OpenUri("cri://" + path + "?max-size=500"), "stdout");
  for (int i = 0; i < 100; ++i) out->Write(absl::StrCat("line ", i, "\n"));
  Settle();
  struct stat st {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_LE(st.st_size, 500);
  EXPECT_TRUE(absl::EndsWith(Lines(path).back(), "line 99"));
  EXPECT_FALSE(base::Exists(path + ".1"));
}

TEST_F(LogFileTest, FollowsARenameBySomebodyElse) {
  std::string path = dir_ + "/x.log";
  auto file = OpenUri("file://" + path);
  auto out = LogWriter::Stream(file, "stdout");
  ASSERT_EQ(rename(path.c_str(), (path + ".old").c_str()), 0);
  out->Write("first after rename\n");  // the first write always looks
  Settle();
  EXPECT_EQ(*base::ReadFile(path), "first after rename\n");
}

TEST_F(LogFileTest, AppendsToWhatIsThere) {
  std::string path = dir_ + "/x.log";
  ASSERT_TRUE(base::WriteFile(path, "old\n").ok());
  auto out = LogWriter::Stream(OpenUri("file://" + path), "stdout");
  out->Write("new\n");
  Settle();
  EXPECT_EQ(*base::ReadFile(path), "old\nnew\n");
}

TEST_F(LogFileTest, RefusesUnknownOptions) {
  for (const char* bad : {"?max-size=x", "?max-file=0", "?max-file=9999", "?colour=red", "?mode=x",
                          "?max-buffer-size=1m", "?mode=non-blocking&max-buffer-size=0"})
    EXPECT_EQ(
        LogFile::ParseOptions(*ParseStdioUri(absl::StrCat("json-file:///x", bad))).status().code(),
        absl::StatusCode::kInvalidArgument)
        << bad;
  auto options =
      LogFile::ParseOptions(*ParseStdioUri("cri:///x?mode=non-blocking&max-buffer-size=4m"));
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_TRUE(options->mode.non_blocking);
  EXPECT_EQ(options->mode.max_buffer_size, 4u << 20);
}

TEST_F(LogFileTest, AttributesAreInEveryRecordAsDockerHasThem) {
  std::string path = dir_ + "/x.log";
  auto out = LogWriter::Stream(
      OpenUri("json-file://" + path + "?attr.tag=web%2F1&attr.env=a%22b&max-size=1m"), "stdout");
  out->Write("one\ntwo\n");
  auto lines = Lines(path);
  ASSERT_EQ(lines.size(), 2u);
  for (const std::string& line : lines) {
    EXPECT_TRUE(absl::StrContains(
        line, R"(,"stream":"stdout","attrs":{"env":"a\"b","tag":"web/1"},"time":")"))
        << line;
  }
  std::string much = "json-file:///x?attr.a=" + std::string(17000, 'x');
  EXPECT_EQ(LogFile::ParseOptions(*ParseStdioUri(much)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(LogFile::ParseOptions(*ParseStdioUri("cri:///x?attr.a=b")).ok());
}

}  // namespace
}  // namespace gantry::shim
