// Containers: set up, connected, disconnected, torn down.

#include "absl/strings/str_cat.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/intents.h"
#include "services/metadata/namespace_store.h"
#include "services/networks/manager_impl.h"
#include "services/networks/network_events.h"
#include "services/networks/network_settings.h"
#include "services/networks/records.h"

namespace gantry::services {
namespace {

using networks::EndpointSettings;

NetworkIntent IntentOf(const std::string& ns, const std::string& id) {
  NetworkIntent intent;
  intent.set_namespace_(ns);
  intent.set_id(id);
  return intent;
}

absl::Status NotSetUp(const std::string& id) {
  return absl::NotFoundError(absl::StrCat("container ", id, " is not set up with networks"));
}

const EndpointRecord* FindEndpoint(const SandboxRecord& record, const std::string& network_id) {
  for (const EndpointRecord& endpoint : record.endpoints()) {
    if (endpoint.endpoint().network_id() == network_id) return &endpoint;
  }
  return nullptr;
}

void EraseEndpoint(SandboxRecord* record, const std::string& network_id) {
  for (int i = 0; i < record->endpoints_size(); ++i) {
    if (record->endpoints(i).endpoint().network_id() != network_id) continue;
    record->mutable_endpoints()->DeleteSubrange(i, 1);
    record->mutable_request()->mutable_endpoints()->DeleteSubrange(i, 1);
    return;
  }
}

}  // namespace

std::string NetworkManagerImpl::NetnsPath(const std::string& ns,
                                          const std::string& container_id) const {
  return absl::StrCat(options_.state, "/netns/", ns, "/", container_id);
}

std::optional<SandboxRecord> NetworkManagerImpl::FindSandbox(const ObjectKey& key) const {
  std::lock_guard lock(mutex_);
  auto it = sandboxes_.find(key);
  if (it == sandboxes_.end()) return std::nullopt;
  return it->second;
}

networks::Sandbox NetworkManagerImpl::ToSandbox(const SandboxRecord& record) const {
  networks::Sandbox sandbox;
  sandbox.set_container_id(record.request().container_id());
  sandbox.set_netns_path(NetnsPath(record.namespace_(), record.request().container_id()));
  for (const EndpointRecord& endpoint : record.endpoints())
    *sandbox.add_endpoints() = endpoint.endpoint();
  *sandbox.mutable_ports() = record.ports();
  return sandbox;
}

absl::StatusOr<networks::Sandbox> NetworkManagerImpl::GetSandbox(const std::string& ns,
                                                                 const std::string& container_id) {
  std::optional<SandboxRecord> record = FindSandbox({ns, container_id});
  if (!record.has_value()) return NotSetUp(container_id);
  return ToSandbox(*record);
}

absl::Status NetworkManagerImpl::AddEndpoint(const std::string& ns,
                                             const EndpointSettings& settings, int netns,
                                             SandboxRecord* record, UndoList* undo) {
  NetworkPtr network;
  GANTRY_ASSIGN_OR_RETURN(EndpointRecord endpoint,
                          TakeEndpoint(ns, record->request(), settings, *record, &network));
  undo->Add([this, ns, endpoint] { GiveEndpointBack(ns, endpoint); });
  *record->add_endpoints() = endpoint;
  *record->mutable_request()->add_endpoints() = settings;
  if (endpoint.endpoint().interface().empty()) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(EnsureDevice(*network));
  bool publishes = record->request().ports_size() > 0;
  GANTRY_RETURN_IF_ERROR(Plug(*network, endpoint, publishes, netns));
  undo->Add([this, endpoint, netns] { Unplug(endpoint, netns); });
  GANTRY_RETURN_IF_ERROR(InNetns(netns, [&] { return ConfigureInside(*network, endpoint); }));
  GANTRY_RETURN_IF_ERROR(FinishPlug(*network, endpoint));
  dns_.names()->Put(endpoint.endpoint());
  undo->Add([this, endpoint] { dns_.names()->Remove(endpoint.endpoint().id()); });
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::Settle(const std::string& ns, int netns,
                                        const SandboxRecord* before, SandboxRecord* record,
                                        UndoList* undo) {
  GANTRY_RETURN_IF_ERROR(InNetns(netns, [&] { return RouteInside(ns, *record); }));
  if (record->ports().empty()) GANTRY_RETURN_IF_ERROR(TakePorts(ns, record, undo));
  std::vector<PortRule> old;
  if (before != nullptr) old = PortRules(ns, *before);
  std::vector<PortRule> now = PortRules(ns, *record);
  if (old != now) {
    GANTRY_RETURN_IF_ERROR(firewall_.RemovePorts(old));
    undo->Add([this, old, now] {
      firewall_.RemovePorts(now).IgnoreError();
      firewall_.AddPorts(old).IgnoreError();
    });
    GANTRY_RETURN_IF_ERROR(firewall_.AddPorts(now));
  }
  GANTRY_RETURN_IF_ERROR(SettleDns(ns, netns, before, *record, undo));
  return WriteFiles(ns, *record);
}

absl::Status NetworkManagerImpl::Commit(const std::string& ns, const SandboxRecord& record,
                                        const SandboxRecord* before, const IntentScope& intent) {
  GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(EnsureNamespace(tx, ns));
    PutSandbox(tx, record);
    auto tell = [&](const SandboxRecord& more, const SandboxRecord* less, const char* action) {
      for (const EndpointRecord& endpoint : more.endpoints()) {
        const std::string& id = endpoint.endpoint().network_id();
        if (less != nullptr && FindEndpoint(*less, id) != nullptr) continue;
        NetworkPtr network = NetworkOf(ns, id);
        if (network != nullptr)
          AddNetworkEvent(tx, ns, action, network->network, record.request().container_id());
      }
    };
    tell(record, before, "connect");
    if (before != nullptr) tell(*before, &record, "disconnect");
    return intent.EndIn(tx);
  }));
  std::lock_guard lock(mutex_);
  sandboxes_[{ns, record.request().container_id()}] = record;
  return absl::OkStatus();
}

