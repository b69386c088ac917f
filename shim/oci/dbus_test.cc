#include "shim/oci/dbus.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/systemd_unit.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

// The first message of every connection to a bus, byte by byte as the specification lays it out.
TEST(DBusTest, EncodesAsTheSpecificationSays) {
  DBusMessage hello{.type = DBusMessage::kCall,
                    .serial = 1,
                    .path = "/org/freedesktop/DBus",
                    .interface = "org.freedesktop.DBus",
                    .member = "Hello"};
  std::string bytes = EncodeDBusMessage(hello, "org.freedesktop.DBus");
  EXPECT_EQ(absl::BytesToHexString(bytes),
            "6c01000100000000010000006d000000"  // little-endian call, body 0, serial 1, fields 109
            "01016f00150000002f6f72672f667265656465736b746f702f4442757300"
            "0000"
            "02017300140000006f72672e667265656465736b746f702e4442757300"
            "000000"
            "030173000500000048656c6c6f00"
            "0000"
            "06017300140000006f72672e667265656465736b746f702e4442757300"
            "000000");
  DBusMessage back;
  std::string buffer = bytes + "rest";
  ASSERT_TRUE(*DecodeDBusMessage(&buffer, &back));
  EXPECT_EQ(buffer, "rest");
  EXPECT_EQ(back.member, "Hello");
  EXPECT_EQ(back.path, "/org/freedesktop/DBus");
  for (size_t size = 0; size < bytes.size(); ++size) {
    std::string part = bytes.substr(0, size);
    EXPECT_FALSE(*DecodeDBusMessage(&part, &back)) << size;
  }
}

TEST(DBusTest, RefusesDamagedMessages) {
  DBusMessage message;
  DBusMessage call{.type = DBusMessage::kCall, .serial = 1, .path = "/a", .member = "M"};
  std::string good = EncodeDBusMessage(call, "");
  for (size_t at : {size_t{0}, size_t{3}, size_t{7}, size_t{15}, size_t{21}}) {
    std::string bad = good + std::string(64, '\0');
    bad[at] = '\x7f';
    EXPECT_FALSE(DecodeDBusMessage(&bad, &message).ok()) << at;
  }
}

// systemd's side of the socket, as far as a script of answers goes.
class FakeManager {
 public:
  using Answer = std::function<std::vector<DBusMessage>(const DBusMessage&)>;
  explicit FakeManager(Answer answer) : answer_(std::move(answer)) {
    path_ = absl::StrCat("/tmp/gantry-dbus-test-", getpid());
    unlink(path_.c_str());
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 1), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeManager() {
    thread_.join();
    unlink(path_.c_str());
  }
  SystemdSockets sockets() const { return {path_, "/nonexistent"}; }
  std::vector<DBusMessage> calls;

 private:
  void Serve() {
    base::UniqueFd peer(accept(listener_.get(), nullptr, nullptr));
    std::string buffer;
    char bytes[4096];
    auto more = [&] {
      ssize_t n = read(peer.get(), bytes, sizeof bytes);
      if (n > 0) buffer.append(bytes, static_cast<size_t>(n));
      return n > 0;
    };
    auto put = [&](const std::string& text) { (void)!write(peer.get(), text.data(), text.size()); };
    std::string hello =
        absl::StrCat(std::string(1, '\0'), "AUTH EXTERNAL ",
                     absl::BytesToHexString(absl::StrCat(geteuid())), "\r\nBEGIN\r\n");
    while (buffer.size() < hello.size()) {
      if (!more()) return;
    }
    EXPECT_EQ(buffer, hello);
    buffer.clear();
    put("OK 0123456789abcdef\r\n");
    do {
      DBusMessage call;
      while (*DecodeDBusMessage(&buffer, &call)) {
        calls.push_back(call);
        uint32_t serial = 100;
        for (DBusMessage& answer : answer_(call)) {
          answer.serial = ++serial;
          put(EncodeDBusMessage(answer, ""));
        }
      }
    } while (more());
  }

  Answer answer_;
  std::string path_;
  base::UniqueFd listener_;
  std::thread thread_;
};

DBusMessage Text(uint8_t type, uint32_t to, const char* error, const char* text) {
  DBusWriter body;
  body.String(text);
  return {.type = type, .reply_to = to, .error = error, .signature = "s", .body = body.data()};
}

DBusMessage JobRemoved(const char* job, const char* result) {
  DBusWriter body;
  body.Uint32(7);
  for (const char* text : {job, "x.scope", result}) body.String(text);
  return {.type = DBusMessage::kSignal,
          .path = "/org/freedesktop/systemd1",
          .interface = "org.freedesktop.systemd1.Manager",
          .member = "JobRemoved",
          .signature = "uoss",
          .body = body.data()};
}

TEST(SystemdTest, AwaitsTheJobOfItsScope) {
  for (const char* result : {"done", "failed"}) {
    FakeManager fake([&](const DBusMessage& call) -> std::vector<DBusMessage> {
      return {JobRemoved("/job/1", "failed"), Text(DBusMessage::kReturn, call.serial, "", "/job/2"),
              JobRemoved("/job/2", result)};
    });
    {
      auto systemd = SystemdManager::Connect(fake.sockets());
      ASSERT_TRUE(systemd.ok()) << systemd.status();
      absl::Status status = systemd->StartScope("x.scope", "a.slice", 77);
      EXPECT_EQ(status.ok(), std::string(result) == "done") << status;
    }
  }
}

TEST(SystemdTest, TellsWhatTheManagerAnswers) {
  FakeManager fake([&](const DBusMessage& call) -> std::vector<DBusMessage> {
    const char* error = call.member == "StopUnit" ? "org.freedesktop.systemd1.NoSuchUnit"
                                                  : "org.freedesktop.systemd1.UnitExists";
    return {Text(DBusMessage::kError, call.serial, error, "what happened")};
  });
  auto systemd = SystemdManager::Connect(fake.sockets());
  ASSERT_TRUE(systemd.ok()) << systemd.status();
  EXPECT_TRUE(systemd->Stop("x.scope").ok());  // nothing to stop
  absl::Status status = systemd->StartScope("x.scope", "a.slice", 77);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("what happened"));
}

TEST(SystemdTest, NamesTheRemedyWhereItDoesNotRun) {
  auto systemd = SystemdManager::Connect({"/nonexistent/a", "/nonexistent/b"});
  EXPECT_EQ(systemd.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(systemd.status().message()), HasSubstr("--systemd-cgroup off"));
}

}  // namespace
}  // namespace gantry::oci
