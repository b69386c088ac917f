#include "base/archive/tar_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/archive/collecting_sink.h"
#include "base/archive/tar_format.h"
#include "base/archive/tar_writer.h"
#include "base/file.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::archive {
namespace {

using ::testing::HasSubstr;

std::string MakeTempDir() {
  std::string path = absl::StrCat(testing::TempDir(), "/tar-XXXXXX");
  return mkdtemp(path.data());
}

// A header block as v7 or ustar wrote it; the checksum is right unless the test breaks it later.
std::string Header(absl::string_view name, char type, int64_t size,
                   absl::string_view magic = absl::string_view("ustar\00000", 8)) {
  std::string block(kTarBlock, '\0');
  name.copy(block.data(), 100);
  absl::StrCat("0000644").copy(&block[100], 7);
  char text[16];
  snprintf(text, sizeof text, "%011llo", static_cast<unsigned long long>(size));
  std::string(text).copy(&block[124], 11);
  block[156] = type;
  magic.copy(&block[257], 8);
  snprintf(text, sizeof text, "%06o", ComputeChecksum(block));
  std::string(text).copy(&block[148], 6);
  block[155] = ' ';
  return block;
}
std::string Content(std::string data) {
  data.resize((data.size() + 511) / 512 * 512, '\0');
  return data;
}
std::string Pax(absl::string_view records, char type = 'x') {
  return Header("pax", type, static_cast<int64_t>(records.size())) + Content(std::string(records));
}
const std::string kEnd(1024, '\0');

// What GNU tar makes of one directory in each of its formats.
class GnuTarTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    dir_ = MakeTempDir();
    ASSERT_TRUE(base::MakeDirs(dir_ + "/d/sub", 0755).ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/d/file", "hello world\n", 0640).ok());
    ASSERT_EQ(chmod((dir_ + "/d/file").c_str(), 04751), 0);
    ASSERT_EQ(link((dir_ + "/d/file").c_str(), (dir_ + "/d/hard").c_str()), 0);
    ASSERT_EQ(symlink("../target", (dir_ + "/d/sub/soft").c_str()), 0);
    // v7 has no fifos.
    if (absl::string_view(GetParam()) != "v7") {
      ASSERT_EQ(mkfifo((dir_ + "/d/fifo").c_str(), 0600), 0);
    }
    timespec times[2] = {{1234567890, 0}, {1234567890, 123456789}};
    ASSERT_EQ(utimensat(AT_FDCWD, (dir_ + "/d/file").c_str(), times, 0), 0);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  std::string MakeTar(std::vector<std::string> options) {
    base::SpawnOptions spawn;
    spawn.argv = {"tar", "-C", dir_, "-cf", "-", "--sort=name", "--numeric-owner"};
    spawn.argv.insert(spawn.argv.end(), options.begin(), options.end());
    spawn.argv.push_back("d");
    auto result = base::RunProcess(spawn, {}, absl::Seconds(30), 64u << 20);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->exit.code, 0) << result->err;
    return result->out;
  }
  std::string dir_;
};

TEST_P(GnuTarTest, ReadsEveryKindOfEntry) {
  std::string format = GetParam();
  std::string long_name(98, 'n');
  if (format != "v7") {
    ASSERT_TRUE(base::WriteFile(dir_ + "/d/sub/" + long_name, "long").ok());
  }
  std::string tar = MakeTar({"--format=" + format});
  for (size_t piece : {size_t{1}, size_t{511}, size_t{4096}, size_t{1} << 20}) {
    auto sink = ReadTar(tar, piece);
    ASSERT_TRUE(sink.ok()) << sink.status();
    const Collected* file = sink->Find("d/file");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(file->content, "hello world\n");
    EXPECT_EQ(file->entry.mode, 04751u);
    EXPECT_EQ(file->entry.mtime.tv_sec, 1234567890);
    EXPECT_EQ(file->entry.mtime.tv_nsec, format == "posix" ? 123456789 : 0);
    EXPECT_EQ(sink->Find("d/hard")->entry.type, TarType::kHardLink);
    EXPECT_EQ(sink->Find("d/hard")->entry.link_name, "d/file");
    EXPECT_EQ(sink->Find("d/sub/soft")->entry.link_name, "../target");
    EXPECT_EQ(sink->Find("d/sub/")->entry.type, TarType::kDirectory);
    if (format != "v7") {
      EXPECT_EQ(sink->Find("d/sub/" + long_name)->content, "long");
      EXPECT_EQ(sink->Find("d/fifo")->entry.type, TarType::kFifo);
    }
  }
}

