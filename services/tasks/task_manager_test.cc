#include "services/tasks/task_manager.h"

#include <signal.h>
#include <unistd.h>

#include <climits>
#include <filesystem>
#include <future>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "containerd/events/task.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/events/event_hub.h"
#include "services/events/ttrpc_events.h"
#include "services/metadata/test_db.h"
#include "services/tasks/shim_manager.h"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
namespace api = containerd::services::tasks::v1;
using containerd::services::containers::v1::Container;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string FakeShimBinary() {
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  std::string self(path, static_cast<size_t>(n));
  return self.substr(0, self.rfind('/')) + "/fake_shim";
}

class TaskManagerTest : public ::testing::Test {
 protected:
  // Names of sockets must be short.
  TaskManagerTest() : dir_(absl::StrCat("/tmp/gantry-tm-", base::RandomHex(6))) {
    fs::create_directories(dir_ + "/s");
    Start();
  }
  ~TaskManagerTest() override {
    Stop();
    KillShims("ns");
    fs::remove_all(dir_);
  }

  void Start() {
    auto hub = EventHub::Open(db_.get(), {});
    ASSERT_TRUE(hub.ok()) << hub.status();
    events_ = *std::move(hub);
    auto socket = TtrpcEventServer::Start(dir_ + "/g.sock.ttrpc", events_.get());
    ASSERT_TRUE(socket.ok()) << socket.status();
    socket_ = *std::move(socket);
    ShimManagerOptions options;
    options.root = dir_ + "/root";
    options.state = dir_ + "/state";
    options.grpc_address = dir_ + "/g.sock";
    options.shim_env = {absl::StrCat("FAKE_SHIM_DIR=", dir_, "/s")};
    options.runtimes = {{"io.containerd.runc.v2", FakeShimBinary()}};
    if (own_) options.gantry_shim = FakeShimBinary();
    options.zygote = false;
    options.load_timeout = absl::Seconds(2);
    auto shims = ShimManager::Create(options);
    ASSERT_TRUE(shims.ok()) << shims.status();
    shims_ = *std::move(shims);
    auto lookup = [this](const std::string& ns,
                         const std::string& id) -> absl::StatusOr<Container> {
      auto found = containers_.find({ns, id});
      if (found != containers_.end()) return found->second;
      return absl::NotFoundError(
          absl::StrCat("container \"", id, "\" in namespace \"", ns, "\": not found"));
    };
    TaskManager::Options task_options;
    task_options.state_timeout = absl::Milliseconds(300);
    tasks_ = TaskManager::Create(shims_.get(), events_.get(), lookup, task_options);
    ASSERT_TRUE(shims_->LoadAll().ok());
  }

  // As a crash of the supervisor: shims go on.
  void Stop() {
    tasks_.reset();
    shims_.reset();
    socket_.reset();
    events_.reset();
    db_.Reopen();
  }
  void Restart() {
    Stop();
    Start();
  }

  void KillShims(const std::string& ns) {
    auto ids = base::ListDir(dir_ + "/state/" + ns);
    if (!ids.ok()) return;
    for (const std::string& id : *ids) KillShim(id, ns);
  }
  void KillShim(const std::string& id, const std::string& ns = "ns") {
    auto text = base::ReadFile(absl::StrCat(dir_, "/state/", ns, "/", id, "/shim.pid"));
    int pid = 0;
    if (text.ok() && absl::SimpleAtoi(*text, &pid)) kill(pid, SIGKILL);
  }

