#include "services/tasks/shim_manager.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/client.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "services/tasks/bootstrap.h"
#include "services/tasks/bundle.h"
#include "services/tasks/runtime_resolver.h"
#include "services/tasks/shim_binary.h"
#include "services/tasks/shim_log.h"
#include "services/tasks/stray_shims.h"
#include "services/tasks/worker_pool.h"
#include "services/tasks/zygote_launcher.h"

namespace gantry::services {
namespace {

namespace task = containerd::task::v2;

constexpr size_t kMaxPath = 4096;

std::string OwnExecutable() {
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "gantryd";
}

// The annotation by which containers share a shim, the first that is present.
std::string GroupOf(const std::string& spec) {
  constexpr absl::string_view kGroup = "io.containerd.runc.v2.group";
  constexpr absl::string_view kPod = "io.kubernetes.cri.sandbox-id";
  if (!absl::StrContains(spec, kGroup) && !absl::StrContains(spec, kPod)) return "";
  absl::StatusOr<base::Json> parsed = base::ParseJson(spec);
  if (!parsed.ok()) return "";
  const base::Json& annotations = base::JsonAt(*parsed, "annotations");
  std::string group = base::JsonString(annotations, kGroup);
  return group.empty() ? base::JsonString(annotations, kPod) : group;
}

// A shim and what the manager knows about it. Every Shim that leaves the manager is one.
class ManagedShim final : public Shim {
 public:
  ManagedShim(Bundle bundle, std::string binary, ShimBootstrap bootstrap, bool owns_process)
      : Shim(bundle.ns(), bundle.id(), bundle.path(), std::move(binary), std::move(bootstrap)),
        bundle_(std::move(bundle)),
        owns_process_(owns_process) {}

  const Bundle& files() const { return bundle_; }
  // False for a task inside of a sandbox's shim: the sandbox cleans up.
  bool owns_process() const { return owns_process_; }

  // Ends the life in which the shim is expected to answer: true for the one that may bury it.
  bool LeaveAlive() { return alive_.exchange(false); }
  bool alive() const { return alive_; }

 private:
  const Bundle bundle_;
  const bool owns_process_;
  std::atomic<bool> alive_{true};
};

using ShimPtr = std::shared_ptr<ManagedShim>;
using ShimKey = std::pair<std::string, std::string>;  // namespace, id

class Manager final : public ShimManager {
 public:
  explicit Manager(ShimManagerOptions options)
      : options_(std::move(options)), resolver_(options_.runtimes) {}

  ~Manager() override {
    std::vector<ShimPtr> left;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
      for (auto& [key, shim] : slots_) {
        if (shim != nullptr) left.push_back(shim);
      }
    }
    for (const ShimPtr& shim : left) {
      shim->LeaveAlive();
      shim->Close();
      shim->ReportDeath(absl::UnavailableError("gantryd is shutting down"));
    }
  }

  void OnDeadShim(DeadShimCallback callback) override { on_dead_ = std::move(callback); }
  void OnLastLook(LastLookCallback callback) override { on_last_look_ = std::move(callback); }

  void SetLauncher(std::string binary, std::unique_ptr<ShimLauncher> launcher) override {
    std::lock_guard<std::mutex> lock(mutex_);
    launchers_[std::move(binary)] = std::move(launcher);
  }

  absl::Status LoadAll() override;
  absl::StatusOr<std::shared_ptr<Shim>> Start(const ShimStartRequest& request) override;

  absl::StatusOr<std::shared_ptr<Shim>> Get(const std::string& ns,
                                            const std::string& id) const override {
    std::lock_guard<std::mutex> lock(mutex_);
    auto slot = slots_.find({ns, id});
    if (slot == slots_.end() || slot->second == nullptr || !slot->second->alive()) {
      return absl::NotFoundError(absl::StrCat("task ", id, " not found"));
    }
    return std::shared_ptr<Shim>(slot->second);
  }

  std::vector<std::shared_ptr<Shim>> List(const std::string& ns) const override {
    return Select([&ns](const ManagedShim& shim) { return shim.ns() == ns; });
  }
  std::vector<std::shared_ptr<Shim>> ListAll() const override {
    return Select([](const ManagedShim&) { return true; });
  }