absl::StatusOr<networks::Sandbox> NetworkManagerImpl::SetUp(const std::string& ns,
                                                            const networks::SetUpRequest& request) {
  GANTRY_RETURN_IF_ERROR(CheckSetUp(request));
  GANTRY_RETURN_IF_ERROR(EnsurePredefined(ns));
  const std::string& id = request.container_id();
  KeyedMutex::Lock lock(&containers_, {ns, id});
  std::optional<SandboxRecord> before = FindSandbox({ns, id});
  SandboxRecord record;
  record.set_namespace_(ns);
  *record.mutable_request() = request;
  record.mutable_request()->clear_endpoints();
  if (before.has_value()) {
    *record.mutable_request()->mutable_endpoints() = before->request().endpoints();
    *record.mutable_request()->mutable_ports() = before->request().ports();
    *record.mutable_endpoints() = before->endpoints();
    *record.mutable_ports() = before->ports();
  }
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent,
                          IntentScope::Begin(db_, kSetUpIntent, IntentOf(ns, id)));
  base::CrashPoint("network.setup.intent-written");
  std::string path = NetnsPath(ns, id);
  absl::StatusOr<base::UniqueFd> netns = OpenNetns(path);
  UndoList undo;  // its steps still need the namespace
  if (!netns.ok()) {
    netns = MakeSandboxNetns(request, path);
    GANTRY_RETURN_IF_ERROR(netns.status());
    undo.Add([path] { UnpinNetns(path).IgnoreError(); });
  }
  base::CrashPoint("network.setup.netns-pinned");
  for (const EndpointSettings& settings : request.endpoints()) {
    GANTRY_ASSIGN_OR_RETURN(NetworkPtr network, FindNetwork(ns, settings.network()));
    if (FindEndpoint(record, network->network.id()) != nullptr) continue;
    GANTRY_RETURN_IF_ERROR(AddEndpoint(ns, settings, netns->get(), &record, &undo));
  }
  base::CrashPoint("network.setup.endpoints-made");
  GANTRY_RETURN_IF_ERROR(
      Settle(ns, netns->get(), before.has_value() ? &*before : nullptr, &record, &undo));
  base::CrashPoint("network.setup.ports-open");
  GANTRY_RETURN_IF_ERROR(Commit(ns, record, before.has_value() ? &*before : nullptr, intent));
  intent.Leave();
  undo.Forget();
  return ToSandbox(record);
}

absl::StatusOr<base::UniqueFd> NetworkManagerImpl::MakeSandboxNetns(
    const networks::SetUpRequest& request, const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd netns, pool_.Take());
  if (request.sysctls_size() > 0) {
    GANTRY_RETURN_IF_ERROR(InNetns(netns.get(), [&]() -> absl::Status {
      for (const auto& [key, value] : request.sysctls())
        GANTRY_RETURN_IF_ERROR(WriteSysctl(key, value));
      return absl::OkStatus();
    }));
  }
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(path.substr(0, path.rfind('/')), 0711));
  GANTRY_RETURN_IF_ERROR(PinNetns(netns.get(), path));
  return netns;
}

