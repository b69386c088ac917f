// Seccomp notifications: an agent outside answers system calls of the container.

#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

// Receives one listener and answers everything with EXDEV.
class Agent {
 public:
  explicit Agent(const std::string& path) : path_(path) {
    listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 4), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~Agent() {
    stop_ = true;
    thread_.join();
    unlink(path_.c_str());
  }
  // Call it when the container has ended.
  base::Json message() { return base::ParseJson(text_).value_or(base::Json()); }
  int answered() const { return answered_; }

 private:
  bool Readable(int fd) {
    pollfd wait = {fd, POLLIN, 0};
    while (!stop_) {
      if (poll(&wait, 1, 50) > 0) return (wait.revents & POLLIN) != 0;
    }
    return false;
  }

  base::UniqueFd Accept() {
    if (!Readable(listener_.get())) return {};
    base::UniqueFd sock(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char data[8192];
    iovec io = {data, sizeof data};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n = recvmsg(sock.get(), &message, MSG_CMSG_CLOEXEC);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (n <= 0 || header == nullptr) return {};
    text_.assign(data, static_cast<size_t>(n));
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return base::UniqueFd(fd);
  }

  void Serve() {
    base::UniqueFd notify = Accept();
    while (notify.valid() && Readable(notify.get())) {
      seccomp_notif request = {};
      if (ioctl(notify.get(), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
      seccomp_notif_resp response = {};
      response.id = request.id;
      response.error = -EXDEV;
      if (ioctl(notify.get(), SECCOMP_IOCTL_NOTIF_SEND, &response) == 0) ++answered_;
    }
  }

  std::string path_;
  base::UniqueFd listener_;
  std::atomic<bool> stop_{false};
  std::atomic<int> answered_{0};
  std::string text_;
  std::thread thread_;
};

base::Json NotifyMkdir(const std::string& path) {
  return {{"defaultAction", "SCMP_ACT_ALLOW"},
          {"listenerPath", path},
          {"listenerMetadata", "of the test"},
          {"syscalls", {{{"names", {"mkdir", "mkdirat"}}, {"action", "SCMP_ACT_NOTIFY"}}}}};
}

// The agent's thread must be there before the container: the engine is cloned from one thread only
// in programs, but tests may have more as long as the child does not allocate.
TEST(ContainerSeccompTest, AsksAnAgent) {
  TestBundle bundle;
  std::string path = bundle.dir() + "/agent.sock";
  bundle.spec["linux"]["seccomp"] = NotifyMkdir(path);
  Agent agent(path);
  RunOutcome outcome = bundle.RunScript("mkdir /tmp/x; echo end; ls /proc/self/fd");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("Invalid cross-device link"));
  EXPECT_THAT(outcome.out, HasSubstr("end\n0\n1\n2\n3\n"));  // 3 is ls' own
  EXPECT_EQ(agent.answered(), 1);
  base::Json message = agent.message();
  EXPECT_EQ(base::JsonString(message, "metadata"), "of the test");
  EXPECT_EQ(message["fds"], base::Json::array({"seccompFd"}));
  EXPECT_EQ(base::JsonString(message["state"], "id"), bundle.id());
  EXPECT_EQ(message["pid"], message["state"]["pid"]);
}

// What hands the descriptor over must not itself be stopped by the filter.
TEST(ContainerSeccompTest, HandsTheListenerOverWhenSendingIsFiltered) {
  TestBundle bundle;
  std::string path = bundle.dir() + "/agent.sock";
  bundle.spec["linux"]["seccomp"] = NotifyMkdir(path);
  bundle.spec["linux"]["seccomp"]["syscalls"][0]["names"] = {"sendmsg", "sendto", "mkdir"};
  Agent agent(path);
  RunOutcome outcome = bundle.RunScript("mkdir /tmp/x");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.out, HasSubstr("Invalid cross-device link"));
}

TEST(ContainerSeccompTest, FailsWithoutItsAgent) {
  TestBundle bundle;
  bundle.spec["linux"]["seccomp"] = NotifyMkdir(bundle.dir() + "/nobody.sock");
  RunOutcome outcome = bundle.RunScript("echo must not run");
  EXPECT_THAT(outcome.status.message(), HasSubstr("linux.seccomp.listenerPath: connect to"));
  bundle.spec["linux"]["seccomp"].erase("listenerPath");
  EXPECT_THAT(bundle.Run().status.message(), HasSubstr("listenerPath: is needed"));
  bundle.spec["linux"]["seccomp"] = {{"defaultAction", "SCMP_ACT_NOTIFY"}};
  EXPECT_THAT(bundle.Run().status.message(), HasSubstr("cannot be the default"));
}

}  // namespace
}  // namespace gantry::oci
