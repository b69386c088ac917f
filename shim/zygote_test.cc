#include "shim/zygote.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ttrpc/frame.h"
#include "base/unique_fd.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "gantry/shim/v1/zygote.pb.h"
#include "gantry/ttrpc/v1/ttrpc.pb.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

class ZygoteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-zyg-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    ours_.Reset(ends[0]);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      _exit(RunZygote(ends[1]));
    }
    close(ends[1]);
  }
  void TearDown() override {
    ours_.Reset();
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);  // it ends with its socket
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  gantry::shim::v1::SpawnReply Ask(const std::string& packet) {
    gantry::shim::v1::SpawnReply reply;
    EXPECT_EQ(send(ours_.get(), packet.data(), packet.size(), 0),
              static_cast<ssize_t>(packet.size()));
    std::string buffer(65536, '\0');
    ssize_t n = recv(ours_.get(), buffer.data(), buffer.size(), 0);
    EXPECT_TRUE(n >= 0 && reply.ParseFromArray(buffer.data(), static_cast<int>(n)));
    return reply;
  }
  gantry::shim::v1::SpawnRequest Request(const std::string& id) {
    gantry::shim::v1::SpawnRequest request;
    request.set_namespace_("ns");
    request.set_id(id);
    request.set_bundle(dir_);
    request.set_socket_dir(dir_ + "/s");
    return request;
  }
  // One call by hand; the answer's code, -1 when there is none.
  template <typename Response>
  int CallShim(const std::string& address, const std::string& method, Response* response) {
    base::UniqueFd fd;
    if (!base::ttrpc::ConnectUnix(address.substr(7), &fd).ok()) return -1;
    gantry::ttrpc::v1::Request request;
    request.set_service("containerd.task.v3.Task");
    request.set_method(method);
    EXPECT_TRUE(base::WriteAll(fd.get(), base::ttrpc::EncodeFrame(1, base::ttrpc::kRequest,
                                                                  request.SerializeAsString()))
                    .ok());
    base::ttrpc::FrameReader reader;
    for (int i = 0; i < 5000; ++i) {
      if (auto frame = reader.Next()) {
        gantry::ttrpc::v1::Response answer;
        EXPECT_TRUE(answer.ParseFromString(frame->data));
        EXPECT_TRUE(response->ParseFromString(answer.payload()));
        return answer.status().code();
      }
      if (!reader.ReadFrom(fd.get()).ok()) return -1;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return -1;
  }

  std::string dir_;
  base::UniqueFd ours_;
  pid_t pid_ = 0;
};

TEST_F(ZygoteTest, AShimListensWhenTheReplyComesAndSurvivesTheZygote) {
  auto reply = Ask(Request("c1").SerializeAsString());
  ASSERT_EQ(reply.code(), 0) << reply.error();
  ASSERT_GT(reply.pid(), 0u);
  containerd::task::v2::ConnectResponse connected;
  EXPECT_EQ(CallShim(reply.address(), "Connect", &connected), 0);
  EXPECT_EQ(connected.shim_pid(), reply.pid());
  // The same id again: the living one is named.
  auto again = Ask(Request("c1").SerializeAsString());
  EXPECT_EQ(again.code(), 0);
  EXPECT_EQ(again.pid(), 0u);
  EXPECT_EQ(again.address(), reply.address());
  auto other = Ask(Request("c2").SerializeAsString());
  EXPECT_NE(other.address(), reply.address());

  kill(pid_, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(pid_, &status, 0), pid_);
  EXPECT_EQ(CallShim(reply.address(), "Connect", &connected), 0);
  containerd::task::v2::ShutdownRequest unused;
  EXPECT_EQ(CallShim(reply.address(), "Shutdown", &unused), 0);
  EXPECT_EQ(CallShim(other.address(), "Shutdown", &unused), 0);
  for (int i = 0; i < 3000 && base::Exists(reply.address().substr(7)); ++i)
    absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(base::Exists(reply.address().substr(7)));
  // For TearDown, which expects a zygote that ends by itself.
  pid_ = fork();
  if (pid_ == 0) _exit(0);
}

TEST_F(ZygoteTest, BadRequestsAreAnswered) {
  EXPECT_EQ(Ask("\xff\xff").code(), 3);
  EXPECT_EQ(Ask(Request("").SerializeAsString()).code(), 3);
  auto relative = Request("c1");
  relative.set_bundle("x");
  EXPECT_EQ(Ask(relative.SerializeAsString()).code(), 3);
  auto endless = Request("c1");
  endless.set_socket_dir("/tmp/" + std::string(100, 'x'));
  EXPECT_EQ(Ask(endless.SerializeAsString()).code(), 3);
}

}  // namespace
}  // namespace gantry::shim