absl::Status NetworkManagerImpl::Release(const std::string& ns, const SandboxRecord& record) {
  dns_.Stop(absl::StrCat(ns, "/", record.request().container_id()));
  for (const EndpointRecord& endpoint : record.endpoints())
    dns_.names()->Remove(endpoint.endpoint().id());
  GANTRY_RETURN_IF_ERROR(firewall_.RemovePorts(PortRules(ns, record)));
  std::string path = NetnsPath(ns, record.request().container_id());
  // Until the kernel has taken the namespace apart nothing in it may answer for its addresses.
  if (absl::StatusOr<base::UniqueFd> netns = OpenNetns(path); netns.ok()) {
    absl::Status silenced = InNetns(netns->get(), [&] { return Silence(record); });
    if (!silenced.ok()) base::LogDebug("silence a namespace", {{"error", silenced.message()}});
  }
  GANTRY_RETURN_IF_ERROR(UnpinNetns(path));
  for (const EndpointRecord& endpoint : record.endpoints()) GiveEndpointBack(ns, endpoint);
  ReleasePorts(record);
  return absl::OkStatus();
}

absl::Status NetworkManagerImpl::TearDown(const std::string& ns, const std::string& container_id) {
  GANTRY_RETURN_IF_ERROR(RequireNamespace(Context{.ns = ns}));
  KeyedMutex::Lock lock(&containers_, {ns, container_id});
  std::optional<SandboxRecord> record = FindSandbox({ns, container_id});
  if (!record.has_value()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent,
                          IntentScope::Begin(db_, kTearDownIntent, IntentOf(ns, container_id)));
  base::CrashPoint("network.teardown.intent-written");
  GANTRY_RETURN_IF_ERROR(Release(ns, *record));
  base::CrashPoint("network.teardown.released");
  {
    std::lock_guard state_lock(mutex_);
    sandboxes_.erase({ns, container_id});
  }
  absl::Status written = db_->Update(Durability::kNone, [&](Tx& tx) {
    DeleteSandbox(tx, ns, container_id);
    for (const EndpointRecord& endpoint : record->endpoints()) {
      NetworkPtr network = NetworkOf(ns, endpoint.endpoint().network_id());
      if (network != nullptr) AddNetworkEvent(tx, ns, "disconnect", network->network, container_id);
    }
    return intent.EndIn(tx);
  });
  if (written.ok()) intent.Leave();
  return written;
}

absl::StatusOr<networks::Sandbox> NetworkManagerImpl::Connect(
    const std::string& ns, const networks::ConnectRequest& request) {
  GANTRY_RETURN_IF_ERROR(CheckEndpoint(request.endpoint()));
  const std::string& id = request.container_id();
  KeyedMutex::Lock lock(&containers_, {ns, id});
  std::optional<SandboxRecord> before = FindSandbox({ns, id});
  if (!before.has_value())
    return base::WithCode(NotSetUp(id), absl::StatusCode::kFailedPrecondition);
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd netns, OpenNetns(NetnsPath(ns, id)));
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent,
                          IntentScope::Begin(db_, kSetUpIntent, IntentOf(ns, id)));
  SandboxRecord record = *before;
  UndoList undo;
  GANTRY_RETURN_IF_ERROR(AddEndpoint(ns, request.endpoint(), netns.get(), &record, &undo));
  GANTRY_RETURN_IF_ERROR(Settle(ns, netns.get(), &*before, &record, &undo));
  GANTRY_RETURN_IF_ERROR(Commit(ns, record, &*before, intent));
  intent.Leave();
  undo.Forget();
  return ToSandbox(record);
}

absl::Status NetworkManagerImpl::Disconnect(const std::string& ns,
                                            const networks::DisconnectRequest& request) {
  const std::string& id = request.container_id();
  KeyedMutex::Lock lock(&containers_, {ns, id});
  std::optional<SandboxRecord> before = FindSandbox({ns, id});
  if (!before.has_value())
    return base::WithCode(NotSetUp(id), absl::StatusCode::kFailedPrecondition);
  GANTRY_ASSIGN_OR_RETURN(NetworkPtr network, FindNetwork(ns, request.network()));
  const EndpointRecord* endpoint = FindEndpoint(*before, network->network.id());
  if (endpoint == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("container ", id, " is not connected to network ", network->network.name()));
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd netns, OpenNetns(NetnsPath(ns, id)));
  GANTRY_ASSIGN_OR_RETURN(IntentScope intent,
                          IntentScope::Begin(db_, kSetUpIntent, IntentOf(ns, id)));
  SandboxRecord record = *before;
  EraseEndpoint(&record, network->network.id());
  UndoList undo;
  Unplug(*endpoint, netns.get());
  GANTRY_RETURN_IF_ERROR(Settle(ns, netns.get(), &*before, &record, &undo));
  GANTRY_RETURN_IF_ERROR(Commit(ns, record, &*before, intent));
  intent.Leave();
  undo.Forget();
  dns_.names()->Remove(endpoint->endpoint().id());
  GiveEndpointBack(ns, *endpoint);
  return absl::OkStatus();
}

}  // namespace gantry::services
