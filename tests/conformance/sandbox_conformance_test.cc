// The sandbox API: the store, and the controller "shim" with gantry-shim as the runtime. On gantryd
// and on containerd from 2.0 on: both must be able to drive gantry-shim.

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "containerd/events/sandbox.pb.h"
#include "containerd/services/containers/v1/containers.grpc.pb.h"
#include "containerd/services/events/v1/events.grpc.pb.h"
#include "containerd/services/sandbox/v1/sandbox.grpc.pb.h"
#include "containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "gmock/gmock.h"
#include "tests/conformance/target.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
namespace api = containerd::services::sandbox::v1;
namespace containers = containerd::services::containers::v1;
namespace events = containerd::services::events::v1;
namespace tasks = containerd::services::tasks::v1;
using ::testing::StartsWith;

constexpr char kSpecType[] = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

class SandboxTest : public ConformanceTest {
 protected:
  void SetUp() override {
    ConformanceTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (old_containerd()) GTEST_SKIP() << "the sandbox services came with containerd 2.0";
    store_ = api::Store::NewStub(channel());
    controller_ = api::Controller::NewStub(channel());
    tasks_ = tasks::Tasks::NewStub(channel());
    containers_ = containers::Containers::NewStub(channel());
    dir_ = absl::StrCat("/tmp/gantry-sandbox-", base::RandomHex(5));
    for (const char* name : {"bin", "proc", "dev"})
      ASSERT_TRUE(base::MakeDirs(absl::StrCat(dir_, "/rootfs/", name), 0755).ok());
    fs::copy_file("/bin/busybox", dir_ + "/rootfs/bin/busybox");
  }
  void TearDown() override {
    if (dir_.empty()) return;
    tasks::KillRequest kill;
    kill.set_container_id("c");
    kill.set_signal(SIGKILL);
    google::protobuf::Empty empty;
    tasks_->Kill(Call().get(), kill, &empty);
    DeleteContainer();
    Stop();
    Shutdown();
    Delete();
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  // --- the store
  std::string Store(const base::Json& spec = base::Json::object()) {
    api::StoreCreateRequest request;
    auto* sandbox = request.mutable_sandbox();
    sandbox->set_sandbox_id("pod");
    sandbox->set_sandboxer("shim");
    sandbox->mutable_runtime()->set_name(std::string(getenv("GANTRY_BIN_DIR")) + "/gantry-shim");
    sandbox->mutable_spec()->set_type_url(kSpecType);
    sandbox->mutable_spec()->set_value(base::DumpJson(spec));
    (*sandbox->mutable_labels())["a"] = "b";
    api::StoreCreateResponse response;
    std::string text = Text(store_->Create(Call().get(), request, &response));
    stored_ = response.sandbox();
    return text;
  }
  std::string Delete() {
    api::StoreDeleteRequest request;
    request.set_sandbox_id("pod");
    api::StoreDeleteResponse response;
    return Text(store_->Delete(Call().get(), request, &response));
  }

  // --- the controller
  template <typename Request>
  static Request Pod() {
    Request request;
    request.set_sandbox_id("pod");
    request.set_sandboxer("shim");
    return request;
  }
  std::string Create() {
    auto request = Pod<api::ControllerCreateRequest>();
    *request.mutable_sandbox() = stored_;
    api::ControllerCreateResponse response;
    return Text(controller_->Create(Call().get(), request, &response));
  }
  std::string Start() {
    started_.Clear();
    return Text(controller_->Start(Call().get(), Pod<api::ControllerStartRequest>(), &started_));
  }
  std::string Stop() {
    api::ControllerStopResponse response;
    return Text(controller_->Stop(Call().get(), Pod<api::ControllerStopRequest>(), &response));
  }
  std::string Shutdown() {
    api::ControllerShutdownResponse response;
    return Text(
        controller_->Shutdown(Call().get(), Pod<api::ControllerShutdownRequest>(), &response));
  }
  api::ControllerStatusResponse Status() {
    api::ControllerStatusResponse response;
    controller_->Status(Call().get(), Pod<api::ControllerStatusRequest>(), &response);
    return response;
  }

  // --- a container in it
  std::string RunContainer(const std::string& script) {
    base::Json spec = base::Json::parse(R"({"ociVersion":"1.0.2",
      "process":{"user":{"uid":0,"gid":0},"cwd":"/","env":["PATH=/bin"],"args":[]},
      "root":{"path":""},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
      "linux":{"namespaces":[{"type":"mount"}]}})");
    spec["process"]["args"] = {"/bin/busybox", "sh", "-c", script};
    spec["root"]["path"] = dir_ + "/rootfs";
    spec["linux"]["cgroupsPath"] = absl::StrCat("/", ns(), "/c");
    for (const auto& [type, file] : std::map<std::string, std::string>{
             {"network", "net"}, {"ipc", "ipc"}, {"uts", "uts"}, {"pid", "pid"}})
      spec["linux"]["namespaces"].push_back(
          {{"type", type}, {"path", absl::StrCat("/proc/", started_.pid(), "/ns/", file)}});
    containers::CreateContainerRequest request;
    auto* container = request.mutable_container();
    container->set_id("c");
    container->set_sandbox("pod");
    container->mutable_runtime()->set_name(stored_.runtime().name());
    container->mutable_spec()->set_type_url(kSpecType);
    container->mutable_spec()->set_value(base::DumpJson(spec));
    containers::CreateContainerResponse made;
    grpc::Status status = containers_->Create(Call().get(), request, &made);
    if (!status.ok()) return Text(status);
    tasks::CreateTaskRequest create;
    create.set_container_id("c");
    create.set_stdout("file://" + dir_ + "/out");
    tasks::CreateTaskResponse created;
    status = tasks_->Create(Call().get(), create, &created);
    if (!status.ok()) return Text(status);
    tasks::StartRequest start;
    start.set_container_id("c");
    tasks::StartResponse started;
    status = tasks_->Start(Call().get(), start, &started);
    container_pid_ = started.pid();
    return Text(status);
  }
  void DeleteContainer() {
    tasks::DeleteTaskRequest task;
    task.set_container_id("c");
    tasks::DeleteResponse deleted;
    for (int i = 0; i < 50; ++i) {
      grpc::Status status = tasks_->Delete(Call().get(), task, &deleted);
      if (status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND) break;
      absl::SleepFor(absl::Milliseconds(50));
    }
    containers::DeleteContainerRequest container;
    container.set_id("c");
    google::protobuf::Empty empty;
    containers_->Delete(Call().get(), container, &empty);
  }

