#include "services/lifecycle/manager.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "containerd/events/container.pb.h"
#include "containerd/events/task.pb.h"
#include "services/metadata/container_store.h"

namespace gantry::services {

absl::StatusOr<std::unique_ptr<LifecycleManager>> LifecycleManager::Open(Deps deps,
                                                                         Options options) {
  auto manager = std::make_unique<lifecycle::Manager>(deps, std::move(options));
  GANTRY_RETURN_IF_ERROR(manager->Load());
  return manager;
}

namespace lifecycle {
namespace {

const std::vector<std::string>& Topics() {
  static const auto* topics = new std::vector<std::string>{
      R"(topic=="/tasks/exit")",        R"(topic=="/tasks/oom")",
      R"(topic=="/tasks/paused")",      R"(topic=="/tasks/resumed")",
      R"(topic=="/containers/delete")", R"(topic=="/containers/update")"};
  return *topics;
}

// Whether each of `wanted` ("k" or "k=v") is among the labels.
bool HasLabels(const v1::Container& container,
               const google::protobuf::RepeatedPtrField<std::string>& wanted) {
  for (const std::string& label : wanted) {
    const size_t equals = label.find('=');
    auto found = container.labels().find(label.substr(0, equals));
    if (found == container.labels().end()) return false;
    if (equals != std::string::npos && found->second != label.substr(equals + 1)) return false;
  }
  return true;
}

bool IsNewer(const v1::Container& a, const v1::Container& b) {
  const auto& x = a.state().created_at();
  const auto& y = b.state().created_at();
  return std::make_pair(x.seconds(), x.nanos()) > std::make_pair(y.seconds(), y.nanos());
}

}  // namespace

Manager::Manager(Deps deps, Options options)
    : deps_(deps),
      options_(std::move(options)),
      files_(options_.root),
      boot_id_(BootId()),
      registry_(&pool_) {}

Manager::~Manager() {
  {
    std::lock_guard<std::mutex> lock(events_mutex_);
    subscription_.reset();
  }
  {
    std::lock_guard<std::mutex> lock(gate_->mutex);
    gate_->open = false;
  }
  loop_.Stop();
}

absl::Status Manager::Load() {
  if (!options_.attach_dir.empty())
    GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(options_.attach_dir, 0700));
  GANTRY_ASSIGN_OR_RETURN(std::vector<Stored> all, ReadAll(*deps_.db));
  for (Stored& stored : all) {
    const ContainerRecord& record = stored.container;
    v1::Container container;
    container.set_id(record.id());
    absl::StatusOr<v1::Policy> policy = PolicyOf(record);
    if (policy.ok()) {
      *container.mutable_policy() = *std::move(policy);
    } else {
      // Removed by itself through the API of containers while we were not there, or never whole.
      base::LogWarn("a container has lost its policy", {{"id", record.id()}});
    }
    *container.mutable_state() = std::move(*stored.record.mutable_state());
    container.set_image(record.image());
    container.set_snapshotter(record.snapshotter());
    container.set_snapshot_key(record.snapshot_key());
    *container.mutable_labels() = record.labels();
    absl::StatusOr<EntryPtr> entry =
        registry_.Add(stored.ns, container.id(), container.policy().name());
    if (!entry.ok()) {
      base::LogError("load a container",
                     {{"id", container.id()}, {"error", entry.status().message()}});
      continue;
    }
    for (const auto& [key, value] : record.extensions()) {
      if (key != kExtension) (*entry)->extensions[key] = value.value();
    }
    (*entry)->boot_id = stored.record.boot_id();
    (*entry)->container = std::move(container);
    (*entry)->ready = true;
  }
  return absl::OkStatus();
}

bool Manager::Exists(const std::string& ns, const std::string& id) const {
  return registry_.Get(ns, id).ok();
}

void Manager::OverrideSpec(const std::string& ns, Container* record) const {
  if (overrides_.load(std::memory_order_acquire) == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = specs_.find({ns, record->id()});
  if (found != specs_.end()) *record->mutable_spec() = found->second;
}

absl::StatusOr<v1::GetResponse> Manager::Describe(const Entry& entry) const {
  v1::GetResponse response;
  {
    std::lock_guard<std::mutex> lock(entry.mutex);
    *response.mutable_container() = entry.container;
    for (const auto& [key, value] : entry.extensions) (*response.mutable_extensions())[key] = value;
  }
  absl::StatusOr<ContainerRecord> record = deps_.containers->Get(Context{.ns = entry.ns}, entry.id);
  if (!record.ok()) return NoSuchContainer(entry.id);
  response.set_spec(std::move(*record->mutable_spec()->mutable_value()));
  return response;
}

absl::StatusOr<v1::GetResponse> Manager::Get(const std::string& ns, const std::string& id) const {
  GANTRY_ASSIGN_OR_RETURN(EntryPtr entry, registry_.Get(ns, id));
  return Describe(*entry);
}

absl::StatusOr<v1::GetResponse> Manager::Find(const std::string& ns,
                                              const std::string& name) const {
  GANTRY_ASSIGN_OR_RETURN(EntryPtr entry, registry_.Find(ns, name));
  return Describe(*entry);
}

absl::StatusOr<v1::ListResponse> Manager::List(const std::string& ns,
                                               const v1::ListRequest& request) const {
  std::vector<v1::ListResponse::Item> items;
  for (const EntryPtr& entry : registry_.List(ns)) {
    std::lock_guard<std::mutex> lock(entry->mutex);
    if (!request.all() && !IsActive(entry->container.state())) continue;
    if (!HasLabels(entry->container, request.labels())) continue;
    v1::ListResponse::Item& item = items.emplace_back();
    *item.mutable_container() = entry->container;
    for (const std::string& key : request.extensions()) {
      auto found = entry->extensions.find(key);
      if (found != entry->extensions.end()) (*item.mutable_extensions())[key] = found->second;
    }
  }
  std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    return IsNewer(a.container(), b.container());
  });
  v1::ListResponse response;
  response.mutable_containers()->Reserve(static_cast<int>(items.size()));
  for (auto& item : items) *response.add_containers() = std::move(item);
  return response;
}