  void AddContainer(const std::string& id, const std::string& mode = "",
                    const std::string& ns = "ns") {
    Container container;
    container.set_id(id);
    container.mutable_runtime()->set_name("io.containerd.runc.v2");
    container.mutable_spec()->set_value(absl::StrCat("{\"mode\":\"", mode, "\"}"));
    containers_[{ns, id}] = container;
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(void (TaskManager::*method)(TaskCaller, Request,
                                                            TaskManager::Done<Response>),
                                Request request, const std::string& ns = "ns") {
    auto result = Begin(method, std::move(request), ns);
    if (result.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      return absl::DeadlineExceededError("the test waits no longer");
    }
    return result.get();
  }
  template <typename Request, typename Response>
  std::future<absl::StatusOr<Response>> Begin(
      void (TaskManager::*method)(TaskCaller, Request, TaskManager::Done<Response>),
      Request request, const std::string& ns = "ns") {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
    (tasks_.get()->*method)(TaskCaller{ns}, std::move(request),
                            [promise](absl::StatusOr<Response> r) { promise->set_value(r); });
    return promise->get_future();
  }

  absl::StatusOr<api::CreateTaskResponse> Create(const std::string& id) {
    api::CreateTaskRequest request;
    request.set_container_id(id);
    return Call(&TaskManager::Create, request);
  }
  absl::Status Run(const std::string& id) {
    auto created = Create(id);
    if (!created.ok()) return created.status();
    api::StartRequest request;
    request.set_container_id(id);
    return Call(&TaskManager::Start, request).status();
  }
  absl::Status Kill(const std::string& id, uint32_t signal = 9) {
    api::KillRequest request;
    request.set_container_id(id);
    request.set_signal(signal);
    return Call(&TaskManager::Kill, request).status();
  }
  absl::StatusOr<api::DeleteResponse> Delete(const std::string& id) {
    api::DeleteTaskRequest request;
    request.set_container_id(id);
    return Call(&TaskManager::Delete, request);
  }
  absl::StatusOr<api::GetResponse> Get(const std::string& id) {
    api::GetRequest request;
    request.set_container_id(id);
    return Call(&TaskManager::Get, request);
  }
  std::vector<std::string> ListIds(const std::string& ns = "ns") {
    std::vector<std::string> ids;
    auto listed = Call(&TaskManager::List, api::ListTasksRequest(), ns);
    EXPECT_TRUE(listed.ok()) << listed.status();
    for (const auto& process : listed->tasks()) ids.push_back(process.id());
    return ids;
  }

  // "topic" of each event of container `id`.
  std::vector<std::string> Topics(const std::string& id) {
    std::vector<std::string> topics;
    auto events = events_->List(0, 1000, {absl::StrCat("event.container_id==", id)});
    EXPECT_TRUE(events.ok());
    for (const NumberedEvent& event : *events) topics.push_back(event.envelope.topic());
    return topics;
  }
  // Ids for which `delete` was executed.
  std::vector<std::string> DeleteActions() {
    auto text = base::ReadFile(dir_ + "/s/deleted");
    if (!text.ok()) return {};
    return absl::StrSplit(*text, '\n', absl::SkipEmpty());
  }
  bool BundleExists(const std::string& id) { return fs::exists(dir_ + "/state/ns/" + id); }
  // Nothing of any task is left in either directory.
  void ExpectNoResidue() {
    absl::Time end = absl::Now() + absl::Seconds(5);
    for (const char* dir : {"/state/ns", "/root/ns"}) {
      while (fs::exists(dir_ + dir) && !fs::is_empty(dir_ + dir) && absl::Now() < end) {
        absl::SleepFor(absl::Milliseconds(5));
      }
      EXPECT_TRUE(!fs::exists(dir_ + dir) || fs::is_empty(dir_ + dir)) << dir;
    }
  }

  const std::string dir_;
  bool own_ = false;
  TestDb db_;
  std::map<std::pair<std::string, std::string>, Container> containers_;
  std::unique_ptr<EventHub> events_;
  std::unique_ptr<TtrpcEventServer> socket_;
  std::unique_ptr<ShimManager> shims_;
  std::unique_ptr<TaskManager> tasks_;
};

TEST_F(TaskManagerTest, LifeOfATask) {
  AddContainer("a");
  auto created = Create("a");
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->container_id(), "a");
  EXPECT_EQ(created->pid(), 4242u);
  EXPECT_EQ(Get("a")->process().status(), containerd::v1::types::CREATED);
  api::StartRequest start;
  start.set_container_id("a");
  EXPECT_EQ(Call(&TaskManager::Start, start)->pid(), 4242u);
  EXPECT_EQ(Get("a")->process().status(), containerd::v1::types::RUNNING);
  EXPECT_EQ(Get("a")->process().id(), "a");
  EXPECT_THAT(ListIds(), ElementsAre("a"));
  EXPECT_THAT(ListIds("other"), IsEmpty());

  api::WaitRequest wait;
  wait.set_container_id("a");
  auto waiting = Begin(&TaskManager::Wait, wait);
  EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
  ASSERT_TRUE(Kill("a", 15).ok());
  EXPECT_EQ(waiting.get()->exit_status(), 143u);
  absl::Status again = Kill("a");
  EXPECT_EQ(again.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(again.message()), HasSubstr("process already finished"));

