#include "services/supervisor/daemon.h"

#include <fcntl.h>
#include <grpcpp/impl/service_type.h>
#include <sys/file.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mount.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "services/containers/containers_service.h"
#include "services/content/content_service.h"
#include "services/content/content_store.h"
#include "services/diff/diff_service.h"
#include "services/diff/differ.h"
#include "services/events/event_hub.h"
#include "services/events/events_service.h"
#include "services/events/ttrpc_events.h"
#include "services/exits/exit_store.h"
#include "services/exits/exits_service.h"
#include "services/gc/collector.h"
#include "services/images/images_service.h"
#include "services/introspection/introspection_service.h"
#include "services/introspection/plugins.h"
#include "services/leases/leases_service.h"
#include "services/lifecycle/lifecycle_manager.h"
#include "services/lifecycle/lifecycle_service.h"
#include "services/maintenance/fsck.h"
#include "services/maintenance/maintenance_service.h"
#include "services/metadata/container_store.h"
#include "services/metadata/db.h"
#include "services/metadata/image_store.h"
#include "services/metadata/lease_store.h"
#include "services/metadata/namespace_store.h"
#include "services/metadata/sandbox_store.h"
#include "services/namespaces/namespaces_service.h"
#include "services/networks/network_manager.h"
#include "services/networks/networks_service.h"
#include "services/registry/registry_service.h"
#include "services/sandbox/sandbox_controller.h"
#include "services/sandbox/sandbox_service.h"
#include "services/snapshots/backend.h"
#include "services/snapshots/snapshots.h"
#include "services/snapshots/snapshots_service.h"
#include "services/streaming/stream.h"
#include "services/streaming/streaming_service.h"
#include "services/supervisor/grpc_server.h"
#include "services/supervisor/metrics.h"
#include "services/tasks/shim_manager.h"
#include "services/tasks/task_manager.h"
#include "services/tasks/tasks_service.h"
#include "services/tasks/zygote_launcher.h"
#include "services/transfer/transfer.h"
#include "services/transfer/transfer_service.h"
#include "services/version/version_service.h"
#include "services/volumes/rootfs_view.h"
#include "services/volumes/volume_manager.h"
#include "services/volumes/volumes_service.h"
#include "snapshotter/driver.h"
#include "snapshotter/registry.h"

namespace gantry::services {
namespace {

constexpr char kVersionDir[] = "/io.containerd.";

// Everything that serves, in the order in which it is made; destroyed in the reverse order.
class DaemonImpl final : public Daemon {
 public:
  explicit DaemonImpl(Config config) : config_(std::move(config)) {}
  ~DaemonImpl() override {
    if (grpc_ != nullptr) grpc_->Shutdown(absl::Seconds(2));
    ttrpc_events_.reset();
    if (collector_ != nullptr) collector_->Stop();
    metrics_.reset();
    lifecycle_.reset();  // tasks ask it for specifications
  }

  absl::Status Start() {
    GANTRY_RETURN_IF_ERROR(OpenDirectories());
    GANTRY_RETURN_IF_ERROR(OpenStores());
    GANTRY_RETURN_IF_ERROR(OpenSnapshots());
    GANTRY_RETURN_IF_ERROR(OpenTasks());
    GANTRY_RETURN_IF_ERROR(OpenVolumes());
    GANTRY_RETURN_IF_ERROR(OpenNetworks());
    GANTRY_RETURN_IF_ERROR(OpenLifecycle());
    GANTRY_RETURN_IF_ERROR(OpenTransfer());
    StartCollector();
    OpenFsck();
    GANTRY_RETURN_IF_ERROR(OpenDoors());
    return StartMetrics();
  }