v1::WaitResponse Manager::WaitAnswer(const v1::State& state) {
  v1::WaitResponse answer;
  answer.set_exit_code(state.exit_code());
  answer.set_error(state.error());
  return answer;
}

uint64_t Manager::Wait(const std::string& ns, const v1::WaitRequest& request,
                       Done<v1::WaitResponse> done) {
  absl::StatusOr<EntryPtr> found = registry_.Get(ns, request.id());
  if (!found.ok()) return done(found.status()), 0;
  const std::string& condition = request.condition();
  const bool removed = condition == "removed";
  if (!removed && !condition.empty() && condition != "not-running" && condition != "next-exit") {
    return done(absl::InvalidArgumentError(absl::StrCat("invalid condition: \"", condition, "\""))),
           0;
  }
  const EntryPtr& entry = *found;
  const uint64_t number = next_wait_++;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    waits_[number] = entry;
  }
  std::optional<absl::StatusOr<v1::WaitResponse>> at_once;
  {
    std::lock_guard<std::mutex> lock(entry->mutex);
    if (entry->gone) {
      at_once = NoSuchContainer(entry->id);
    } else if (!removed && condition != "next-exit" && !IsActive(entry->container.state())) {
      at_once = WaitAnswer(entry->container.state());
    } else {
      auto& waiters = removed ? entry->remove_waiters : entry->stop_waiters;
      waiters.push_back({number, std::move(done)});
    }
  }
  if (!at_once.has_value()) return number;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    waits_.erase(number);
  }
  done(*std::move(at_once));
  return 0;
}

void Manager::CancelWait(uint64_t number) {
  EntryPtr entry;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = waits_.find(number);
    if (found == waits_.end()) return;
    entry = found->second.lock();
    waits_.erase(found);
  }
  if (entry == nullptr) return;
  std::vector<Waiter> dropped;  // destroyed without the lock
  std::lock_guard<std::mutex> lock(entry->mutex);
  for (auto* waiters : {&entry->stop_waiters, &entry->remove_waiters}) {
    auto found = std::find_if(waiters->begin(), waiters->end(),
                              [number](const Waiter& waiter) { return waiter.number == number; });
    if (found == waiters->end()) continue;
    dropped.push_back(std::move(*found));
    waiters->erase(found);
  }
}

void Manager::Notify(std::vector<Waiter> waiters, const absl::StatusOr<v1::WaitResponse>& answer) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Waiter& waiter : waiters) waits_.erase(waiter.number);
  }
  for (Waiter& waiter : waiters) waiter.done(answer);
}

void Manager::Commit(Entry& entry, v1::State state, Durability durability,
                     std::vector<gantry::types::ObjectEvent> events) {
  Record record;
  *record.mutable_state() = state;
  record.set_boot_id(entry.boot_id);
  absl::Status written = deps_.db->Update(durability, [&](Tx& tx) -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(bool exists, tx.Exists(RecordKey(entry.ns, entry.id)));
    if (exists) tx.PutProto(RecordKey(entry.ns, entry.id), record);
    for (const auto& event : events) AddObjectEvent(tx, entry.ns, event);
    return absl::OkStatus();
  });
  if (!written.ok()) {
    base::LogError("cannot record the state of a container",
                   {{"id", entry.id}, {"error", written.message()}});
  }
  std::lock_guard<std::mutex> lock(entry.mutex);
  *entry.container.mutable_state() = std::move(state);
}

