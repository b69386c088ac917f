// What comes from the other end of the socket is anything: each case plays the server's bytes.

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/unique_fd.h"
#include "client/rpc/channel.h"
#include "gmock/gmock.h"
#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"

namespace gantry::client::rpc {
namespace {

using google::protobuf::Any;
using ::testing::HasSubstr;

// RFC 9113, section 6.
enum Type { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPush = 5, kPing = 6, kGoAway = 7 };
enum Flags { kNone = 0, kEndStream = 1, kEndHeaders = 4 };

std::string Bytes(uint32_t value, int count) {
  std::string out;
  for (int i = count - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

std::string Frame(int type, int flags, uint32_t stream, const std::string& payload) {
  return Bytes(static_cast<uint32_t>(payload.size()), 3) + Bytes(static_cast<uint32_t>(type), 1) +
         Bytes(static_cast<uint32_t>(flags), 1) + Bytes(stream, 4) + payload;
}

// Literal fields without indexing or Huffman code (RFC 7541, section 6.2.2).
std::string Fields(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    out += std::string(1, '\0') + static_cast<char>(name.size()) + name +
           static_cast<char>(value.size()) + value;
  }
  return out;
}

std::string Settings() { return Frame(kSettings, kNone, 0, ""); }
std::string Head(const std::string& status = "200", const std::string& type = "application/grpc") {
  return Frame(kHeaders, kEndHeaders, 1, Fields({{":status", status}, {"content-type", type}}));
}
std::string Trailers(const std::vector<std::pair<std::string, std::string>>& fields) {
  return Frame(kHeaders, kEndHeaders | kEndStream, 1, Fields(fields));
}
std::string Data(const std::string& bytes, int flags = kNone) {
  return Frame(kData, flags, 1, bytes);
}
std::string Reset(uint32_t code) { return Frame(kReset, kNone, 1, Bytes(code, 4)); }
std::string GoAway(uint32_t last, uint32_t code) {
  return Frame(kGoAway, kNone, 0, Bytes(last, 4) + Bytes(code, 4));
}
std::string Repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

struct Case {
  const char* name;
  std::string bytes;  // what the server says
  absl::StatusCode code;
  const char* text = "";  // in the message
};

absl::Status Play(const std::string& bytes) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Channel channel{base::UniqueFd(ends[0])};
  base::UniqueFd server(ends[1]);
  CallHead head;
  head.path = "/a.B/C";
  // A case that ends by this has hung.
  head.deadline = absl::Now() + absl::Seconds(5);
  Any request;
  Any response;
  Call call = channel.Start(head, &request);
  // All that fits into the socket; what is longer would need a reader meanwhile.
  EXPECT_TRUE(base::WriteAll(server.get(), bytes).ok());
  shutdown(server.get(), SHUT_WR);
  return call.FinishUnary(&response);
}

TEST(HostileServer, EveryAnswerIsAStatus) {
  const std::string kMessage(5, '\0');  // an empty Any
  using C = absl::StatusCode;
  for (const Case& c : std::vector<Case>{
           {"an honest answer",
            Settings() + Head() + Data(kMessage) + Trailers({{"grpc-status", "0"}}), C::kOk},
           {"trailers only",
            Settings() + Trailers({{":status", "200"},
                                   {"content-type", "application/grpc"},
                                   {"grpc-status", "9"},
                                   {"grpc-message", "not%20yet"}}),
            C::kFailedPrecondition, "not yet"},
           {"silence", "", C::kUnavailable, "closed the connection"},
           {"nothing but settings", Settings(), C::kUnavailable, "closed the connection"},
           {"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", C::kInternal},
           {"noise", std::string(4096, '\xa5'), C::kInternal},
           {"an error page", Settings() + Head("503", "text/html") + Data("<html>", kEndStream),
            C::kUnavailable, "HTTP status 503"},
           {"a page that is fine", Settings() + Head("200", "text/html") + Data("hi", kEndStream),
            C::kUnknown, "text/html"},
           {"no status", Settings() + Head() + Data(kMessage, kEndStream), C::kInternal,
            "without a status"},
           {"a status that is none", Settings() + Head() + Trailers({{"grpc-status", "ninety"}}),
            C::kUnknown, "ninety"},
           {"success without a message", Settings() + Head() + Trailers({{"grpc-status", "0"}}),
            C::kInternal, "without an answer"},
           {"half a message",
            Settings() + Head() + Data(std::string("\0\0\0\0\7abc", 8)) +
                Trailers({{"grpc-status", "0"}}),
            C::kInternal, "without an answer"},
           {"a malformed message",
            Settings() + Head() + Data(std::string("\0\0\0\0\1\xff", 6)) +
                Trailers({{"grpc-status", "0"}}),
            C::kInternal, "malformed google.protobuf.Any"},
           {"a compressed message", Settings() + Head() + Data(std::string("\1\0\0\0\1x", 6)),
            C::kUnimplemented, "compressed"},
           {"a message of 4 GiB", Settings() + Head() + Data(std::string("\0\xff\xff\xff\xff", 5)),
            C::kResourceExhausted, "4294967295 bytes"},
           {"reset: refused", Settings() + Reset(7), C::kUnavailable},
           {"reset: cancelled", Settings() + Reset(8), C::kCancelled},
           {"reset: calm down", Settings() + Reset(11), C::kResourceExhausted},
           {"reset: security", Settings() + Reset(12), C::kPermissionDenied},
           {"reset: protocol error", Settings() + Reset(1), C::kInternal},
           {"reset: an unknown code", Settings() + Reset(0xfffffff0), C::kInternal},
           {"going away, the call unseen", Settings() + GoAway(0, 0), C::kUnavailable},
           {"going away, the call answered",
            Settings() + GoAway(1, 0) + Head() + Data(kMessage) + Trailers({{"grpc-status", "0"}}),
            C::kOk},
           {"a push before the answer, which is ignored",
            Settings() +
                Frame(kPush, kEndHeaders, 1,
                      Bytes(2, 4) + Fields({{":method", "GET"}, {"grpc-status", "5"}})) +
                Head() + Data(kMessage) + Trailers({{"grpc-status", "0"}}),
            C::kOk},
           {"an answer to no call",
            Settings() + Frame(kHeaders, kEndHeaders, 3, Fields({{":status", "200"}})),
            C::kInternal, "violated HTTP/2"},
           {"data before headers", Settings() + Data(kMessage), C::kInternal},
           {"a frame beyond the size that we take",
            Settings() + Bytes(1 << 20, 3) + Bytes(kData, 1) + Bytes(0, 1) + Bytes(1, 4),
            C::kInternal, "violated HTTP/2"},
           {"headers without end",
            Settings() + Frame(kHeaders, kNone, 1, Fields({{":status", "200"}})) +
                Repeat(Frame(9, kNone, 1, Fields({{"x-a", std::string(100, 'a')}})), 1000),
            C::kInternal},
           {"headers of 80 KiB",
            Settings() + Frame(kHeaders, kEndHeaders, 1,
                               Fields({{":status", "200"}}) +
                                   Repeat(Fields({{"x-a", std::string(100, 'a')}}), 800)),
            C::kInternal},
           {"thousands of settings", Repeat(Settings(), 5000), C::kInternal, "Flooding"},
       }) {
    SCOPED_TRACE(c.name);
    absl::Status status = Play(c.bytes);
    EXPECT_EQ(status.code(), c.code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.text));
  }
}

// Bytes changed at random in an honest answer: any status will do, no crash, no hang.
TEST(HostileServer, MutatedAnswersEndWithSomeStatus) {
  const std::string honest = Settings() + Head() + Data(std::string("\0\0\0\0\5\x12\3abc", 10)) +
                             Frame(kPing, kNone, 0, std::string(8, 'p')) +
                             Trailers({{"grpc-status", "0"}, {"grpc-message", "fine"}});
  uint32_t random = 12345;
  auto next = [&random] { return random = random * 1664525 + 1013904223; };
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = honest;
    for (uint32_t i = 0; i <= next() % 3; ++i) {
      bytes[(next() >> 8) % bytes.size()] = static_cast<char>(next() >> 16);
    }
    absl::Status status = Play(bytes);
    ASSERT_FALSE(absl::IsDeadlineExceeded(status)) << "round " << round;
  }
}

// The server does not read: what we queue is bounded by the sender's patience, not by memory.
TEST(HostileServer, AServerThatDoesNotReadHoldsTheWriterUntilTheDeadline) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Channel channel{base::UniqueFd(ends[0])};
  base::UniqueFd server(ends[1]);
  CallHead head;
  head.path = "/a.B/C";
  head.deadline = absl::Now() + absl::Milliseconds(200);
  Call call = channel.Start(head, nullptr);
  Any message;
  message.set_value(std::string(1 << 20, 'x'));
  int written = 0;
  while (written < 100 && call.Write(message)) ++written;
  EXPECT_LT(written, 10);
  EXPECT_TRUE(absl::IsDeadlineExceeded(call.Finish()));
}

}  // namespace
}  // namespace gantry::client::rpc
