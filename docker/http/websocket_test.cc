#include "docker/http/websocket.h"

#include <string>

#include "gtest/gtest.h"

namespace gantry::docker::http {
namespace {

// A frame as a client sends it.
std::string Masked(unsigned char opcode, const std::string& payload) {
  const unsigned char mask[4] = {1, 2, 3, 4};
  std::string frame(1, static_cast<char>(0x80 | opcode));
  if (payload.size() < 126) {
    frame.push_back(static_cast<char>(0x80 | payload.size()));
  } else {
    frame.push_back(static_cast<char>(0x80 | 126));
    frame.push_back(static_cast<char>(payload.size() >> 8));
    frame.push_back(static_cast<char>(payload.size()));
  }
  frame.append(reinterpret_cast<const char*>(mask), 4);
  for (size_t i = 0; i < payload.size(); ++i) {
    frame.push_back(static_cast<char>(payload[i] ^ mask[i % 4]));
  }
  return frame;
}

TEST(WebSocketTest, AcceptsAsTheRfcShows) {
  EXPECT_EQ(WebSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(WebSocketTest, FramesOfEveryLength) {
  EXPECT_EQ(WebSocketFrame("ab"), std::string("\x82\x02"
                                              "ab"));
  EXPECT_EQ(WebSocketFrame(std::string(300, 'x')).substr(0, 4), std::string("\x82\x7e\x01\x2c"));
  EXPECT_EQ(WebSocketFrame(std::string(70000, 'x')).size(), 70010u);
}

TEST(WebSocketTest, DecodesInAnyPieces) {
  std::string wire = Masked(2, "hello ") + Masked(9, "ping") + Masked(1, std::string(200, 'y'));
  for (size_t step : {size_t{1}, size_t{3}, wire.size()}) {
    WebSocketDecoder decoder;
    std::string payload, reply;
    for (size_t at = 0; at < wire.size(); at += step) {
      ASSERT_TRUE(decoder.Decode(wire.substr(at, step), &payload, &reply));
    }
    EXPECT_EQ(payload, "hello " + std::string(200, 'y'));
    EXPECT_EQ(reply, std::string("\x8a\x04") + "ping");
  }
}

TEST(WebSocketTest, EndsAtACloseAndAtWhatIsNoFrame) {
  std::string payload, reply;
  WebSocketDecoder closing;
  EXPECT_FALSE(closing.Decode(Masked(8, ""), &payload, &reply));
  EXPECT_EQ(reply, WebSocketClose());
  WebSocketDecoder unmasked;
  EXPECT_FALSE(unmasked.Decode(std::string("\x82\x02hi"), &payload, &reply));
  WebSocketDecoder large;
  EXPECT_FALSE(large.Decode(Masked(9, std::string(200, 'p')), &payload, &reply));
}

}  // namespace
}  // namespace gantry::docker::http
