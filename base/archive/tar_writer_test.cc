#include "base/archive/tar_writer.h"

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/collecting_sink.h"
#include "base/archive/tar_format.h"
#include "base/digest.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::archive {
namespace {

std::vector<TarEntry> Samples() {
  std::vector<TarEntry> samples;
  auto add = [&samples](absl::string_view name, TarType type) -> TarEntry& {
    TarEntry entry;
    entry.name = std::string(name);
    entry.type = type;
    entry.mode = 0644;
    entry.mtime.tv_sec = 1500000000;
    samples.push_back(entry);
    return samples.back();
  };
  add("plain", TarType::kRegular).size = 5;
  add("dir/", TarType::kDirectory).mode = 01777;
  add("dir/link", TarType::kSymlink).link_name = "../plain";
  add("hard", TarType::kHardLink).link_name = "plain";
  add("null", TarType::kCharDevice).dev_minor = 3;
  samples.back().dev_major = 1;
  add("disk", TarType::kBlockDevice).dev_major = 8;
  add("pipe", TarType::kFifo);
  add("subsecond", TarType::kRegular).mtime = {1500000000, 123456789};
  add("before-1970", TarType::kRegular).mtime = {-2, 250000000};
  add(std::string(90, 'd') + "/" + std::string(90, 'f'), TarType::kRegular).size = 1;
  add(std::string(300, 'n'), TarType::kRegular).size = 512;
  add("uml\xc3\xa4ut", TarType::kRegular).user_name = "j\xc3\xbcrgen";
  add("ids", TarType::kRegular).uid = 3000000000;
  samples.back().gid = 2097152;
  add("far", TarType::kSymlink).link_name = std::string(200, 'l');
  add("xattrs", TarType::kRegular).xattrs = {{"user.a", "b"},
                                             {"security.capability", std::string("\0\1=\n", 4)}};
  return samples;
}

std::string WriteSamples() {
  std::string tar;
  TarWriter writer([&tar](absl::string_view data) {
    tar.append(data.data(), data.size());
    return absl::OkStatus();
  });
  for (const TarEntry& entry : Samples()) {
    EXPECT_TRUE(writer.AddEntry(entry).ok()) << entry.name;
    EXPECT_TRUE(writer.Write(std::string(static_cast<size_t>(entry.size), 'x')).ok());
  }
  EXPECT_TRUE(writer.Finish().ok());
  return tar;
}

TEST(TarWriterTest, OurReaderReadsItBack) {
  auto sink = ReadTar(WriteSamples(), 1000);
  ASSERT_TRUE(sink.ok()) << sink.status();
  std::vector<TarEntry> want = Samples();
  ASSERT_EQ(sink->entries().size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const TarEntry& got = sink->entries()[i].entry;
    EXPECT_EQ(got.name, want[i].name);
    EXPECT_EQ(got.type, want[i].type) << got.name;
    EXPECT_EQ(got.link_name, want[i].link_name) << got.name;
    EXPECT_EQ(got.mode, want[i].mode) << got.name;
    EXPECT_EQ(got.uid, want[i].uid) << got.name;
    EXPECT_EQ(got.gid, want[i].gid) << got.name;
    EXPECT_EQ(got.user_name, want[i].user_name) << got.name;
    EXPECT_EQ(got.size, want[i].size) << got.name;
    EXPECT_EQ(got.mtime.tv_sec, want[i].mtime.tv_sec) << got.name;
    EXPECT_EQ(got.mtime.tv_nsec, want[i].mtime.tv_nsec) << got.name;
    EXPECT_EQ(got.dev_major, want[i].dev_major) << got.name;
    EXPECT_EQ(got.dev_minor, want[i].dev_minor) << got.name;
    EXPECT_EQ(got.xattrs, want[i].xattrs) << got.name;
  }
}

TEST(TarWriterTest, GnuTarReadsIt) {
  base::SpawnOptions spawn;
  spawn.argv = {"tar", "--full-time", "--numeric-owner", "-tvf", "-"};
  spawn.env = {"TZ=UTC", "LC_ALL=C"};
  auto result = base::RunProcess(spawn, WriteSamples());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit.code, 0) << result->err;
  for (const TarEntry& entry : Samples()) {
    bool ascii = std::all_of(entry.name.begin(), entry.name.end(), [](char c) { return c > 0; });
    if (ascii) {
      EXPECT_THAT(result->out, testing::HasSubstr(entry.name));
    }
  }
  EXPECT_THAT(result->out, testing::HasSubstr("3000000000/2097152"));
  EXPECT_THAT(result->out, testing::HasSubstr("2017-07-14 02:40:00.123456789 subsecond"));
}

TEST(TarWriterTest, UsesPaxOnlyWhereNeeded) {
  std::string tar;
  TarWriter writer([&tar](absl::string_view data) {
    tar.append(data.data(), data.size());
    return absl::OkStatus();
  });
  TarEntry entry;
  entry.name = "plain";
  ASSERT_TRUE(writer.AddEntry(entry).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(tar.size(), 3 * kTarBlock);
}

TEST(TarWriterTest, RefusesWhatDoesNotAddUp) {
  TarWriter writer([](absl::string_view) { return absl::OkStatus(); });
  TarEntry entry;
  entry.name = "f";
  entry.size = 2;
  ASSERT_TRUE(writer.AddEntry(entry).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(writer.Write("abc")));
  ASSERT_TRUE(writer.Write("a").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer.AddEntry(entry)));
  EXPECT_TRUE(absl::IsFailedPrecondition(writer.Finish()));
  ASSERT_TRUE(writer.Write("b").ok());
  entry.name = std::string("a\0b", 3);
  EXPECT_TRUE(absl::IsInvalidArgument(writer.AddEntry(entry)));
  entry.name.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(writer.AddEntry(entry)));
  EXPECT_TRUE(writer.Finish().ok());
}

TEST(PaxFormatTest, RecordsCountTheirOwnLength) {
  for (size_t size = 0; size < 1100; ++size) {
    std::string record = FormatPaxRecord("k", std::string(size, 'v'));
    EXPECT_EQ(absl::StrCat(record.size()), record.substr(0, record.find(' ')));
  }
}

TEST(PaxFormatTest, TimesGoRound) {
  struct Case {
    timespec time;
    const char* text;
  } cases[] = {{{0, 0}, "0"},
               {{1, 500000000}, "1.5"},
               {{-1, 0}, "-1"},
               {{-2, 750000000}, "-1.25"},
               {{-1, 999999999}, "-0.000000001"},
               {{7, 1}, "7.000000001"}};
  for (const Case& c : cases) {
    EXPECT_EQ(FormatPaxTime(c.time), c.text);
    auto parsed = ParsePaxTime(c.text);
    ASSERT_TRUE(parsed.ok()) << c.text;
    EXPECT_EQ(parsed->tv_sec, c.time.tv_sec) << c.text;
    EXPECT_EQ(parsed->tv_nsec, c.time.tv_nsec) << c.text;
  }
  for (const char* bad : {"", "-", ".", "1.x", "x", "1e5", "--1", "99999999999999999999"})
    EXPECT_FALSE(ParsePaxTime(bad).ok()) << bad;
}

}  // namespace
}  // namespace gantry::archive