  void Remove(std::shared_ptr<Shim> shim, absl::AnyInvocable<void()> done) override;
  void Discard(std::shared_ptr<Shim> shim) override;

  absl::StatusOr<std::string> ResolveRuntime(const std::string& runtime) override {
    return resolver_.Resolve(runtime);
  }
  absl::StatusOr<containerd::types::RuntimeInfo> RuntimeInfo(
      const std::string& runtime, const google::protobuf::Any& options) override {
    absl::StatusOr<std::string> binary = resolver_.Resolve(runtime);
    if (!binary.ok()) return base::Annotate(binary.status(), "failed to resolve runtime path");
    return BinaryOf(*binary).Info(options, options_.load_timeout);
  }

 private:
  std::vector<std::shared_ptr<Shim>> Select(
      absl::FunctionRef<bool(const ManagedShim&)> wanted) const {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::shared_ptr<Shim>> found;
    for (const auto& [key, shim] : slots_) {
      if (shim != nullptr && shim->alive() && wanted(*shim)) found.push_back(shim);
    }
    return found;
  }

  ShimBinary BinaryOf(const std::string& binary) const {
    return ShimBinary({options_.grpc_address, options_.ttrpc_address, options_.publish_binary,
                       options_.shim_env, options_.debug},
                      binary);
  }
  bool IsOwn(const Shim& shim) const {
    return !options_.gantry_shim.empty() && shim.binary() == options_.gantry_shim;
  }

  absl::Status Reserve(const ShimKey& key);
  void Occupy(const ShimKey& key, ShimPtr shim);
  void Release(const ShimKey& key);

  absl::StatusOr<ShimPtr> StartIn(const Bundle& bundle, const std::string& binary,
                                  const ShimStartRequest& request);
  absl::StatusOr<ShimBootstrap> Launch(const Bundle& bundle, const std::string& binary,
                                       const ShimStartRequest& request);
  std::optional<ShimBootstrap> SandboxBootstrap(const ShimStartRequest& request) const;
  absl::Status Connect(const ShimPtr& shim);

  void Load(const Bundle& bundle);
  absl::StatusOr<ShimPtr> Reconnect(const Bundle& bundle, const std::string& binary);
  absl::Status Probe(Shim& shim, bool* leaked);
  void SweepWorkDirs(const std::string& ns);

  void OnDisconnect(const ShimPtr& shim);
  void Bury(const ShimPtr& shim);
  ShimExit RunDelete(const Bundle& bundle, const std::string& binary);
  void ShutDown(Shim& shim);
  void DeleteBundle(const Bundle& bundle);
  void LastLook(const Bundle& bundle) const {
    if (on_last_look_) on_last_look_(bundle.ns(), bundle.id(), bundle.path());
  }

  ShimManagerOptions options_;
  RuntimeResolver resolver_;
  DeadShimCallback on_dead_;
  LastLookCallback on_last_look_;
  ShimLogs logs_;

  mutable std::mutex mutex_;
  bool closing_ = false;
  // Null: being started, or the bundle still being removed.
  std::map<ShimKey, ShimPtr> slots_;
  std::map<std::string, std::shared_ptr<ShimLauncher>> launchers_;

  WorkerPool pool_;  // last: its end waits for work that uses the others
};

absl::Status Manager::Reserve(const ShimKey& key) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (slots_.emplace(key, nullptr).second) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat("task ", key.second, ": already exists"));
}

void Manager::Occupy(const ShimKey& key, ShimPtr shim) {
  std::lock_guard<std::mutex> lock(mutex_);
  slots_[key] = std::move(shim);
}

void Manager::Release(const ShimKey& key) {
  std::lock_guard<std::mutex> lock(mutex_);
  slots_.erase(key);
}

