// Clients attached to the streams of tasks and execs: gantryd, gantry-shim and the engine together.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/unique_fd.h"
#include "client/connection.h"
#include "containerd/services/containers/v1/containers.methods.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "gantry/shim/v1/attach.pb.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
namespace containers = containerd::services::containers::v1;
namespace tasks = containerd::services::tasks::v1;
using containers::ContainersMethods;
using tasks::TasksMethods;

// A client of an attach socket that blocks.
class Attached {
 public:
  explicit Attached(const std::string& path, bool in = false) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    fd_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << path << ": " << strerror(errno);
    gantry::shim::v1::AttachRequest request;
    request.set_stdin(in);
    request.set_stdout(true);
    request.set_stderr(true);
    std::string body = request.SerializeAsString();
    uint32_t length = htonl(static_cast<uint32_t>(body.size()));
    Type(std::string(reinterpret_cast<char*>(&length), 4) + body);
    char answer = 1;
    EXPECT_EQ(read(fd_.get(), &answer, 1), 1);
    EXPECT_EQ(answer, 0);
  }
  void Type(const std::string& text) { EXPECT_TRUE(base::WriteAll(fd_.get(), text).ok()); }
  void EndInput() { shutdown(fd_.get(), SHUT_WR); }
  // Everything until the end of the stream.
  std::string Rest() {
    std::string got;
    char chunk[65536];
    while (true) {
      pollfd ready{fd_.get(), POLLIN, 0};
      if (poll(&ready, 1, 20000) != 1) return got + "(no end within 20 seconds)";
      ssize_t n = read(fd_.get(), chunk, sizeof chunk);
      if (n < 0) return absl::StrCat(got, "(", strerror(errno), ")");
      if (n == 0) return got;
      got.append(chunk, static_cast<size_t>(n));
    }
  }
  // The same of one stream, when there is no terminal.
  static std::string Stream(const std::string& frames, int number) {
    std::string text;
    for (size_t at = 0; at + 8 <= frames.size();) {
      uint32_t length;
      memcpy(&length, frames.data() + at + 4, 4);
      if (frames[at] == number) text.append(frames, at + 8, ntohl(length));
      at += 8 + ntohl(length);
    }
    return text;
  }

 private:
  base::UniqueFd fd_;
};

class AttachTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    for (const char* name : {"bin", "dev", "etc", "proc", "sys", "tmp"})
      ASSERT_TRUE(base::MakeDirs(rootfs() + "/" + name, 0755).ok());
    fs::copy_file("/bin/busybox", rootfs() + "/bin/busybox");
    for (const char* name : {"sh", "sleep", "echo", "cat", "head", "wc"})
      fs::create_symlink("busybox", absl::StrCat(rootfs(), "/bin/", name));
    StartGantryd();
    connection_.emplace(client::Connection::ToSocket(socket(), ns()));
  }
  std::string rootfs() const { return dir() + "/rootfs"; }
  std::string Log(const std::string& id) const { return absl::StrCat(dir(), "/", id, ".log"); }
  std::string Socket(const std::string& id) const { return absl::StrCat(dir(), "/", id, ".at"); }
  static std::string Escape(const std::string& path) {
    return absl::StrReplaceAll(path, {{"/", "%2F"}});
  }

  void Create(const std::string& id, const std::string& script, const std::string& in,
              const std::string& options = "") {
    base::Json spec = *base::ParseJson(R"({
      "ociVersion": "1.0.2",
      "process": {"cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]},
      "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                 {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                 {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["newinstance", "ptmxmode=0666"]}],
      "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"},
                               {"type": "uts"}, {"type": "network"}]}})");
    spec["process"]["args"] = base::Json::array({"sh", "-c", script});
    spec["root"]["path"] = rootfs();
    spec["linux"]["cgroupsPath"] = absl::StrCat("/", ns(), "/", id);
    containers::CreateContainerRequest record;
    record.mutable_container()->set_id(id);
    record.mutable_container()->mutable_runtime()->set_name("io.containerd.runc.v2");
    record.mutable_container()->mutable_spec()->set_type_url(
        "types.containerd.io/opencontainers/runtime-spec/1/Spec");
    record.mutable_container()->mutable_spec()->set_value(spec.dump());
    containers::CreateContainerResponse recorded;
    absl::Status made = connection_->Call(ContainersMethods::kCreate, record, &recorded);
    ASSERT_TRUE(made.ok()) << made;
    tasks::CreateTaskRequest request;
    request.set_container_id(id);
    request.set_stdin(in);
    request.set_stdout(
        absl::StrCat("json-file://", Log(id), "?attach=", Escape(Socket(id)), options));
    tasks::CreateTaskResponse response;
    absl::Status created = connection_->Call(TasksMethods::kCreate, request, &response);
    ASSERT_TRUE(created.ok()) << created;
  }
  void Start(const std::string& id, const std::string& exec_id = "") {
    tasks::StartRequest request;
    request.set_container_id(id);
    request.set_exec_id(exec_id);
    tasks::StartResponse response;
    absl::Status started = connection_->Call(TasksMethods::kStart, request, &response);
    ASSERT_TRUE(started.ok()) << started;
  }
  uint32_t WaitFor(const std::string& id) {
    tasks::WaitRequest request;
    request.set_container_id(id);
    tasks::WaitResponse response;
    absl::Status waited = connection_->Call(TasksMethods::kWait, request, &response);
    EXPECT_TRUE(waited.ok()) << waited;
    return response.exit_status();
  }
  void Delete(const std::string& id) {
    tasks::DeleteTaskRequest request;
    request.set_container_id(id);
    tasks::DeleteResponse response;
    absl::Status deleted = connection_->Call(TasksMethods::kDelete, request, &response);
    EXPECT_TRUE(deleted.ok()) << deleted;
    CtrOk({"c", "rm", id});
  }

  std::optional<client::Connection> connection_;
};

