#include <random>

#include "absl/strings/str_cat.h"
#include "base/archive/compress.h"
#include "base/archive/decompress.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::archive {
namespace {

ByteSink AppendTo(std::string* out) {
  return [out](absl::string_view data) {
    out->append(data.data(), data.size());
    return absl::OkStatus();
  };
}

// Half text, half noise, so that stored and compressed blocks both occur.
std::string Sample(size_t size) {
  std::mt19937 random(7);
  std::string data;
  while (data.size() < size) {
    absl::StrAppend(&data, "line ", data.size(), " of text that repeats itself\n");
    for (int i = 0; i < 40; ++i) data.push_back(static_cast<char>(random()));
  }
  data.resize(size);
  return data;
}

std::string Compress(Compression kind, absl::string_view data, size_t piece = 1 << 20) {
  std::string out;
  auto compressor = Compressor::Create(kind, AppendTo(&out));
  for (size_t at = 0; at < data.size(); at += piece)
    EXPECT_TRUE(compressor->Write(data.substr(at, piece)).ok());
  EXPECT_TRUE(compressor->Finish().ok());
  return out;
}

absl::StatusOr<std::string> Decompress(absl::string_view data, size_t piece = 1 << 20,
                                       Compression* kind = nullptr) {
  std::string out;
  auto stream = Decompressor::Detect(AppendTo(&out));
  for (size_t at = 0; at < data.size(); at += piece) {
    absl::Status status = stream->Write(data.substr(at, piece));
    if (!status.ok()) return status;
  }
  absl::Status status = stream->Finish();
  if (!status.ok()) return status;
  if (kind != nullptr) *kind = stream->compression();
  return out;
}

class RoundTripTest : public testing::TestWithParam<Compression> {};

TEST_P(RoundTripTest, GivesTheSameBytes) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{3}, size_t{70000}, size_t{3} << 20}) {
    std::string data = Sample(size);
    std::string packed = Compress(GetParam(), data);
    for (size_t piece : {size_t{1}, size_t{4093}, size_t{1} << 20}) {
      if (piece == 1 && size > 100000) continue;
      Compression kind = Compression::kNone;
      auto plain = Decompress(packed, piece, &kind);
      ASSERT_TRUE(plain.ok()) << plain.status();
      EXPECT_TRUE(*plain == data) << size << " in pieces of " << piece;
      EXPECT_EQ(kind, GetParam());
    }
  }
}

TEST_P(RoundTripTest, DoesNotDependOnThePieces) {
  std::string data = Sample(1 << 20);
  std::string whole = Compress(GetParam(), data);
  EXPECT_TRUE(whole == Compress(GetParam(), data, 1000));
  EXPECT_TRUE(whole == Compress(GetParam(), data, 99999));
}

INSTANTIATE_TEST_SUITE_P(Kinds, RoundTripTest,
                         testing::Values(Compression::kNone, Compression::kGzip,
                                         Compression::kZstd));

TEST(GzipTest, OtherProgramsReadOursAndWeTheirs) {
  std::string data = Sample(500000);
  base::SpawnOptions unpack;
  unpack.argv = {"gzip", "-dc"};
  auto theirs = base::RunProcess(unpack, Compress(Compression::kGzip, data));
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_TRUE(theirs->out == data) << theirs->err;
  base::SpawnOptions pack;
  pack.argv = {"gzip", "-9c"};
  auto packed = base::RunProcess(pack, data);
  ASSERT_TRUE(packed.ok());
  auto plain = Decompress(packed->out, 777);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(*plain == data);
}

TEST(GzipTest, ReadsMembersAndTrailingZeros) {
  std::string packed = Compress(Compression::kGzip, "one ") + Compress(Compression::kGzip, "two");
  for (size_t piece : {size_t{1}, size_t{1000}}) {
    auto plain = Decompress(packed + std::string(700, '\0'), piece);
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(*plain, "one two");
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Decompress(packed + "garbage").status()));
}

TEST(GzipTest, HeaderHasNoTime) {
  std::string packed = Compress(Compression::kGzip, "x");
  EXPECT_EQ(packed.substr(4, 4), std::string(4, '\0'));
}

TEST(DamageTest, CutStreamsAreRefused) {
  for (Compression kind : {Compression::kGzip, Compression::kZstd}) {
    std::string packed = Compress(kind, Sample(100000));
    for (size_t cut : {size_t{5}, size_t{100}, packed.size() / 2, packed.size() - 1}) {
      auto plain = Decompress(packed.substr(0, cut));
      EXPECT_TRUE(absl::IsInvalidArgument(plain.status())) << cut;
    }
  }
}

TEST(DamageTest, EveryFlippedByteIsNoticed) {
  std::string data = "some text, some text, some more text";
  for (Compression kind : {Compression::kGzip, Compression::kZstd}) {
    std::string packed = Compress(kind, data);
    for (size_t at = 0; at < packed.size(); ++at) {
      std::string damaged = packed;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      auto plain = Decompress(damaged, 5);
      // Bytes of the header that mean nothing here, and a magic number that is none any more, may
      // pass; other content under the same magic number may not.
      if (plain.ok() && *plain != damaged) {
        EXPECT_EQ(*plain, data) << at;
      }
    }
  }
}

TEST(DamageTest, WrongChecksumIsNamed) {
  std::string packed = Compress(Compression::kGzip, "content");
  packed[packed.size() - 6] ^= 1;
  absl::Status status = Decompress(packed).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("checksum"));
}

TEST(DamageTest, RandomMutationsEnd) {
  std::mt19937 random(99);
  for (Compression kind : {Compression::kGzip, Compression::kZstd}) {
    std::string packed = Compress(kind, Sample(20000));
    for (int round = 0; round < 2000; ++round) {
      std::string damaged = packed;
      for (int i = 0; i < 3; ++i)
        damaged[4 + random() % (damaged.size() - 4)] = static_cast<char>(random());
      auto plain = Decompress(damaged, 1 + random() % 5000);
      if (!plain.ok()) {
        EXPECT_TRUE(absl::IsInvalidArgument(plain.status())) << plain.status();
      }
    }
  }
}

TEST(SinkTest, ItsErrorComesBack) {
  std::string packed = Compress(Compression::kGzip, Sample(1 << 20));
  int calls = 0;
  auto stream = Decompressor::Detect([&calls](absl::string_view) {
    return ++calls > 1 ? absl::ResourceExhaustedError("full") : absl::OkStatus();
  });
  EXPECT_EQ(stream->Write(packed).message(), "full");
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace gantry::archive