absl::StatusOr<std::shared_ptr<Shim>> Manager::Start(const ShimStartRequest& request) {
  absl::StatusOr<std::string> binary = resolver_.Resolve(request.runtime);
  if (!binary.ok()) {
    return base::WithCode(base::Annotate(binary.status(), "failed to resolve runtime path"),
                          absl::StatusCode::kUnknown);
  }
  ShimKey key(request.ns, request.id);
  GANTRY_RETURN_IF_ERROR(Reserve(key));
  absl::StatusOr<Bundle> bundle =
      Bundle::Create(options_.root, options_.state, request.ns, request.id, request.spec);
  if (!bundle.ok()) {
    Release(key);
    return bundle.status();
  }
  base::CrashPoint("task.create.bundled");
  absl::StatusOr<ShimPtr> shim = StartIn(*bundle, *binary, request);
  if (!shim.ok()) {
    DeleteBundle(*bundle);
    Release(key);
    return shim.status();
  }
  return std::shared_ptr<Shim>(*std::move(shim));
}

absl::StatusOr<ShimPtr> Manager::StartIn(const Bundle& bundle, const std::string& binary,
                                         const ShimStartRequest& request) {
  std::optional<ShimBootstrap> bootstrap = SandboxBootstrap(request);
  bool joined = bootstrap.has_value();
  // Before the shim exists, so that a restart in the middle knows whom to ask to clean up.
  GANTRY_RETURN_IF_ERROR(base::WriteFile(bundle.File("shim-binary-path"), binary));
  if (request.is_sandbox) GANTRY_RETURN_IF_ERROR(base::WriteFile(bundle.File(kSandboxMark), ""));
  if (binary != options_.gantry_shim) GANTRY_RETURN_IF_ERROR(bundle.MakeWork());
  if (joined) {
    GANTRY_RETURN_IF_ERROR(base::WriteFile(bundle.File("sandbox"), request.sandbox_id));
  } else {
    GANTRY_RETURN_IF_ERROR(logs_.Add(bundle.ns(), bundle.id(), bundle.File("log")));
    absl::StatusOr<ShimBootstrap> launched = Launch(bundle, binary, request);
    if (!launched.ok()) return base::Annotate(launched.status(), "start failed");
    bootstrap = *std::move(launched);
    base::CrashPoint("task.create.launched");
  }
  auto shim = std::make_shared<ManagedShim>(bundle, binary, *bootstrap, /*owns_process=*/!joined);
  absl::Status ready = WriteBootstrap(bundle, shim->bootstrap());
  if (ready.ok()) ready = Connect(shim);
  if (!ready.ok()) {
    shim->LeaveAlive();
    shim->Close();
    if (shim->owns_process()) RunDelete(bundle, binary);
    return ready;
  }
  Occupy({bundle.ns(), bundle.id()}, shim);
  // A death before the line above found nobody to bury.
  if (!shim->connected()) OnDisconnect(shim);
  return shim;
}

absl::StatusOr<ShimBootstrap> Manager::Launch(const Bundle& bundle, const std::string& binary,
                                              const ShimStartRequest& request) {
  ShimLauncher::Request launch{
      bundle.ns(),     bundle.id(),     bundle.path(), binary, GroupOf(request.spec.value()),
      request.options, request.deadline};
  launch.deadline = std::min(launch.deadline, absl::Now() + options_.start_timeout);
  std::shared_ptr<ShimLauncher> launcher;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = launchers_.find(binary);
    if (found != launchers_.end()) launcher = found->second;
  }
  if (launcher != nullptr) {
    absl::StatusOr<ShimBootstrap> launched = launcher->Launch(launch);
    if (!absl::IsUnavailable(launched.status())) return launched;
    base::LogWarn("a shim is executed", {{"because", launched.status().message()}});
  }
  return BinaryOf(binary).Start(launch);
}

std::optional<ShimBootstrap> Manager::SandboxBootstrap(const ShimStartRequest& request) const {
  if (request.sandbox_id.empty()) return std::nullopt;
  absl::StatusOr<std::shared_ptr<Shim>> sandbox = Get(request.ns, request.sandbox_id);
  // Version 2 may group its containers too, but says where only when it is asked to start.
  if (!sandbox.ok() || (*sandbox)->version() < 3) return std::nullopt;
  return (*sandbox)->bootstrap();
}

