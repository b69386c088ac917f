#include "shim/stdio_uri.h"

#include "gtest/gtest.h"
#include "shim/sha256.h"

namespace gantry::shim {
namespace {

TEST(StdioUriTest, AcceptsWhatClientsWrite) {
  struct Case {
    const char* text;
    const char* scheme;
    const char* path;
  };
  for (const Case& c : {Case{"", "", ""}, Case{"/run/fifo/1", "fifo", "/run/fifo/1"},
                        Case{"fifo:///run/fifo/1", "fifo", "/run/fifo/1"},
                        Case{"file:///var/log/a%20b", "file", "/var/log/a b"},
                        Case{"cri:///l/0.log?max-size=1k", "cri", "/l/0.log"}}) {
    auto uri = ParseStdioUri(c.text);
    ASSERT_TRUE(uri.ok()) << c.text << uri.status();
    EXPECT_EQ(uri->scheme, c.scheme) << c.text;
    EXPECT_EQ(uri->path, c.path) << c.text;
  }
  auto uri = ParseStdioUri("binary:///bin/log?k=a+b&flag&k2=%3D");
  ASSERT_TRUE(uri.ok());
  ASSERT_EQ(uri->query.size(), 3u);
  EXPECT_EQ(uri->query[0], std::make_pair(std::string("k"), std::string("a b")));
  EXPECT_EQ(uri->query[1], std::make_pair(std::string("flag"), std::string("")));
  EXPECT_EQ(*uri->Find("k2"), "=");
  EXPECT_EQ(uri->Find("none"), nullptr);
}

TEST(StdioUriTest, RefusesTheRest) {
  for (const char* bad : {"relative", "ftp:///x", "file://relative", "file:///a%zz", "file:///a%4",
                          "fifo://", "file:///a%00b", "stream://x"})
    EXPECT_EQ(ParseStdioUri(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
}

TEST(StdioUriTest, Sizes) {
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("512"), 512u);
  EXPECT_EQ(*ParseSize("10k"), 10240u);
  EXPECT_EQ(*ParseSize("10MB"), 10u << 20);
  EXPECT_EQ(*ParseSize("1G"), 1u << 30);
  for (const char* bad : {"", "k", "-1", "1.5m", "10x", "99999999999999999999", "99999999999g"})
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
}

TEST(Sha256Test, KnownValues) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace gantry::shim