  static std::string Namespace(uint32_t pid, const char* name) {
    std::error_code error;
    return fs::read_symlink(absl::StrCat("/proc/", pid, "/ns/", name), error);
  }
  static bool Alive(uint32_t pid) { return kill(static_cast<pid_t>(pid), 0) == 0; }
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 200; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
  static pid_t ParentOf(uint32_t pid) {
    auto stat = base::ReadFile(absl::StrCat("/proc/", pid, "/stat"));
    return stat.ok() ? atoi(stat->substr(stat->rfind(')') + 4).c_str()) : -1;
  }

  std::string dir_;
  std::unique_ptr<api::Store::Stub> store_;
  std::unique_ptr<api::Controller::Stub> controller_;
  std::unique_ptr<tasks::Tasks::Stub> tasks_;
  std::unique_ptr<containers::Containers::Stub> containers_;
  containerd::types::Sandbox stored_;
  api::ControllerStartResponse started_;
  uint32_t container_pid_ = 0;
};

TEST_F(SandboxTest, Store) {
  EXPECT_EQ(Store(), "OK");
  EXPECT_EQ(stored_.sandbox_id(), "pod");
  EXPECT_TRUE(stored_.has_created_at());
  EXPECT_THAT(Store(), StartsWith("ALREADY_EXISTS"));
  api::StoreGetRequest get;
  get.set_sandbox_id("pod");
  api::StoreGetResponse got;
  EXPECT_EQ(Text(store_->Get(Call().get(), get, &got)), "OK");
  EXPECT_EQ(got.sandbox().labels().at("a"), "b");
  EXPECT_EQ(got.sandbox().sandboxer(), "shim");
  api::StoreListRequest list;
  api::StoreListResponse listed;
  EXPECT_EQ(Text(store_->List(Call().get(), list, &listed)), "OK");
  ASSERT_EQ(listed.list_size(), 1);
  api::StoreUpdateRequest update;
  *update.mutable_sandbox() = got.sandbox();
  (*update.mutable_sandbox()->mutable_labels())["a"] = "c";
  update.add_fields("labels");
  api::StoreUpdateResponse updated;
  EXPECT_EQ(Text(store_->Update(Call().get(), update, &updated)), "OK");
  EXPECT_EQ(updated.sandbox().labels().at("a"), "c");
  EXPECT_EQ(Delete(), "OK");
  EXPECT_THAT(Delete(), StartsWith("NOT_FOUND"));
  EXPECT_THAT(Text(store_->Get(Call().get(), get, &got)), StartsWith("NOT_FOUND"));
}

