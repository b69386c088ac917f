#include "docker/containers/log_reader.h"

#include <stdlib.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::string Line(int i, const char* stream = "stdout") {
  return absl::StrCat("{\"log\":\"line ", i, "\\n\",\"stream\":\"", stream,
                      "\",\"time\":\"2026-01-01T00:00:0", i, ".5Z\"}\n");
}

class LogReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry_logs_XXXXXX";
    dir_ = mkdtemp(name);
    path_ = dir_ + "/x.log";
  }
  void TearDown() override { ASSERT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& path, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(path, text).ok());
  }
  std::string All(const LogOptions& options) {
    LogReader reader(path_, options);
    std::string all;
    while (true) {
      auto piece = reader.Next();
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || piece->empty()) return all;
      all += *piece;
    }
  }

  std::string dir_, path_;
};

TEST_F(LogReaderTest, ParsesEveryEscape) {
  LogEntry entry;
  ASSERT_TRUE(ParseLogLine(
      R"({"log":"a\tb\"\\\u0000\u20ac\ud83d\ude00\n","stream":"stderr","attrs":{"k":"v"},"time":"t"})",
      &entry));
  EXPECT_EQ(entry.text, std::string("a\tb\"\\\0\xe2\x82\xac\xf0\x9f\x98\x80\n", 14));
  EXPECT_EQ(entry.stream, "stderr");
  EXPECT_THAT(entry.attributes, ElementsAre(Pair("k", "v")));
  for (const char* bad : {"", "{", "{\"log\":\"x", "{\"log\":1}", "[]", "{\"log\":\"\\u12\"}"}) {
    EXPECT_FALSE(ParseLogLine(bad, &entry)) << bad;
  }
}

TEST_F(LogReaderTest, ReadsRotatedFilesOldestFirst) {
  Write(path_ + ".2", Line(1));
  Write(path_ + ".1", Line(2) + Line(3));
  Write(path_, Line(4));
  EXPECT_EQ(All({}), "line 1\nline 2\nline 3\nline 4\n");
}

struct TailCase {
  int64_t tail;
  const char* wanted;
};

TEST_F(LogReaderTest, TailsAcrossFiles) {
  Write(path_ + ".1", Line(1) + Line(2));
  Write(path_, Line(3) + Line(4));
  const TailCase cases[] = {{0, ""},
                            {1, "line 4\n"},
                            {2, "line 3\nline 4\n"},
                            {3, "line 2\nline 3\nline 4\n"},
                            {4, "line 1\nline 2\nline 3\nline 4\n"},
                            {9, "line 1\nline 2\nline 3\nline 4\n"},
                            {-1, "line 1\nline 2\nline 3\nline 4\n"}};
  for (const TailCase& c : cases) {
    LogOptions options;
    options.tail = c.tail;
    EXPECT_EQ(All(options), c.wanted) << c.tail;
  }
}

TEST_F(LogReaderTest, FramesTimesAndStreams) {
  Write(path_, Line(1) + Line(2, "stderr"));
  LogOptions options;
  options.frames = true;
  options.timestamps = true;
  options.out = false;
  std::string text = "2026-01-01T00:00:02.500000000Z line 2\n";
  EXPECT_EQ(All(options),
            std::string("\x02\0\0\0\0\0\0", 7) + static_cast<char>(text.size()) + text);
}

TEST_F(LogReaderTest, SinceAndUntil) {
  Write(path_, Line(1) + Line(2) + Line(3) + Line(4));
  LogOptions options;
  options.since = *base::ParseRfc3339("2026-01-01T00:00:02Z");
  options.until = *base::ParseRfc3339("2026-01-01T00:00:04Z");
  EXPECT_EQ(All(options), "line 2\nline 3\n");
}

TEST_F(LogReaderTest, FollowsWritesAndRotation) {
  Write(path_, Line(1));
  LogReader reader(path_, {});
  EXPECT_EQ(*reader.Next(), "line 1\n");
  EXPECT_EQ(*reader.Next(), "");
  Write(path_, Line(1) + Line(2) + "{\"log\":\"li");
  EXPECT_EQ(*reader.Next(), "line 2\n");
  ASSERT_EQ(rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  Write(path_, Line(3));
  // The half line was never finished.
  EXPECT_EQ(*reader.Next(), "line 3\n");
}

TEST_F(LogReaderTest, NoFileIsAnEmptyLog) { EXPECT_EQ(All({}), ""); }

}  // namespace
}  // namespace gantry::docker