TEST_F(AttachTest, AShortProgramLosesNothing) {
  for (int i = 0; i < 10; ++i) {
    std::string id = absl::StrCat("short", i);
    Create(id, "echo out; echo err >&2; exit 3", "");
    Attached client(Socket(id));
    Start(id);
    EXPECT_EQ(WaitFor(id), 3u);
    Delete(id);
    std::string frames = client.Rest();
    EXPECT_EQ(Attached::Stream(frames, 1), "out\n");
    EXPECT_EQ(Attached::Stream(frames, 2), "err\n");
    ASSERT_TRUE(base::Exists(Log(id)));
    EXPECT_TRUE(absl::StrContains(*base::ReadFile(Log(id)), R"("log":"out\n")"));
    EXPECT_FALSE(base::Exists(Socket(id)));
  }
}

TEST_F(AttachTest, InputFromOneClientIsSeenByAllEvenOverARestartOfGantryd) {
  Create("io", "cat; echo end", "attach://" + Socket("io"), "&stdin-once=1");
  Attached writer(Socket("io"), true);
  Attached reader(Socket("io"));
  Start("io");
  writer.Type("before\n");
  KillGantryd();
  StartGantryd();
  connection_.emplace(client::Connection::ToSocket(socket(), ns()));
  writer.Type("after\n");
  writer.EndInput();
  EXPECT_EQ(WaitFor("io"), 0u);
  for (Attached* client : {&writer, &reader})
    EXPECT_EQ(Attached::Stream(client->Rest(), 1), "before\nafter\nend\n");
  Delete("io");
}

TEST_F(AttachTest, ASlowClientGetsAllAfterTheTaskIsDeleted) {
  Create("slow", "head -c 1200000 /dev/zero; echo end", "");
  Attached client(Socket("slow"));
  Start("slow");
  EXPECT_EQ(WaitFor("slow"), 0u);
  Delete("slow");
  EXPECT_EQ(Attached::Stream(client.Rest(), 1).size(), 1200004u);
}

TEST_F(AttachTest, ExecWithATerminalKeepsItsOutputForTheClient) {
  Create("host", "sleep 100", "");
  Start("host");
  tasks::ExecProcessRequest request;
  request.set_container_id("host");
  request.set_exec_id("e1");
  request.set_terminal(true);
  request.set_stdin("attach://" + Socket("e1"));
  request.set_stdout(absl::StrCat("attach://", Socket("e1"), "?attach-wait=1"));
  request.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Process");
  request.mutable_spec()->set_value(
      R"({"args":["sh","-c","echo early; read a; echo got $a"],"cwd":"/","user":{"uid":0,"gid":0},)"
      R"("env":["PATH=/bin"]})");
  google::protobuf::Empty nothing;
  absl::Status added = connection_->Call(TasksMethods::kExec, request, &nothing);
  ASSERT_TRUE(added.ok()) << added;
  Start("host", "e1");
  absl::SleepFor(absl::Milliseconds(300));
  Attached client(Socket("e1"), true);
  client.Type("typed\n");
  std::string got = client.Rest();
  EXPECT_TRUE(absl::StartsWith(got, "early\r\n")) << got;
  EXPECT_TRUE(absl::EndsWith(got, "got typed\r\n")) << got;
  CtrOk({"t", "kill", "-s", "KILL", "host"});
  WaitFor("host");
  Delete("host");
}

}  // namespace
}  // namespace gantry::tests