absl::Status Manager::Connect(const ShimPtr& shim) {
  std::weak_ptr<ManagedShim> weak = shim;
  auto client = base::ttrpc::Client::Connect(shim->bootstrap().address, [this, weak] {
    if (ShimPtr gone = weak.lock()) OnDisconnect(gone);
  });
  if (!client.ok()) return base::Annotate(client.status(), "connect to the shim");
  shim->set_client(*std::move(client));
  return absl::OkStatus();
}

void Manager::OnDisconnect(const ShimPtr& shim) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto slot = slots_.find({shim->ns(), shim->id()});
    // Not (or no longer) ours to bury: Start() and Discard() look after their own.
    if (closing_ || slot == slots_.end() || slot->second != shim) return;
  }
  if (!shim->LeaveAlive()) return;
  pool_.Run([this, shim] { Bury(shim); });
}

void Manager::Bury(const ShimPtr& shim) {
  base::LogWarn("shim disconnected; cleaning up", {{"ns", shim->ns()}, {"id", shim->id()}});
  ShimExit exit{0, 255, absl::Now()};
  // Also for a task in a sandbox's shim: that has died with all of its tasks.
  exit = RunDelete(shim->files(), shim->binary());
  exit.of_sandbox = shim->of_sandbox();
  LastLook(shim->files());
  DeleteBundle(shim->files());
  Release({shim->ns(), shim->id()});
  if (on_dead_) on_dead_(shim->ns(), shim->id(), exit);
  shim->ReportDeath(exit);
}

ShimExit Manager::RunDelete(const Bundle& bundle, const std::string& binary) {
  absl::StatusOr<ShimExit> exit =
      BinaryOf(binary).Delete(bundle.ns(), bundle.id(), bundle.path(), options_.cleanup_timeout);
  if (exit.ok()) return *exit;
  base::LogWarn("clean up after a shim",
                {{"ns", bundle.ns()}, {"id", bundle.id()}, {"error", exit.status().message()}});
  return ShimExit{0, 255, absl::Now()};
}

void Manager::DeleteBundle(const Bundle& bundle) {
  logs_.Remove(bundle.ns(), bundle.id());
  absl::Status deleted = bundle.Delete();
  if (deleted.ok()) return;
  base::LogError("delete a bundle",
                 {{"ns", bundle.ns()}, {"id", bundle.id()}, {"error", deleted.message()}});
}

void Manager::ShutDown(Shim& shim) {
  task::ShutdownRequest request;
  request.set_id(shim.id());
  absl::Status status =
      shim.CallTaskAndWait("Shutdown", request, nullptr, options_.shutdown_timeout);
  // Most end before they answer.
  if (!status.ok() && shim.connected()) {
    base::LogWarn("shut down a shim", {{"id", shim.id()}, {"error", status.message()}});
  }
  shim.Close();
}

void Manager::Remove(std::shared_ptr<Shim> shim, absl::AnyInvocable<void()> done) {
  auto managed = std::static_pointer_cast<ManagedShim>(shim);
  if (!managed->LeaveAlive()) {
    // It died in the same moment: the burial does the rest.
    managed->AfterDeath([done = std::move(done)](const auto&) mutable { done(); });
    return;
  }
  bool own = IsOwn(*managed);
  if (own) {
    task::ShutdownRequest request;
    request.set_id(managed->id());
    managed->CallTask("Shutdown", request, options_.shutdown_timeout,
                      [managed](const auto&) { managed->Close(); });
  }
  pool_.Run([this, managed, own, done = std::move(done)]() mutable {
    if (!own) {
      ShutDown(*managed);
      if (managed->owns_process()) RunDelete(managed->files(), managed->binary());
    }
    logs_.Remove(managed->ns(), managed->id());
    LastLook(managed->files());
    absl::StatusOr<Bundle::Trash> trash = managed->files().MoveToTrash();
    if (!trash.ok()) {
      base::LogError("delete a bundle",
                     {{"id", managed->id()}, {"error", trash.status().message()}});
    }
    base::CrashPoint("task.delete.trashed");
    Release({managed->ns(), managed->id()});
    done();
    managed->ReportDeath(absl::NotFoundError(absl::StrCat("task ", managed->id(), " not found")));
    if (trash.ok()) Bundle::Empty(*trash).IgnoreError();  // LoadAll() removes what stays
  });
}