TEST_F(SandboxTest, LifeWithAContainer) {
  ASSERT_EQ(Store({{"hostname", "the-pod"}}), "OK");
  ASSERT_EQ(Create(), "OK");
  EXPECT_THAT(Create(), StartsWith("ALREADY_EXISTS"));
  ASSERT_EQ(Start(), "OK");
  ASSERT_GT(started_.pid(), 0u);
  EXPECT_TRUE(started_.has_created_at());
  EXPECT_NE(Namespace(started_.pid(), "net"), Namespace(getpid(), "net"));
  EXPECT_EQ(Status().state(), "SANDBOX_READY");
  EXPECT_EQ(Status().pid(), started_.pid());
  api::ControllerPlatformResponse platform;
  std::string platform_text =
      Text(controller_->Platform(Call().get(), Pod<api::ControllerPlatformRequest>(), &platform));
  if (containerd_major() == 0) {
    EXPECT_EQ(platform_text, "OK");
    EXPECT_EQ(platform.platform().os(), "linux");
  } else {
    // Its service lacks the method, though its controllers have it.
    EXPECT_THAT(platform_text, StartsWith("UNIMPLEMENTED"));
  }

  ASSERT_EQ(RunContainer("hostname; exec sleep 1000"), "OK");
  for (const char* name : {"net", "ipc", "uts", "pid"})
    EXPECT_EQ(Namespace(container_pid_, name), Namespace(started_.pid(), name)) << name;
  EXPECT_EQ(ParentOf(container_pid_), ParentOf(started_.pid())) << "one shim for the pod";
  EXPECT_TRUE(Eventually([&] {
    auto out = base::ReadFile(dir_ + "/out");
    return out.ok() && *out == "the-pod\n";
  }));
  // The pod's processes see nothing of the host behind its first one.
  std::error_code error;
  EXPECT_TRUE(fs::is_empty(absl::StrCat("/proc/", started_.pid(), "/root"), error)) << error;

  api::ControllerWaitResponse waited;
  std::string wait_text;
  std::thread waiter([&] {
    wait_text = Text(controller_->Wait(Call().get(), Pod<api::ControllerWaitRequest>(), &waited));
  });
  tasks::KillRequest kill;
  kill.set_container_id("c");
  kill.set_signal(SIGKILL);
  google::protobuf::Empty empty;
  EXPECT_EQ(Text(tasks_->Kill(Call().get(), kill, &empty)), "OK");
  DeleteContainer();
  EXPECT_TRUE(Alive(started_.pid())) << "the pod outlives its containers";
  EXPECT_EQ(Stop(), "OK");
  waiter.join();
  EXPECT_EQ(wait_text, "OK");
  EXPECT_TRUE(waited.has_exited_at());
  EXPECT_FALSE(Alive(started_.pid()));
  EXPECT_EQ(Status().state(), "SANDBOX_NOTREADY");
  EXPECT_EQ(Shutdown(), "OK");
  EXPECT_EQ(Delete(), "OK");
}

TEST_F(SandboxTest, AKilledShimTakesItsPodAlong) {
  ASSERT_EQ(Store(), "OK");
  ASSERT_EQ(Create(), "OK");
  ASSERT_EQ(Start(), "OK");
  ASSERT_EQ(RunContainer("exec sleep 1000"), "OK");
  events::SubscribeRequest subscribe;
  auto context = Call();
  auto stream = events::Events::NewStub(channel())->Subscribe(context.get(), subscribe);
  absl::SleepFor(absl::Milliseconds(200));
  ASSERT_EQ(kill(ParentOf(started_.pid()), SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return !Alive(started_.pid()); })) << "the pause process";
  EXPECT_TRUE(Eventually([&] { return !Alive(container_pid_); })) << "the container";
  if (containerd_major() > 0) return;  // containerd tells nobody
  containerd::types::Envelope envelope;
  while (stream->Read(&envelope)) {
    if (envelope.topic() != "/sandboxes/exit") continue;
    containerd::events::SandboxExit exit;
    ASSERT_TRUE(exit.ParseFromString(envelope.event().value()));
    EXPECT_EQ(exit.sandbox_id(), "pod");
    EXPECT_EQ(exit.exit_status(), 137u);
    break;
  }
  EXPECT_EQ(envelope.topic(), "/sandboxes/exit");
  context->TryCancel();
}

}  // namespace
}  // namespace gantry::tests