  auto deleted = Delete("a");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->exit_status(), 143u);
  EXPECT_EQ(deleted->pid(), 4242u);
  EXPECT_FALSE(BundleExists("a"));
  EXPECT_THAT(DeleteActions(), ElementsAre("a")) << "a foreign shim gets its delete action";
  EXPECT_THAT(Topics("a"), ElementsAre("/tasks/create", "/tasks/exit"));
  ASSERT_TRUE(Create("a").ok()) << "the id is free again";
  ASSERT_TRUE(Delete("a").ok());
  ExpectNoResidue();
}

TEST_F(TaskManagerTest, ErrorsAreContainerds) {
  AddContainer("a");
  auto missing = Get("zz");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(missing.status().message(), "container \"zz\" in namespace \"ns\": not found");
  EXPECT_EQ(Get("a").status().message(), "task a not found");
  EXPECT_EQ(Get("a").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Run("a").ok());
  auto twice = Create("a");
  EXPECT_EQ(twice.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(twice.status().message(), "task a: already exists");
  auto running = Delete("a");
  EXPECT_EQ(running.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(BundleExists("a"));

  api::ExecProcessRequest exec;
  exec.set_container_id("a");
  EXPECT_EQ(Call(&TaskManager::Exec, exec).status().message(), "exec id cannot be empty");
  exec.set_exec_id("../x");
  EXPECT_EQ(Call(&TaskManager::Exec, exec).status().code(), absl::StatusCode::kInvalidArgument);
  exec.set_exec_id("e1");
  EXPECT_TRUE(Call(&TaskManager::Exec, exec).ok());
  EXPECT_EQ(Call(&TaskManager::Exec, exec).status().code(), absl::StatusCode::kAlreadyExists);
  api::GetRequest get;
  get.set_container_id("a");
  get.set_exec_id("e1");
  EXPECT_EQ(Call(&TaskManager::Get, get)->process().id(), "e1");
  api::DeleteProcessRequest remove;
  remove.set_container_id("a");
  remove.set_exec_id("e1");
  EXPECT_EQ(Call(&TaskManager::DeleteProcess, remove)->id(), "e1");

  api::CheckpointTaskRequest checkpoint;
  checkpoint.set_container_id("a");
  EXPECT_EQ(Call(&TaskManager::Checkpoint, checkpoint).status().code(),
            absl::StatusCode::kUnimplemented);
  // What there is comes before what can be done.
  checkpoint.set_container_id("none");
  EXPECT_EQ(Call(&TaskManager::Checkpoint, checkpoint).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(TaskManagerTest, ShimsThatDoNotStartLeaveNothing) {
  struct Case {
    std::string mode;
    absl::StatusCode code;
    std::string text;
  } cases[] = {
      {"fail", absl::StatusCode::kUnknown, "failed to start shim: start failed: boom"},
      {"garbage", absl::StatusCode::kFailedPrecondition, "I am no address"},
      {"version9", absl::StatusCode::kUnimplemented, "unsupported shim version (9)"},
      {"create-fails", absl::StatusCode::kUnknown,
       "failed to create shim task: OCI runtime create failed"},
      {"create-dies", absl::StatusCode::kUnknown, "the shim died"},
  };
  for (const Case& c : cases) {
    AddContainer(c.mode, c.mode);
    auto created = Create(c.mode);
    EXPECT_EQ(created.status().code(), c.code) << c.mode << created.status();
    EXPECT_THAT(std::string(created.status().message()), HasSubstr(c.text)) << c.mode;
    EXPECT_EQ(Get(c.mode).status().code(), absl::StatusCode::kNotFound) << c.mode;
  }
  ExpectNoResidue();
  containers_[{"ns", "x"}].set_id("x");
  containers_[{"ns", "x"}].mutable_runtime()->set_name("io.containerd.nosuch.v1");
  EXPECT_THAT(std::string(Create("x").status().message()), HasSubstr("binary not installed"));
}

TEST_F(TaskManagerTest, FallsBackToVersion2) {
  AddContainer("a", "only-v2");
  ASSERT_TRUE(Run("a").ok());
  EXPECT_EQ((*shims_->Get("ns", "a"))->version(), 2);
  Restart();
  EXPECT_TRUE(Kill("a").ok());
}

TEST_F(TaskManagerTest, AHangingShimDelaysNobodyElse) {
  for (const char* id : {"a", "b", "c"}) {
    AddContainer(id, id == std::string("b") ? "hang" : "");
    ASSERT_TRUE(Run(id).ok());
  }
  absl::Time begin = absl::Now();
  EXPECT_THAT(ListIds(), ElementsAre("a", "c"));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(2));
  EXPECT_EQ(Get("b").status().code(), absl::StatusCode::kDeadlineExceeded);
  auto metrics = Call(&TaskManager::Metrics, api::MetricsRequest());
  ASSERT_TRUE(metrics.ok());
  EXPECT_EQ(metrics->metrics_size(), 2);
  api::MetricsRequest filtered;
  filtered.add_filters("id==c");
  metrics = Call(&TaskManager::Metrics, filtered);
  ASSERT_EQ(metrics->metrics_size(), 1);
  EXPECT_EQ(metrics->metrics(0).id(), "c");
  EXPECT_TRUE(Kill("b").ok());
}

TEST_F(TaskManagerTest, ADeadShimBecomesAnExitStatus) {
  AddContainer("a");
  ASSERT_TRUE(Run("a").ok());
  api::WaitRequest wait;
  wait.set_container_id("a");
  auto waiting = Begin(&TaskManager::Wait, wait);
  KillShim("a");
  auto exit = waiting.get();
  ASSERT_TRUE(exit.ok()) << exit.status();
  EXPECT_EQ(exit->exit_status(), 137u);
  EXPECT_EQ(Get("a").status().message(), "task a not found");
  EXPECT_THAT(DeleteActions(), ElementsAre("a"));
  EXPECT_THAT(Topics("a"), ElementsAre("/tasks/create", "/tasks/exit", "/tasks/delete"));
  ExpectNoResidue();
}

TEST_F(TaskManagerTest, OwnShimsNeedNoDeleteActionAfterANormalEnd) {
  own_ = true;
  Restart();
  AddContainer("a");
  ASSERT_TRUE(Run("a").ok());
  ASSERT_TRUE(Kill("a").ok());
  ASSERT_TRUE(Delete("a").ok());
  EXPECT_THAT(DeleteActions(), IsEmpty());
  ExpectNoResidue();
  EXPECT_THAT(Topics("a"), ElementsAre("/tasks/create", "/tasks/exit"));
}

TEST_F(TaskManagerTest, FindsItsShimsAgainAndBuriesTheDead) {
  for (const char* id : {"alive", "dead", "stopped"}) {
    AddContainer(id);
    ASSERT_TRUE(Run(id).ok());
  }
  AddContainer("leaked", "empty");
  ASSERT_TRUE(Create("leaked").ok());
  ASSERT_TRUE(Kill("stopped", 3).ok());
  Stop();
  KillShim("dead");
  fs::create_directories(dir_ + "/state/ns/half-made/rootfs");
  fs::create_directories(dir_ + "/state/ns/.trash/rootfs");
  fs::create_directories(dir_ + "/root/ns/orphan");
  Start();
  EXPECT_THAT(ListIds(), ElementsAre("alive", "stopped"));
  EXPECT_EQ(Delete("stopped")->exit_status(), 131u) << "its status outlived the supervisor";
  EXPECT_TRUE(Kill("alive").ok());
  EXPECT_THAT(DeleteActions(), Contains("dead"));
  EXPECT_THAT(DeleteActions(), Contains("leaked"));
  EXPECT_THAT(Topics("dead"), Contains("/tasks/exit"));
  ASSERT_TRUE(Delete("alive").ok());
  ExpectNoResidue();
}

TEST_F(TaskManagerTest, RuntimeInfoComesFromTheBinary) {
  auto info = shims_->RuntimeInfo("io.containerd.runc.v2", {});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name(), "fake");
}

TEST_F(TaskManagerTest, ManyAtOnce) {
  constexpr int kTasks = 12;
  for (int i = 0; i < kTasks; ++i) AddContainer(absl::StrCat("t", i));
  std::vector<std::future<absl::StatusOr<api::CreateTaskResponse>>> creations;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kTasks; ++i) {
      api::CreateTaskRequest request;
      request.set_container_id(absl::StrCat("t", i));
      creations.push_back(Begin(&TaskManager::Create, request));
    }
  }
  int made = 0;
  for (auto& creation : creations) {
    auto result = creation.get();
    if (result.ok()) ++made;
    if (!result.ok()) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kAlreadyExists);
    }
  }
  EXPECT_EQ(made, kTasks) << "of two creations of one task exactly one succeeds";
  EXPECT_EQ(ListIds().size(), static_cast<size_t>(kTasks));
  for (int i = 0; i < kTasks; ++i) EXPECT_TRUE(Delete(absl::StrCat("t", i)).ok());
  ExpectNoResidue();
}

}  // namespace
}  // namespace gantry::services