void Manager::Discard(std::shared_ptr<Shim> shim) {
  auto managed = std::static_pointer_cast<ManagedShim>(shim);
  if (!managed->LeaveAlive()) {
    // Being buried; only wait, so that the id is free afterwards.
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false;
    managed->AfterDeath([&](const auto&) {
      std::lock_guard<std::mutex> lock(mutex);
      over = true;
      changed.notify_all();
    });
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&over] { return over; });
    return;
  }
  if (managed->connected()) {
    task::DeleteRequest request;
    request.set_id(managed->id());
    managed->CallTaskAndWait("Delete", request, nullptr, options_.cleanup_timeout).IgnoreError();
  }
  ShutDown(*managed);
  if (managed->owns_process()) RunDelete(managed->files(), managed->binary());
  DeleteBundle(managed->files());
  Release({managed->ns(), managed->id()});
  managed->ReportDeath(absl::NotFoundError(absl::StrCat("task ", managed->id(), " not found")));
}

// --- after a restart ---

absl::Status Manager::LoadAll() {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, base::ListDir(options_.state));
  std::mutex mutex;
  std::condition_variable changed;
  size_t left = 0;
  for (const std::string& ns : namespaces) {
    std::string dir = absl::StrCat(options_.state, "/", ns);
    absl::StatusOr<std::vector<std::string>> ids = base::ListDir(dir);
    if (!ids.ok()) continue;
    for (const std::string& id : *ids) {
      // The rest of a removal that was interrupted.
      if (absl::StartsWith(id, ".")) {
        base::RemoveTree(absl::StrCat(dir, "/", id)).IgnoreError();
        continue;
      }
      std::lock_guard<std::mutex> lock(mutex);
      ++left;
      pool_.Run([&, bundle = Bundle(options_.root, options_.state, ns, id)] {
        Load(bundle);
        std::lock_guard<std::mutex> done(mutex);
        if (--left == 0) changed.notify_all();
      });
    }
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&left] { return left == 0; });
  }
  if (!options_.socket_dir.empty()) {
    std::set<std::string> known;
    for (const auto& shim : ListAll()) {
      known.emplace(absl::StripPrefix(shim->bootstrap().address, "unix://"));
    }
    EndStrayShims(options_.socket_dir, known, options_.shutdown_timeout);
  }
  absl::StatusOr<std::vector<std::string>> work = base::ListDir(options_.root);
  if (work.ok()) {
    for (const std::string& ns : *work) SweepWorkDirs(ns);
  }
  return absl::OkStatus();
}

void Manager::Load(const Bundle& bundle) {
  absl::StatusOr<std::string> binary = base::ReadFile(bundle.File("shim-binary-path"), kMaxPath);
  if (!binary.ok() || !absl::StartsWith(*binary, "/")) {
    // Interrupted before anything was started.
    DeleteBundle(bundle);
    return;
  }
  absl::StatusOr<ShimPtr> shim = Reconnect(bundle, *binary);
  if (shim.ok()) return;
  base::LogWarn("shim is gone; cleaning up",
                {{"ns", bundle.ns()}, {"id", bundle.id()}, {"error", shim.status().message()}});
  bool started =
      base::Exists(bundle.File("bootstrap.json")) || base::Exists(bundle.File("address"));
  ShimExit exit{0, 255, absl::Now()};
  exit = RunDelete(bundle, *binary);
  exit.of_sandbox = base::Exists(bundle.File(kSandboxMark));
  LastLook(bundle);
  DeleteBundle(bundle);
  if (on_dead_ && started) on_dead_(bundle.ns(), bundle.id(), exit);
}