 private:
  // Other users of the host reach neither data nor sockets (CVE-2021-41103, CVE-2024-25621).
  absl::Status OpenDirectories() {
    GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(config_.root, 0700));
    GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(config_.state, 0711));
    std::string socket_dir = config_.grpc.address.substr(0, config_.grpc.address.rfind('/'));
    if (!socket_dir.empty()) GANTRY_RETURN_IF_ERROR(base::MakeDirs(socket_dir, 0711));
    GANTRY_ASSIGN_OR_RETURN(
        lock_, base::Open(absl::StrCat(config_.root, "/gantryd.lock"), O_RDWR | O_CREAT, 0600));
    if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "another gantryd uses ", config_.root, "; stop it or give this one its own --root"));
    }
    return absl::OkStatus();
  }

  absl::Status OpenStores() {
    GANTRY_ASSIGN_OR_RETURN(db_, Db::Open(absl::StrCat(config_.root, "/metadata")));
    GANTRY_ASSIGN_OR_RETURN(events_, EventHub::Open(db_.get(), {}));
    namespaces_ = std::make_unique<NamespaceStore>(db_.get());
    images_ = std::make_unique<ImageStore>(db_.get());
    containers_ = std::make_unique<ContainerStore>(db_.get());
    leases_ = std::make_unique<LeaseStore>(db_.get());
    sandboxes_ = std::make_unique<SandboxStore>(db_.get());
    GANTRY_ASSIGN_OR_RETURN(content_, ContentStore::Open(config_.root, db_.get()));
    std::string temporary = absl::StrCat(config_.state, "/tmp");
    GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(temporary, 0700));
    GANTRY_RETURN_IF_ERROR(base::TemporaryMount::Sweep(temporary));
    differ_ = std::make_unique<Differ>(content_.get(), temporary);
    return absl::OkStatus();
  }

  // A driver that this host cannot run is left out with a warning; clients that name it are told.
  absl::Status OpenSnapshots() {
    std::map<std::string, std::unique_ptr<Backend>> backends;
    for (const std::string& name : snapshotter::DriverNames()) {
      auto driver = snapshotter::OpenDriver(
          name, {.root = absl::StrCat(config_.root, kVersionDir, "snapshotter.v1.", name)});
      if (driver.ok()) {
        backends[name] = MakeLocalBackend(*std::move(driver));
      } else {
        base::LogWarn("snapshotter is not available",
                      {{"name", name}, {"error", driver.status().message()}});
      }
    }
    for (const auto& [name, address] : config_.proxy_snapshotters) {
      backends[name] = MakeProxyBackend(address, name);
    }
    GANTRY_ASSIGN_OR_RETURN(snapshots_, Snapshots::Open(db_.get(), std::move(backends)));
    return absl::OkStatus();
  }

  absl::Status OpenTasks() {
    ShimManagerOptions options;
    options.root = absl::StrCat(config_.root, kVersionDir, "runtime.v2.task");
    options.state = absl::StrCat(config_.state, kVersionDir, "runtime.v2.task");
    options.grpc_address = config_.grpc.address;
    options.ttrpc_address = TtrpcAddress();
    options.gantry_shim = ShimPath();
    options.socket_dir = absl::StrCat(config_.state, "/s");
    options.runtimes = config_.runtimes;
    options.runtimes.emplace("io.containerd.runc.v2", options.gantry_shim);
    options.debug = config_.log_level == "debug" || config_.log_level == "trace";
    GANTRY_ASSIGN_OR_RETURN(shims_, ShimManager::Create(options));
    if (config_.shim_zygote && base::Exists(options.gantry_shim)) {
      shims_->SetLauncher(options.gantry_shim,
                          std::make_unique<ZygoteLauncher>(
                              ZygoteLauncher::Options{.binary = options.gantry_shim,
                                                      .grpc_address = options.grpc_address,
                                                      .ttrpc_address = options.ttrpc_address,
                                                      .socket_dir = options.socket_dir,
                                                      .debug = options.debug}));
    }
    GANTRY_RETURN_IF_ERROR(OpenExits());
    tasks_ = TaskManager::Create(shims_.get(), events_.get(),
                                 [this](const std::string& ns, const std::string& id) {
                                   auto record = containers_->Get(Context{.ns = ns}, id);
                                   if (record.ok() && lifecycle_ != nullptr)
                                     lifecycle_->OverrideSpec(ns, &*record);
                                   return record;
                                 },
                                 {.db = db_.get()});
    sandbox_controller_ = SandboxController::Create(shims_.get(), sandboxes_.get(), events_.get());
    introspection_ = std::make_unique<Introspection>(
        config_.root, BuiltinPlugins(config_.root, snapshots_->snapshotters()));
    introspection_->SetInfoProvider("io.containerd.runtime.v2", "task",
                                    [this](const google::protobuf::Any& options) {
                                      return RuntimePluginInfo(shims_.get(), options);
                                    });
    // The door for events is open before shims are found again: they may have some waiting.
    GANTRY_ASSIGN_OR_RETURN(ttrpc_events_, TtrpcEventServer::Start(TtrpcAddress(), events_.get()));
    GANTRY_RETURN_IF_ERROR(shims_->LoadAll());
    sandbox_controller_->WatchRunning();
    return tasks_->Recover();
  }

  absl::Status OpenLifecycle() {
    LifecycleManager::Deps deps;
    deps.db = db_.get();
    deps.events = events_.get();
    deps.containers = containers_.get();
    deps.snapshots = snapshots_.get();
    deps.tasks = tasks_.get();
    deps.exits = exits_.get();
    deps.volumes = volumes_.get();
    deps.networks = networks_.get();
    LifecycleManager::Options options;
    options.root = config_.root;
    options.attach_dir = absl::StrCat(config_.state, "/a");
    options.default_snapshotter = config_.default_snapshotter;
    GANTRY_ASSIGN_OR_RETURN(lifecycle_, LifecycleManager::Open(deps, std::move(options)));
    return lifecycle_->Recover();
  }

  absl::Status OpenVolumes() {
    VolumeManager::Options options;
    options.root = config_.root;
    options.with_rootfs = [this](const std::string& ns, const std::string& id,
                                 const std::function<absl::Status(const std::string&)>& use) {
      return WithRootfs({.ns = ns}, id, use);
    };
    GANTRY_ASSIGN_OR_RETURN(volumes_, OpenVolumeManager(db_.get(), std::move(options)));
    return volumes_->Recover(
        [this](const std::string& ns, const std::string& id) {
          // Only a record that is certainly not there counts as gone.
          return !absl::IsNotFound(containers_->Get(Context{.ns = ns}, id).status());
        },
        [this](const std::string& ns, const std::string& id) {
          for (const auto& shim : shims_->List(ns)) {
            if (shim->id() == id) return true;
          }
          return false;
        });
  }

  // What a container's snapshot holds, also while it is mounted elsewhere.
  absl::Status WithRootfs(const Context& ctx, const std::string& id,
                          const std::function<absl::Status(const std::string&)>& use) {
    GANTRY_ASSIGN_OR_RETURN(ContainerStore::Container container, containers_->Get(ctx, id));
    if (container.snapshot_key().empty())
      return absl::FailedPreconditionError(absl::StrCat("container ", id, " has no snapshot"));
    GANTRY_ASSIGN_OR_RETURN(
        std::vector<base::Mount> mounts,
        snapshots_->Mounts(ctx, container.snapshotter(), container.snapshot_key()));
    GANTRY_ASSIGN_OR_RETURN(base::TemporaryMount rootfs,
                            base::TemporaryMount::Create(ReadOnlyMounts(std::move(mounts)),
                                                         absl::StrCat(config_.state, "/tmp")));
    return use(rootfs.path());
  }

  // After the tasks: what no task uses any more is given back.
  absl::Status OpenNetworks() {
    NetworkManager::Options options;
    options.root = config_.root;
    options.state = config_.state;
    if (config_.root != Config().root) options.table = NetworkTableName(config_.root);
    GANTRY_ASSIGN_OR_RETURN(networks_, OpenNetworkManager(db_.get(), std::move(options)));
    return networks_->Recover(
        [this](const std::string& ns, const std::string& id) { return shims_->Get(ns, id).ok(); });
  }

  absl::Status OpenExits() {
    ExitStore::Deps deps;
    deps.db = db_.get();
    deps.names = [this](const std::string& ns, const std::string& id) {
      auto container = containers_->Get(Context{.ns = ns}, id);
      if (!container.ok()) return ExitStore::Names();
      const auto& labels = container->labels();
      auto name = labels.find("gantry/name");  // as client/container.h has it
      if (name == labels.end()) name = labels.find("nerdctl/name");
      return ExitStore::Names{name == labels.end() ? "" : name->second, container->image()};
    };
    deps.bundles = [this](const std::string& ns) {
      std::vector<std::string> bundles;
      for (const auto& shim : shims_->List(ns)) bundles.push_back(shim->bundle());
      return bundles;
    };
    GANTRY_ASSIGN_OR_RETURN(exits_, ExitStore::Open(std::move(deps), {}));
    shims_->OnLastLook(
        [this](const std::string& ns, const std::string& id, const std::string& bundle) {
          absl::Status kept = exits_->Keep(ns, id, bundle);
          if (!kept.ok())
            base::LogWarn("keep an exit record", {{"id", id}, {"error", kept.message()}});
        });
    return absl::OkStatus();
  }

  void StartCollector() {
    GcOptions options;
    options.schedule_delay = config_.gc.schedule_delay;
    options.startup_delay = config_.gc.startup_delay;
    options.mutation_threshold = config_.gc.mutation_threshold;
    options.deletion_threshold = config_.gc.deletion_threshold;
    options.pause_threshold = config_.gc.pause_threshold;
    collector_ = std::make_unique<GarbageCollector>(db_.get(), options);
    collector_->Register(images_.get());
    collector_->Register(containers_.get());
    collector_->Register(leases_.get());
    collector_->Register(sandboxes_.get());
    collector_->Register(content_->gc_participant());
    collector_->Register(snapshots_.get());
    collector_->Start();
  }

  void OpenFsck() {
    FsckDeps deps;
    deps.db = db_.get();
    deps.root = config_.root;
    deps.state = config_.state;
    deps.local_snapshotters = snapshotter::DriverNames();
    deps.shims = [this] {
      std::vector<KnownShim> known;
      for (const auto& shim : shims_->ListAll()) {
        known.push_back({shim->ns(), shim->id(), shim->bootstrap().address});
      }
      return known;
    };
    deps.networks = [this] { return NetworkFindings(); };
    fsck_ = std::make_unique<Fsck>(std::move(deps));
  }

  absl::StatusOr<std::vector<NetworkFinding>> NetworkFindings() {
    GANTRY_ASSIGN_OR_RETURN(std::vector<NetworkObject> objects, networks_->Audit());
    std::vector<NetworkFinding> findings;
    for (const NetworkObject& object : objects) {
      findings.push_back({object.kind, object.name, object.problem,
                          [this, object] { return networks_->Repair(object); }});
    }
    return findings;
  }

  absl::Status OpenTransfer() {
    TransferDeps deps;
    deps.db = db_.get();
    deps.content = content_.get();
    deps.images = images_.get();
    deps.leases = leases_.get();
    deps.snapshots = snapshots_.get();
    deps.config.temp_dir = absl::StrCat(config_.state, "/tmp");
    deps.streams = &streams_;
    deps.config.default_snapshotter = config_.default_snapshotter;
    deps.config.hosts_dir = config_.registry_config_path;
    transferrer_ = std::make_unique<Transferrer>(std::move(deps));
    return transferrer_->Recover();
  }

  absl::Status OpenDoors() {
    std::vector<std::unique_ptr<grpc::Service>> services;
    services.push_back(MakeNamespacesService(namespaces_.get()));
    services.push_back(MakeImagesService(images_.get(), collector_.get()));
    services.push_back(MakeContainersService(containers_.get()));
    services.push_back(MakeLeasesService(leases_.get(), collector_.get()));
    services.push_back(MakeContentService(content_.get()));
    services.push_back(MakeDiffService(differ_.get()));
    services.push_back(MakeSnapshotsService(snapshots_.get()));
    services.push_back(MakeTasksService(tasks_.get()));
    services.push_back(MakeEventsService(events_.get()));
    services.push_back(MakeEventHistoryService(events_.get()));
    services.push_back(MakeStreamingService(&streams_));
    services.push_back(MakeTransferService(transferrer_.get()));
    services.push_back(MakeRegistryService(config_.registry_config_path));
    services.push_back(MakeSandboxStoreService(sandboxes_.get()));
    services.push_back(MakeSandboxControllerService(sandbox_controller_.get()));
    services.push_back(MakeIntrospectionService(introspection_.get()));
    services.push_back(MakeVersionService());
    services.push_back(MakeMaintenanceService(fsck_.get()));
    services.push_back(MakeExitsService(exits_.get()));
    services.push_back(MakeLifecycleService(lifecycle_.get()));
    services.push_back(MakeVolumesService(volumes_.get()));
    services.push_back(MakeNetworksService(networks_.get()));
    GrpcServerOptions options;
    options.address = config_.grpc.address;
    options.uid = config_.grpc.uid;
    options.gid = config_.grpc.gid;
    options.max_recv_message_size = config_.grpc.max_recv_message_size;
    options.max_send_message_size = config_.grpc.max_send_message_size;
    GANTRY_ASSIGN_OR_RETURN(grpc_, GrpcServer::Start(options, std::move(services)));
    return absl::OkStatus();
  }

  absl::Status StartMetrics() {
    if (config_.metrics_address.empty()) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(
        metrics_, MetricsServer::Start(config_.metrics_address, [this] {
          std::vector<Metric> metrics = ProcessMetrics();
          metrics.push_back({"gantry_shims", "Shims that gantryd is connected to.", "gauge",
                             static_cast<double>(shims_->ListAll().size())});
          metrics.push_back({"gantry_events_total", "Number of the newest event.", "counter",
                             static_cast<double>(events_->last())});
          return metrics;
        }));
    return absl::OkStatus();
  }

  std::string TtrpcAddress() const {
    return config_.ttrpc_address.empty() ? config_.grpc.address + ".ttrpc" : config_.ttrpc_address;
  }

  // Beside our own binary unless the configuration says otherwise.
  std::string ShimPath() const {
    if (!config_.shim_path.empty()) return config_.shim_path;
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self);
    absl::string_view path(self, length > 0 ? static_cast<size_t>(length) : 0);
    return absl::StrCat(path.substr(0, path.rfind('/')), "/gantry-shim");
  }

  Config config_;
  base::UniqueFd lock_;
  std::unique_ptr<Db> db_;
  std::unique_ptr<EventHub> events_;
  std::unique_ptr<NamespaceStore> namespaces_;
  std::unique_ptr<ImageStore> images_;
  std::unique_ptr<ContainerStore> containers_;
  std::unique_ptr<LeaseStore> leases_;
  std::unique_ptr<SandboxStore> sandboxes_;
  std::unique_ptr<ContentStore> content_;
  std::unique_ptr<Differ> differ_;
  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<ExitStore> exits_;
  std::unique_ptr<ShimManager> shims_;
  std::unique_ptr<TaskManager> tasks_;
  std::unique_ptr<SandboxController> sandbox_controller_;
  std::unique_ptr<VolumeManager> volumes_;
  std::unique_ptr<NetworkManager> networks_;
  std::unique_ptr<LifecycleManager> lifecycle_;
  std::unique_ptr<Introspection> introspection_;
  std::unique_ptr<TtrpcEventServer> ttrpc_events_;
  std::unique_ptr<GarbageCollector> collector_;
  StreamManager streams_;
  std::unique_ptr<Transferrer> transferrer_;
  std::unique_ptr<Fsck> fsck_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<MetricsServer> metrics_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const Config& config) {
  auto daemon = std::make_unique<DaemonImpl>(config);
  GANTRY_RETURN_IF_ERROR(daemon->Start());
  return daemon;
}

}  // namespace gantry::services
