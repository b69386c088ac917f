// Tests of the small things: ids, digests, JSON, clock, log lines, mount options.
#include <sys/mount.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mount.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::base {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Ids, IdentifiersAreThoseOfContainerd) {
  for (const char* good : {"a", "A.b-c_d", "default", "k8s.io", "0"})
    EXPECT_TRUE(ValidateIdentifier(good).ok()) << good;
  for (std::string bad : {"", ".", "a.", "-a", "a..b", "a/b", "a b", "a\n", "ä", "../x"}) {
    EXPECT_EQ(ValidateIdentifier(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_TRUE(ValidateIdentifier(std::string(76, 'x')).ok());
  EXPECT_FALSE(ValidateIdentifier(std::string(77, 'x')).ok());
}

TEST(Ids, DecimalIsStrict) {
  EXPECT_EQ(*ParseDecimal("0", 10), 0u);
  EXPECT_EQ(*ParseDecimal("4294967295", 4294967295u), 4294967295u);
  for (const char* bad : {"", " 1", "1 ", "1x", "0x1", "-1", "+1", "4294967296",
                          "99999999999999999999", "18446744073709551616"}) {
    EXPECT_FALSE(ParseDecimal(bad, 4294967295u).ok()) << bad;
  }
  EXPECT_EQ(*ParseDecimal("18446744073709551615", UINT64_MAX), UINT64_MAX);
  EXPECT_FALSE(ParseDecimal("18446744073709551616", UINT64_MAX).ok());
  EXPECT_FALSE(ParseDecimal("5", 3).ok());
}

TEST(Digest, ParsesOnlyWhatIsSafeInAFileName) {
  std::string hex(64, 'a');
  EXPECT_EQ(Digest::Parse("sha256:" + hex)->hex(), hex);
  EXPECT_EQ(Digest::Parse("sha512:" + hex + hex)->algorithm(), "sha512");
  for (std::string bad :
       {std::string(), hex, "sha256:" + hex.substr(1), "sha256:" + std::string(64, 'A'),
        "md5:" + hex, std::string("sha256:../../x"), "sha256:" + hex + "a", "sha512:" + hex}) {
    EXPECT_EQ(Digest::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(Digest, KnownValues) {
  EXPECT_EQ(DigestOf("abc").str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Hasher hasher(*Digest::Parse("sha512:" + std::string(128, '0')));
  hasher.Update("a");
  hasher.Update("bc");
  EXPECT_THAT(hasher.Finish().str(), HasSubstr("sha512:ddaf35a193617abacc417349ae204131"));
}

TEST(Json, DumpsAsNlohmannDoes) {
  Json value = {{"empty", Json::object()},
                {"list", {1, -2, 18446744073709551615u, 1.5, true, nullptr, Json::array()}},
                {"quote\"d", "back\\slash"},
                {"control", "a\nb\x01\x7f"},
                {"utf8", "ü€"},
                {"text", "plain"},
                {"", ""}};
  EXPECT_EQ(DumpJson(value), value.dump());
  EXPECT_EQ(DumpJson(value, 2), value.dump(2));
  value["torn"] = "a\xff";
  EXPECT_EQ(DumpJson(value), value.dump(-1, ' ', false, Json::error_handler_t::replace));
  for (const char* scalar : {"null", "\"x\"", "0", "-7", "false"}) {
    EXPECT_EQ(DumpJson(*ParseJson(scalar)), scalar);
  }
}

TEST(Json, LimitsAndErrors) {
  EXPECT_EQ(ParseJson("{\"a\": [1, 2]}")->at("a").size(), 2u);
  EXPECT_EQ(ParseJson("{\"a\": ").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseJson("[1] x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseJson(std::string(1000000, '[')).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ParseJson("[[1]]", {.bytes = 100, .depth = 1}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ParseJson("[[1]]", {.bytes = 4}).status().code(), absl::StatusCode::kResourceExhausted);
  Json value = *ParseJson(R"({"s": "x", "n": 5, "b": true, "big": 18446744073709551615})");
  EXPECT_EQ(JsonString(value, "s"), "x");
  EXPECT_EQ(JsonString(value, "n", "none"), "none");
  EXPECT_EQ(JsonInt(value, "n"), 5);
  EXPECT_EQ(JsonInt(value, "big", -1), -1);
  EXPECT_TRUE(JsonBool(value, "b"));
  EXPECT_TRUE(JsonAt(value, "absent").is_null());
  EXPECT_EQ(DumpJson(Json("\xff")), "\"\xEF\xBF\xBD\"");
}

TEST(Clock, Rfc3339) {
  absl::Time time = absl::FromUnixNanos(1767323045123000000);
  EXPECT_EQ(FormatRfc3339(time), "2026-01-02T03:04:05.123Z");
  EXPECT_EQ(FormatRfc3339Fixed(time, 9), "2026-01-02T03:04:05.123000000Z");
  EXPECT_EQ(*ParseRfc3339("2026-01-02T04:04:05.123+01:00"), time);
  EXPECT_FALSE(ParseRfc3339("yesterday").ok());
}

TEST(Log, LogfmtQuotesWhatNeedsIt) {
  std::string line =
      FormatLogfmt(LogLevel::kInfo, "a b", {{"k", "v"}, {"q", "x\"y\n\x01"}, {"e", ""}});
  EXPECT_THAT(line, HasSubstr(R"( level=info msg="a b" k=v q="x\"y\n\x01" e="")"));
}

TEST(Mount, OptionsAreSplit) {
  MountOptions o =
      ParseMountOptions({"ro", "nosuid", "rbind", "rslave", "size=1k", "rw", "dev", "nodev"});
  EXPECT_EQ(o.flags, static_cast<unsigned long>(MS_NOSUID | MS_BIND | MS_REC | MS_NODEV));
  EXPECT_EQ(o.propagation, static_cast<unsigned long>(MS_SLAVE | MS_REC));
  EXPECT_THAT(o.data, ElementsAre("size=1k"));
}

}  // namespace
}  // namespace gantry::base