void Manager::Emit(const Entry& entry, absl::string_view action, const Attributes& more) {
  absl::Status written = deps_.db->Update(Durability::kNone, [&](Tx& tx) {
    AddObjectEvent(tx, entry.ns, ContainerEvent(entry.container, action, more));
    return absl::OkStatus();
  });
  if (!written.ok())
    base::LogError("cannot write an event", {{"id", entry.id}, {"error", written.message()}});
}

void Manager::Later(const EntryPtr& entry, absl::Duration delay,
                    std::function<void(const EntryPtr&)> work) {
  loop_.After(delay,
              [weak = std::weak_ptr<Entry>(entry), run = entry->run, work = std::move(work)] {
                EntryPtr entry = weak.lock();
                if (entry == nullptr) return;
                entry->strand->Run([entry, run, work] {
                  if (!entry->gone && entry->run == run) work(entry);
                });
              });
}

absl::Status Manager::SubscribeLocked() {
  EventSubscribeOptions options;
  options.filters = Topics();
  if (last_event_ != 0) options.after = last_event_;
  options.wake = [this] { WakeUp(); };
  GANTRY_ASSIGN_OR_RETURN(subscription_, deps_.events->Subscribe(std::move(options)));
  return absl::OkStatus();
}

void Manager::WakeUp() {
  if (wakes_.fetch_add(1) == 0) pool_.Run([this] { DrainEvents(); });
}

// One at a time, whoever wakes us meanwhile.
void Manager::DrainEvents() {
  std::lock_guard<std::mutex> lock(events_mutex_);
  int seen = 0;
  do {
    seen = wakes_.load();
    while (subscription_ != nullptr) {
      std::shared_ptr<const NumberedEvent> event = subscription_->Next();
      if (event == nullptr) break;
      last_event_ = event->sequence;
      HandleEvent(event->envelope);
    }
    if (subscription_ != nullptr && absl::IsResourceExhausted(subscription_->status())) {
      absl::Status again = SubscribeLocked();
      base::LogWarn("fell behind the events of tasks; reading on", {{"status", again.ToString()}});
      if (again.ok()) wakes_.fetch_add(1);  // what it has already must be read
    }
  } while (wakes_.fetch_sub(seen) != seen);
}

void Manager::HandleEvent(const containerd::types::Envelope& envelope) {
  const std::string& topic = envelope.topic();
  const std::string& bytes = envelope.event().value();
  auto post = [&](const std::string& id, std::function<void(const EntryPtr&)> work) {
    absl::StatusOr<EntryPtr> entry = registry_.Get(envelope.namespace_(), id);
    if (!entry.ok()) return;
    (*entry)->strand->Run([entry = *entry, work = std::move(work)] {
      if (!entry->gone) work(entry);
    });
  };
  if (topic == "/tasks/exit") {
    containerd::events::TaskExit event;
    if (!event.ParseFromString(bytes) || event.id() != event.container_id()) return;
    Exit exit{event.exit_status(), base::GetTimestamp(event.exited_at())};
    post(event.container_id(),
         [this, pid = event.pid(), exit](const EntryPtr& entry) { OnExit(entry, pid, exit); });
  } else if (topic == "/tasks/oom") {
    containerd::events::TaskOOM event;
    if (!event.ParseFromString(bytes)) return;
    post(event.container_id(), [this](const EntryPtr& entry) {
      if (!HasProcess(entry->container.state())) return;
      v1::State state = entry->container.state();
      state.set_oom_killed(true);
      Commit(*entry, state, Durability::kNone, {ContainerEvent(entry->container, "oom")});
    });
  } else if (topic == "/tasks/paused" || topic == "/tasks/resumed") {
    containerd::events::TaskPaused event;  // both have the same field
    if (!event.ParseFromString(bytes)) return;
    post(event.container_id(), [this](const EntryPtr& entry) { OnPauseEvent(entry); });
  } else if (topic == "/containers/delete") {
    containerd::events::ContainerDelete event;
    if (!event.ParseFromString(bytes)) return;
    post(event.id(), [this](const EntryPtr& entry) { OnRecordDeleted(entry); });
  } else if (topic == "/containers/update") {
    containerd::events::ContainerUpdate event;
    if (!event.ParseFromString(bytes)) return;
    post(event.id(), [this](const EntryPtr& entry) { OnRecordUpdated(entry); });
  }
}

}  // namespace lifecycle
}  // namespace gantry::services
