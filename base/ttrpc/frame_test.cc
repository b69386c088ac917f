#include "base/ttrpc/frame.h"

#include <sys/socket.h>

#include <string>

#include "gtest/gtest.h"

namespace gantry::base::ttrpc {
namespace {

TEST(FrameTest, HeaderIsBigEndian) {
  std::string frame = EncodeFrame(0x01020304, kResponse, "ab", 0);
  EXPECT_EQ(frame, std::string("\0\0\0\2\1\2\3\4\2\0ab", 12));
}

TEST(FrameTest, FramesSurviveAnySplit) {
  std::string wire = EncodeFrame(1, kRequest, "first") + EncodeFrame(3, kRequest, "") +
                     EncodeFrame(5, kRequest, std::string(70000, 'x'));
  for (size_t step : {size_t{1}, size_t{7}, size_t{4096}, wire.size()}) {
    FrameReader reader;
    std::vector<Frame> got;
    for (size_t at = 0; at < wire.size(); at += step) {
      reader.Append(absl::string_view(wire).substr(at, step));
      while (auto frame = reader.Next()) got.push_back(*std::move(frame));
    }
    ASSERT_EQ(got.size(), 3u) << step;
    EXPECT_EQ(got[0].data, "first");
    EXPECT_EQ(got[1].data, "");
    EXPECT_EQ(got[2].stream, 5u);
    EXPECT_EQ(got[2].data.size(), 70000u);
  }
}

TEST(FrameTest, OversizeIsReportedOnceAndItsBytesAreSkipped) {
  std::string big = EncodeFrame(7, kRequest, std::string(kMaxMessage + 1, 'x'));
  std::string wire = big + EncodeFrame(9, kRequest, "after");
  FrameReader reader;
  std::vector<Frame> got;
  for (size_t at = 0; at < wire.size(); at += 100000) {
    reader.Append(absl::string_view(wire).substr(at, 100000));
    while (auto frame = reader.Next()) got.push_back(*std::move(frame));
  }
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(got[0].oversize);
  EXPECT_EQ(got[0].stream, 7u);
  EXPECT_EQ(got[0].data, "");
  EXPECT_FALSE(got[1].oversize);
  EXPECT_EQ(got[1].data, "after");
}

TEST(FrameTest, AddressesOtherThanAbsolutePathsAreRefused) {
  std::string path;
  EXPECT_TRUE(ParseUnixAddress("unix:///run/x.sock", &path).ok());
  EXPECT_EQ(path, "/run/x.sock");
  EXPECT_TRUE(ParseUnixAddress("/run/y.sock", &path).ok());
  for (const char* bad : {"", "unix://", "\0abstract", "@abstract", "relative", "vsock://1:2"})
    EXPECT_EQ(ParseUnixAddress(bad, &path).code(), absl::StatusCode::kInvalidArgument) << bad;
  EXPECT_FALSE(ParseUnixAddress("/" + std::string(200, 'a'), &path).ok());
}

TEST(FrameTest, WriteBufferKeepsWhatTheSocketDoesNotTake) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd left(ends[0]), right(ends[1]);
  WriteBuffer out;
  std::string sent(3u << 20, 'a');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 >> 3);
  out.Append(sent);
  ASSERT_TRUE(out.Flush(left.get()).ok());
  EXPECT_FALSE(out.empty());
  std::string got;
  while (got.size() < sent.size()) {
    char chunk[65536];
    ssize_t n = read(right.get(), chunk, sizeof chunk);
    if (n > 0) got.append(chunk, n);
    ASSERT_TRUE(out.Flush(left.get()).ok());
  }
  EXPECT_TRUE(got == sent);
  right.Reset();
  out.Append("more");
  EXPECT_EQ(out.Flush(left.get()).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace gantry::base::ttrpc
