#include "client/rpc/wire.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"

namespace gantry::client::rpc {
namespace {

using ::testing::HasSubstr;

TEST(Wire, TimeoutsHaveAtMostEightDigitsAndAreRoundedUp) {
  struct Case {
    absl::Duration timeout;
    const char* text;
  };
  for (const Case& c :
       {Case{absl::Nanoseconds(1), "1u"}, Case{absl::Milliseconds(250), "250000u"},
        Case{absl::Microseconds(99999999), "99999999u"},
        Case{absl::Microseconds(100000001), "100001m"}, Case{absl::Hours(24), "86400000m"},
        Case{absl::Hours(30), "108000S"}, Case{absl::Hours(24 * 365 * 3), "94608000S"},
        Case{absl::Hours(24 * 365 * 200), "1752000H"},
        Case{absl::Hours(24) * 365 * 100000, "99999999H"}}) {
    EXPECT_EQ(FormatTimeout(c.timeout), c.text);
  }
}

TEST(Wire, PercentDecodingLeavesWhatIsMalformed) {
  struct Case {
    const char* encoded;
    const char* text;
  };
  for (const Case& c :
       {Case{"", ""}, Case{"plain", "plain"}, Case{"a%20b", "a b"}, Case{"%C3%BC%0a", "ü\n"},
        Case{"100%", "100%"}, Case{"%4", "%4"}, Case{"%zz%41", "%zzA"}, Case{"%25%32%30", "%20"}}) {
    EXPECT_EQ(PercentDecode(c.encoded), c.text) << c.encoded;
  }
}

TEST(Wire, StatusesOfTrailers) {
  EXPECT_TRUE(ParseStatus("0", "ignored").ok());
  EXPECT_EQ(ParseStatus("5", "no%20such"), absl::NotFoundError("no such"));
  EXPECT_EQ(ParseStatus("12", ""), absl::UnimplementedError("the daemon does not serve this call"));
  EXPECT_EQ(ParseStatus("3", "").message(), "the daemon answered INVALID_ARGUMENT");
  for (const char* code : {"17", "-1", "x", "5x", "99999999999999999999"}) {
    EXPECT_EQ(ParseStatus(code, "m").code(), absl::StatusCode::kUnknown) << code;
  }
}

TEST(Wire, StatusesOfAnswersThatAreNoGrpc) {
  struct Case {
    int http;
    absl::StatusCode code;
  };
  for (const Case& c :
       {Case{400, absl::StatusCode::kInternal}, Case{401, absl::StatusCode::kUnauthenticated},
        Case{403, absl::StatusCode::kPermissionDenied}, Case{404, absl::StatusCode::kUnimplemented},
        Case{429, absl::StatusCode::kUnavailable}, Case{502, absl::StatusCode::kUnavailable},
        Case{503, absl::StatusCode::kUnavailable}, Case{504, absl::StatusCode::kUnavailable},
        Case{200, absl::StatusCode::kUnknown}, Case{500, absl::StatusCode::kUnknown}}) {
    EXPECT_EQ(StatusOfHttp(c.http, "text/html").code(), c.code) << c.http;
  }
}

TEST(Wire, PrefixesAreCheckedBeforeMemoryIsSpent) {
  size_t length = 0;
  EXPECT_TRUE(ParsePrefix("\0\0\0\1\2", &length).ok());
  EXPECT_EQ(length, 258u);
  EXPECT_TRUE(absl::IsUnimplemented(ParsePrefix("\1\0\0\0\0", &length)));
  EXPECT_TRUE(absl::IsResourceExhausted(ParsePrefix("\0\xff\xff\xff\xff", &length)));
  EXPECT_TRUE(ParsePrefix("\0\1\0\0\0", &length).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ParsePrefix("\0\1\0\0\1", &length)));
}

TEST(Wire, MessagesAreFramedAndLimited) {
  google::protobuf::Any message;
  message.set_type_url("abc");
  std::string framed;
  ASSERT_TRUE(AppendMessage(message, &framed).ok());
  size_t length = 0;
  ASSERT_TRUE(ParsePrefix(framed.data(), &length).ok());
  EXPECT_EQ(framed.size(), kPrefixSize + length);
  message.set_value(std::string(kMaxMessage, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(AppendMessage(message, &framed)));
  EXPECT_EQ(framed.size(), kPrefixSize + length);
}

TEST(Wire, HeaderValuesArePrintable) {
  EXPECT_TRUE(IsHeaderValue("default~ !"));
  for (const char* text : {"a\nb", "a\rb", "\t", "\x7f", "ü"}) EXPECT_FALSE(IsHeaderValue(text));
}

}  // namespace
}  // namespace gantry::client::rpc