TEST_P(GnuTarTest, ReadsLongNamesAndLinks) {
  std::string format = GetParam();
  if (format == "v7" || format == "ustar") GTEST_SKIP() << format << " has no long links";
  std::string deep = "d/sub";
  for (int i = 0; i < 10; ++i) absl::StrAppend(&deep, "/", std::string(60, 'a' + i));
  ASSERT_TRUE(base::MakeDirs(dir_ + "/" + deep, 0755).ok());
  std::string target(300, 't');
  ASSERT_EQ(symlink(target.c_str(), (dir_ + "/" + deep + "/link").c_str()), 0);
  ASSERT_TRUE(base::WriteFile(dir_ + "/" + deep + "/\xc3\xa4", "x").ok());
  auto sink = ReadTar(MakeTar({"--format=" + format}), 700);
  ASSERT_TRUE(sink.ok()) << sink.status();
  EXPECT_EQ(sink->Find(deep + "/link")->entry.link_name, target);
  EXPECT_EQ(sink->Find(deep + "/\xc3\xa4")->content, "x");
}

INSTANTIATE_TEST_SUITE_P(Formats, GnuTarTest,
                         testing::Values("v7", "ustar", "oldgnu", "gnu", "posix"));

class SparseTest : public GnuTarTest {};
TEST_P(SparseTest, ReadsHolesAsHoles) {
  auto fd = base::Open(dir_ + "/d/holes", O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(fd.ok());
  std::string want(40 << 20, '\0');
  // More segments than the header of an old GNU sparse file holds, so that extensions are needed.
  for (int i = 0; i < 60; ++i) {
    std::string data = absl::StrCat("data ", i);
    off_t at = i * 600000;
    ASSERT_EQ(pwrite(fd->get(), data.data(), data.size(), at), static_cast<ssize_t>(data.size()));
    data.copy(&want[static_cast<size_t>(at)], data.size());
  }
  ASSERT_EQ(ftruncate(fd->get(), static_cast<off_t>(want.size())), 0);
  std::string version = GetParam();
  std::vector<std::string> options = {"--sparse"};
  if (version == "gnu") {
    options.push_back("--format=gnu");
  } else {
    options.insert(options.end(), {"--format=posix", "--sparse-version=" + version});
  }
  std::string tar = MakeTar(options);
  for (size_t piece : {size_t{333}, size_t{1} << 20}) {
    auto sink = ReadTar(tar, piece);
    ASSERT_TRUE(sink.ok()) << sink.status();
    const Collected* file = sink->Find("d/holes");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(file->entry.size, static_cast<int64_t>(want.size()));
    EXPECT_TRUE(file->content == want);
    EXPECT_LT(file->data_bytes, 2 << 20);
  }
}
INSTANTIATE_TEST_SUITE_P(Versions, SparseTest, testing::Values("gnu", "0.0", "0.1", "1.0"));

TEST(TarReaderTest, ReadsBase256Numbers) {
  std::string block = Header("big", '0', 0);
  // uid 3000000000 and a time before 1970, as GNU tar writes them.
  std::string uid("\x80\x00\x00\x00\xb2\xd0\x5e\x00", 8);
  uid.copy(&block[108], 8);
  std::string mtime(12, '\xff');
  mtime.copy(&block[136], 12);
  char text[8];
  snprintf(text, sizeof text, "%06o", ComputeChecksum(block));
  std::string(text).copy(&block[148], 6);
  auto sink = ReadTar(block + kEnd);
  ASSERT_TRUE(sink.ok()) << sink.status();
  EXPECT_EQ(sink->entries()[0].entry.uid, 3000000000u);
  EXPECT_EQ(sink->entries()[0].entry.mtime.tv_sec, -1);
}

TEST(TarReaderTest, AppliesGlobalThenLocalPaxRecords) {
  std::string global = FormatPaxRecord("mtime", "5") + FormatPaxRecord("uname", "all");
  std::string local = FormatPaxRecord("path", "real") + FormatPaxRecord("mtime", "7.25");
  auto sink =
      ReadTar(Pax(global, 'g') + Pax(local) + Header("a", '0', 0) + Header("b", '0', 0) + kEnd);
  ASSERT_TRUE(sink.ok()) << sink.status();
  const Collected* real = sink->Find("real");
  ASSERT_NE(real, nullptr);
  EXPECT_EQ(real->entry.mtime.tv_sec, 7);
  EXPECT_EQ(real->entry.mtime.tv_nsec, 250000000);
  EXPECT_EQ(real->entry.user_name, "all");
  EXPECT_EQ(sink->Find("b")->entry.mtime.tv_sec, 5);
}

TEST(TarReaderTest, ReadsXattrsOfBothSpellings) {
  std::string value("\0bin=\n", 6);
  std::string records = FormatPaxRecord("SCHILY.xattr.user.a", value) +
                        FormatPaxRecord("LIBARCHIVE.xattr.user.%25b", "dmFsdWU");
  auto sink = ReadTar(Pax(records) + Header("f", '0', 0) + kEnd);
  ASSERT_TRUE(sink.ok()) << sink.status();
  EXPECT_EQ(sink->entries()[0].entry.xattrs.at("user.a"), value);
  EXPECT_EQ(sink->entries()[0].entry.xattrs.at("user.%b"), "value");
}

TEST(TarReaderTest, SkipsWhatIsNoFile) {
  auto sink = ReadTar(Header("label", 'V', 0) + Header("dump", 'D', 3) + Content("abc") +
                      Header("old/", '\0', 0, "") + Header("f", '7', 2) + Content("xy") + kEnd);
  ASSERT_TRUE(sink.ok()) << sink.status();
  ASSERT_EQ(sink->entries().size(), 2u);
  EXPECT_EQ(sink->entries()[0].entry.type, TarType::kDirectory);
  EXPECT_EQ(sink->entries()[1].content, "xy");
}

TEST(TarReaderTest, AcceptsMissingEndAndTrailingBytes) {
  EXPECT_TRUE(ReadTar("").ok());
  EXPECT_TRUE(ReadTar(Header("f", '0', 1) + Content("x")).ok());
  EXPECT_TRUE(ReadTar(Header("f", '0', 1) + "x").ok());
  EXPECT_TRUE(ReadTar(kEnd + "anything").ok());
}

TEST(TarReaderTest, RefusesMalformedArchives) {
  std::string bad_checksum = Header("f", '0', 0);
  bad_checksum[0] = 'g';
  std::string bad_size = Header("f", '0', 0);
  bad_size[124] = '9';
  std::string huge = FormatPaxRecord("size", "9223372036854775807");
  struct Case {
    const char* name;
    std::string tar;
    const char* want;
  } cases[] = {
      {"text", std::string(512, 'x'), "checksum"},
      {"checksum", bad_checksum + kEnd, "checksum"},
      {"short header", Header("f", '0', 0).substr(0, 100), "unexpected end"},
      {"short content", Header("f", '0', 600) + std::string(512, 'x'), "unexpected end"},
      {"zero block inside", std::string(512, '\0') + Header("f", '0', 0), "zero block"},
      {"pax at the end", Pax(FormatPaxRecord("path", "x")) + kEnd, "extended header"},
      {"pax without length", Pax("path=x\n") + Header("f", '0', 0), "pax"},
      {"pax length beyond", Pax("99 path=x\n") + Header("f", '0', 0), "pax"},
      {"pax no newline", Pax("9 path=xy") + Header("f", '0', 0), "pax"},
      {"pax NUL", Pax(FormatPaxRecord("path", std::string("a\0b", 3))) + Header("f", '0', 0),
       "NUL"},
      {"pax size", Pax(huge) + Header("f", '0', 0), "size"},
      {"pax negative size", Pax(FormatPaxRecord("size", "-1")) + Header("f", '0', 0), "number"},
      {"pax uid", Pax(FormatPaxRecord("uid", "4294967296")) + Header("f", '0', 0), "number"},
      {"sparse overlap",
       Pax(FormatPaxRecord("GNU.sparse.size", "10") +
           FormatPaxRecord("GNU.sparse.map", "4,2,2,2")) +
           Header("f", '0', 4) + Content("abcd"),
       "map"},
      {"sparse beyond",
       Pax(FormatPaxRecord("GNU.sparse.size", "3") + FormatPaxRecord("GNU.sparse.map", "0,4")) +
           Header("f", '0', 4) + Content("abcd"),
       "map"},
      {"sparse sum",
       Pax(FormatPaxRecord("GNU.sparse.size", "9") + FormatPaxRecord("GNU.sparse.map", "0,3")) +
           Header("f", '0', 4) + Content("abcd"),
       "map"},
      {"sparse odd",
       Pax(FormatPaxRecord("GNU.sparse.size", "9") + FormatPaxRecord("GNU.sparse.map", "0,3,4")) +
           Header("f", '0', 4) + Content("abcd"),
       "map"},
      {"sparse 1.0 without map",
       Pax(FormatPaxRecord("GNU.sparse.major", "1") + FormatPaxRecord("GNU.sparse.minor", "0") +
           FormatPaxRecord("GNU.sparse.realsize", "9")) +
           Header("f", '0', 0),
       "map"},
  };
  for (const Case& c : cases) {
    for (size_t piece : {size_t{1}, size_t{1} << 20}) {
      auto sink = ReadTar(c.tar, piece);
      EXPECT_EQ(sink.status().code(), absl::StatusCode::kInvalidArgument) << c.name;
      EXPECT_THAT(std::string(sink.status().message()), HasSubstr(c.want)) << c.name;
    }
  }
}

TEST(TarReaderTest, CapsHeaders) {
  EXPECT_EQ(ReadTar(Header("n", 'L', 1 << 30)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadTar(Header("n", 'x', 1 << 30)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadTar(Pax(FormatPaxRecord("path", std::string(70000, 'p'))) + Header("f", '0', 0))
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TarReaderTest, StopsWithTheErrorOfTheSink) {
  class Refusing : public CollectingSink {
    absl::Status OnData(int64_t, absl::string_view) override {
      return absl::ResourceExhaustedError("full");
    }
  } sink;
  TarReader reader(&sink);
  std::string tar = Header("f", '0', 2) + Content("xy") + kEnd;
  EXPECT_EQ(reader.Write(tar).message(), "full");
  EXPECT_EQ(reader.Write(tar).message(), "full");
  EXPECT_EQ(reader.Finish().message(), "full");
}

// Whatever the bytes are, the reader ends with a status and bounded memory. Deterministic, so that
// a failure repeats.
TEST(TarReaderTest, SurvivesMutations) {
  std::string seed =
      Pax(FormatPaxRecord("path", "x") + FormatPaxRecord("SCHILY.xattr.user.a", "b")) +
      Header("f", '0', 600) + Content(std::string(600, 'c')) + Header("long", 'L', 4) +
      Content("name") + Header("s", '2', 0) +
      Pax(FormatPaxRecord("GNU.sparse.major", "1") + FormatPaxRecord("GNU.sparse.minor", "0") +
          FormatPaxRecord("GNU.sparse.realsize", "9000")) +
      Header("sp", '0', 515) + Content("1\n8000\n3\n") + Content("abc") + Header("g", 'S', 512) +
      Content(std::string(512, 'd')) + kEnd;
  ASSERT_TRUE(ReadTar(seed.substr(0, seed.size() - 2048)).ok());
  std::mt19937 random(20240613);
  for (int round = 0; round < 20000; ++round) {
    std::string tar = seed;
    for (int i = static_cast<int>(random() % 4); i >= 0; --i) {
      size_t at = random() % tar.size();
      if (random() % 3 != 0) at = at / 512 * 512 + random() % 512;
      tar[at] = "0123456789\0\n =,-\x80\xff"[random() % 18];
      // Most mutations of headers should get past the checksum.
      size_t block = at / 512 * 512;
      char text[16];
      snprintf(text, sizeof text, "%06o",
               ComputeChecksum(absl::string_view(tar).substr(block, 512)));
      if (tar.compare(block + 257, 5, "ustar") == 0) std::string(text).copy(&tar[block + 148], 6);
    }
    class Counting : public TarSink {
     public:
      absl::Status OnEntry(const TarEntry& e) override {
        size_ = e.size;
        end_ = 0;
        return absl::OkStatus();
      }
      absl::Status OnData(int64_t offset, absl::string_view data) override {
        EXPECT_GE(offset, end_);
        end_ = offset + static_cast<int64_t>(data.size());
        EXPECT_LE(end_, size_);
        return absl::OkStatus();
      }
      absl::Status OnEntryEnd() override { return absl::OkStatus(); }
      int64_t size_ = 0, end_ = 0;
    } sink;
    TarReader reader(&sink);
    size_t piece = 1 + random() % 2000;
    absl::Status status;
    for (size_t at = 0; at < tar.size() && status.ok(); at += piece)
      status = reader.Write(absl::string_view(tar).substr(at, piece));
    if (status.ok()) status = reader.Finish();
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status))
        << status;
  }
}

}  // namespace
}  // namespace gantry::archive