absl::StatusOr<ShimPtr> Manager::Reconnect(const Bundle& bundle, const std::string& binary) {
  bool joined = base::Exists(bundle.File("sandbox"));
  GANTRY_ASSIGN_OR_RETURN(ShimBootstrap bootstrap, ReadBootstrap(bundle));
  if (!joined) GANTRY_RETURN_IF_ERROR(logs_.Add(bundle.ns(), bundle.id(), bundle.File("log")));
  auto shim = std::make_shared<ManagedShim>(bundle, binary, std::move(bootstrap), !joined);
  ShimKey key(bundle.ns(), bundle.id());
  GANTRY_RETURN_IF_ERROR(Reserve(key));
  absl::Status status = Connect(shim);
  bool leaked = false;
  if (status.ok()) status = Probe(*shim, &leaked);
  if (!status.ok()) {
    shim->LeaveAlive();
    shim->Close();
    Release(key);
    return status;
  }
  Occupy(key, shim);
  if (leaked) {
    base::LogInfo("cleaning leaked shim process", {{"ns", bundle.ns()}, {"id", bundle.id()}});
    Discard(shim);
    return shim;
  }
  if (!shim->connected()) OnDisconnect(shim);
  return shim;
}

// Whether it answers, and whether there is a task behind it: a crash between the start of a shim
// and its Create leaves one that holds nothing. A task that has stopped is kept, with its status.
absl::Status Manager::Probe(Shim& shim, bool* leaked) {
  absl::Time deadline = absl::Now() + options_.load_timeout;
  task::ConnectRequest connect;
  connect.set_id(shim.id());
  task::ConnectResponse connected;
  absl::Status status = shim.CallTaskAndWait("Connect", connect, &connected, options_.load_timeout);
  if (absl::IsUnimplemented(status) && shim.Downgrade()) {
    status = shim.CallTaskAndWait("Connect", connect, &connected, deadline - absl::Now());
  }
  GANTRY_RETURN_IF_ERROR(base::Annotate(status, "probe the shim"));
  if (connected.task_pid() != 0 || shim.of_sandbox()) {
    return absl::OkStatus();
  }
  task::PidsRequest pids;
  pids.set_id(shim.id());
  task::PidsResponse answer;
  status = shim.CallTaskAndWait("Pids", pids, &answer, deadline - absl::Now());
  *leaked = absl::IsNotFound(status) || (status.ok() && answer.processes_size() == 0);
  return absl::OkStatus();
}

// After a reboot the state directory is empty and these are all that is left.
void Manager::SweepWorkDirs(const std::string& ns) {
  std::string dir = absl::StrCat(options_.root, "/", ns);
  absl::StatusOr<std::vector<std::string>> ids = base::ListDir(dir);
  if (!ids.ok()) return;
  for (const std::string& id : *ids) {
    if (!Get(ns, id).ok()) base::RemoveTree(absl::StrCat(dir, "/", id)).IgnoreError();
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShimManager>> ShimManager::Create(ShimManagerOptions options) {
  if (options.ttrpc_address.empty()) options.ttrpc_address = options.grpc_address + ".ttrpc";
  if (options.publish_binary.empty()) options.publish_binary = OwnExecutable();
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(options.root, 0711));
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(options.state, 0711));
  std::optional<ZygoteLauncher::Options> zygote;
  if (options.zygote && !options.gantry_shim.empty()) {
    zygote.emplace();
    zygote->binary = options.gantry_shim;
    zygote->grpc_address = options.grpc_address;
    zygote->ttrpc_address = options.ttrpc_address;
    zygote->debug = options.debug;
  }
  std::unique_ptr<ShimManager> manager = std::make_unique<Manager>(std::move(options));
  if (zygote.has_value()) {
    manager->SetLauncher(zygote->binary, std::make_unique<ZygoteLauncher>(*zygote));
  }
  return manager;
}

absl::StatusOr<google::protobuf::Any> RuntimePluginInfo(ShimManager* shims,
                                                        const google::protobuf::Any& options) {
  containerd::types::RuntimeRequest request;
  if (!absl::EndsWith(options.type_url(), request.GetDescriptor()->full_name()) ||
      !request.ParseFromString(options.value())) {
    return absl::InvalidArgumentError(absl::StrCat("plugin options of the runtime must be ",
                                                   request.GetDescriptor()->full_name(), ", not ",
                                                   options.type_url()));
  }
  GANTRY_ASSIGN_OR_RETURN(containerd::types::RuntimeInfo info,
                          shims->RuntimeInfo(request.runtime_path(), request.options()));
  google::protobuf::Any any;
  any.set_type_url(info.GetDescriptor()->full_name());
  any.set_value(info.SerializeAsString());
  return any;
}

}  // namespace gantry::services
