#include "services/metadata/db.h"

#include <algorithm>
#include <deque>
#include <set>
#include <shared_mutex>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/log.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/options.h"
#include "rocksdb/table.h"
#include "rocksdb/utilities/write_batch_with_index.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

rocksdb::Slice ToSlice(absl::string_view view) { return {view.data(), view.size()}; }
absl::string_view ToView(rocksdb::Slice slice) { return {slice.data(), slice.size()}; }

std::string LastEventKey() { return Key({kTableConfig, "last-event"}); }

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  return absl::InternalError(message);
}

absl::Status OpenError(const rocksdb::Status& status, const std::string& path) {
  if (status.IsIOError() && absl::StrContains(status.ToString(), "lock")) {
    return absl::UnavailableError(
        absl::StrCat("metadata database ", path,
                     " is in use by another process: stop the other gantryd, or give this one its "
                     "own --root (",
                     status.ToString(), ")"));
  }
  if (status.IsCorruption() || status.IsInvalidArgument()) {
    return absl::DataLossError(
        absl::StrCat("metadata database ", path, " is damaged (", status.ToString(),
                     "): restore it from a backup, or move the directory away and start again with "
                     "an empty one; running containers are then no longer known"));
  }
  return FromRocks(status, absl::StrCat("open metadata database ", path));
}

// It could not be opened again after a failure.
absl::Status Closed(const std::string& path) {
  return absl::UnavailableError(absl::StrCat("metadata database ", path,
                                             " is closed since a write failed: see the log, free "
                                             "or repair the disk of --root"));
}

rocksdb::Options MakeOptions(const DbOptions& options) {
  rocksdb::Options rocks;
  rocks.create_if_missing = true;
  rocks.paranoid_checks = true;
  // The only mode that never replays what lies behind a gap. (It rules out recycled log files.)
  rocks.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  rocks.write_buffer_size = options.write_buffer_bytes;
  rocks.max_write_buffer_number = 2;
  rocks.max_background_jobs = 1;
  rocks.max_total_wal_size = 8u << 20;
  rocks.target_file_size_base = 4u << 20;
  rocks.max_open_files = 32;
  rocks.compression = rocksdb::kNoCompression;
  rocks.info_log_level = rocksdb::WARN_LEVEL;
  rocks.keep_log_file_num = 2;
  rocks.max_log_file_size = 1u << 20;
  rocks.stats_dump_period_sec = 0;
  rocks.stats_persist_period_sec = 0;
  rocks.avoid_unnecessary_blocking_io = true;
  rocks.arena_block_size = 64u << 10;
  rocks.writable_file_max_buffer_size = 64u << 10;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes, /*num_shard_bits=*/0);
  table.cache_index_and_filter_blocks = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.checksum = rocksdb::kXXH3;
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return rocks;
}

// Calls `fn` for what `it` has below `prefix`.
absl::Status ScanIterator(rocksdb::Iterator* it, absl::string_view prefix, ReadView::ScanFn fn) {
  for (it->Seek(ToSlice(prefix)); it->Valid(); it->Next()) {
    absl::string_view key = ToView(it->key());
    if (!absl::StartsWith(key, prefix)) break;
    if (!fn(key.substr(prefix.size()), ToView(it->value()))) return absl::OkStatus();
  }
  return FromRocks(it->status(), "scan metadata");
}

class SnapshotView : public ReadView {
 public:
  explicit SnapshotView(rocksdb::DB* db) : db_(db), snapshot_(db->GetSnapshot()) {
    options_.snapshot = snapshot_;
  }
  ~SnapshotView() override { db_->ReleaseSnapshot(snapshot_); }

  absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) const override {
    std::string value;
    rocksdb::Status status = db_->Get(options_, ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    GANTRY_RETURN_IF_ERROR(FromRocks(status, "read metadata"));
    return std::optional<std::string>(std::move(value));
  }

  absl::Status Scan(absl::string_view prefix, ScanFn fn) const override {
    std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options_));
    return ScanIterator(it.get(), prefix, fn);
  }

 private:
  rocksdb::DB* db_;
  const rocksdb::Snapshot* snapshot_;
  rocksdb::ReadOptions options_;
};

class BatchTx : public Tx {
 public:
  explicit BatchTx(rocksdb::DB* db)
      : db_(db), batch_(rocksdb::BytewiseComparator(), 0, /*overwrite_key=*/true) {}

  absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) const override {
    std::string value;
    rocksdb::Status status = batch_.GetFromBatchAndDB(db_, {}, ToSlice(key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    GANTRY_RETURN_IF_ERROR(FromRocks(status, "read metadata"));
    return std::optional<std::string>(std::move(value));
  }

  absl::Status Scan(absl::string_view prefix, ScanFn fn) const override {
    std::unique_ptr<rocksdb::Iterator> it(batch_.NewIteratorWithBase(db_->NewIterator({})));
    return ScanIterator(it.get(), prefix, fn);
  }

  void Put(absl::string_view key, absl::string_view value) override {
    Note(batch_.Put(ToSlice(key), ToSlice(value)));
    keys_.emplace(key);
  }

  void Delete(absl::string_view key) override {
    Note(batch_.Delete(ToSlice(key)));
    keys_.emplace(key);
  }

  void AddEnvelope(containerd::types::Envelope envelope) override {
    events_.push_back({0, std::move(envelope)});
  }

  void MarkDirty() override { dirty_ = true; }

  // Gives the events their numbers and puts them into the batch.
  void NumberEvents(uint64_t* last) {
    if (events_.empty()) return;
    for (NumberedEvent& event : events_) {
      event.sequence = ++*last;
      PutProto(Key({kTableEvents, EventKeyNumber(event.sequence)}), event.envelope);
    }
    Put(LastEventKey(), EventKeyNumber(*last));
  }

  bool empty() const { return keys_.empty() && events_.empty() && !dirty_; }
  const rocksdb::Status& status() const { return status_; }
  rocksdb::WriteBatch* batch() { return batch_.GetWriteBatch(); }
  const std::set<std::string>& keys() const { return keys_; }
  CommitInfo TakeInfo() { return {std::move(events_), dirty_}; }

 private:
  void Note(const rocksdb::Status& status) {
    if (status_.ok()) status_ = status;
  }

  rocksdb::DB* db_;
  mutable rocksdb::WriteBatchWithIndex batch_;
  rocksdb::Status status_;
  std::set<std::string> keys_;
  std::vector<NumberedEvent> events_;
  bool dirty_ = false;
};

}  // namespace

absl::StatusOr<bool> ReadView::Exists(absl::string_view key) const {
  GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> value, Get(key));
  return value.has_value();
}

absl::StatusOr<bool> ReadView::AnyWith(absl::string_view prefix) const {
  bool any = false;
  GANTRY_RETURN_IF_ERROR(Scan(prefix, [&](absl::string_view, absl::string_view) {
    any = true;
    return false;
  }));
  return any;
}

absl::Status ReadView::BadRecord(absl::string_view key) {
  return absl::DataLossError(absl::StrCat("metadata record ", absl::StrJoin(SplitKey(key), "/"),
                                          " cannot be parsed: the database is damaged or was "
                                          "written by a newer version"));
}

void Tx::AddEvent(absl::string_view ns, absl::string_view topic,
                  const google::protobuf::Message& event) {
  containerd::types::Envelope envelope;
  base::SetTimestamp(envelope.mutable_timestamp(), absl::Now());
  envelope.set_namespace_(std::string(ns));
  envelope.set_topic(std::string(topic));
  envelope.mutable_event()->set_type_url(event.GetDescriptor()->full_name());
  event.SerializeToString(envelope.mutable_event()->mutable_value());
  AddEnvelope(std::move(envelope));
}

// Lock order: update_mu before state_mu. update_mu is held while one updater computes and its batch
// goes into the log buffer and the memory table; state_mu only for a few assignments.
struct Db::Impl {
  std::string path;
  DbOptions options;
  // Shared while `rocks` is used; exclusive, which is only tried and never waited for, while it is
  // replaced after a failure, when alone it can be null. So an Update() within a View() is fine.
  std::shared_mutex rocks_mu;
  std::unique_ptr<rocksdb::DB> rocks;

  absl::Mutex update_mu;
  uint64_t last_event ABSL_GUARDED_BY(update_mu) = 0;

  absl::Mutex state_mu;
  absl::CondVar synced_cv;
  uint64_t committed ABSL_GUARDED_BY(state_mu) = 0;  // number of commits in the log
  uint64_t synced ABSL_GUARDED_BY(state_mu) = 0;     // … of which so many are on disk
  bool syncing ABSL_GUARDED_BY(state_mu) = false;
  absl::Status broken ABSL_GUARDED_BY(state_mu);  // the first write failure, until Recover()
  absl::Time next_recovery ABSL_GUARDED_BY(state_mu) = absl::InfinitePast();
  uint64_t published_last_event ABSL_GUARDED_BY(state_mu) = 0;
  std::vector<Journal*> journals ABSL_GUARDED_BY(state_mu);

  struct Delivery {
    uint64_t commit;
    bool wait_for_sync;
    CommitInfo info;
  };
  std::deque<Delivery> deliveries ABSL_GUARDED_BY(state_mu);
  bool delivering ABSL_GUARDED_BY(state_mu) = false;
  std::vector<std::function<void(const CommitInfo&)>> listeners;

  absl::Status OpenRocks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(update_mu);
  absl::Status Recover() ABSL_EXCLUSIVE_LOCKS_REQUIRED(update_mu);
  absl::StatusOr<uint64_t> Commit(BatchTx* tx, Durability durability)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(update_mu);
  absl::Status Sync(uint64_t commit) ABSL_LOCKS_EXCLUDED(state_mu);
  void Deliver() ABSL_LOCKS_EXCLUDED(state_mu);
};

absl::Status Db::Impl::OpenRocks() {
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(MakeOptions(options), path, &opened);
  if (!status.ok()) return OpenError(status, path);
  rocks.reset(opened);
  std::string last;
  status = rocks->Get({}, LastEventKey(), &last);
  if (status.IsNotFound()) return absl::OkStatus();
  if (!status.ok()) return OpenError(status, path);
  GANTRY_ASSIGN_OR_RETURN(last_event, ParseEventKeyNumber(last));
  absl::MutexLock lock(&state_mu);
  published_last_event = last_event;
  return absl::OkStatus();
}

// OK at once while nothing is broken. Otherwise opens the database anew: RocksDB then writes what
// the log holds to a table on the disk and begins another log.
absl::Status Db::Impl::Recover() {
  absl::Status failure;
  {
    absl::MutexLock lock(&state_mu);
    if (broken.ok()) return absl::OkStatus();
    failure = base::Annotate(broken,
                             "metadata database takes no changes since a write failed (free or "
                             "repair the disk of --root)");
    if (absl::Now() < next_recovery) return failure;
    next_recovery = absl::Now() + absl::Seconds(1);
  }
  if (!rocks_mu.try_lock()) return failure;  // somebody reads
  rocks.reset();
  absl::Status opened = OpenRocks();
  rocks_mu.unlock();
  if (!opened.ok()) {
    base::LogWarn("the metadata database still takes no changes",
                  {{"path", path}, {"error", opened.ToString()}});
    return failure;
  }
  base::LogInfo("the metadata database takes changes again", {{"path", path}});
  absl::MutexLock lock(&state_mu);
  broken = absl::OkStatus();
  synced = committed;
  synced_cv.SignalAll();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Db::Impl::Commit(BatchTx* tx, Durability durability) {
  uint64_t event = last_event;
  tx->NumberEvents(&event);
  GANTRY_RETURN_IF_ERROR(FromRocks(tx->status(), "prepare metadata change"));
  absl::Status written =
      FromRocks(rocks->Write(rocksdb::WriteOptions(), tx->batch()), "write metadata");
  absl::MutexLock lock(&state_mu);
  if (!written.ok()) {
    if (broken.ok()) broken = written;
    return written;
  }
  last_event = event;
  published_last_event = event;
  ++committed;
  for (Journal* journal : journals) {
    journal->keys_.insert(journal->keys_.end(), tx->keys().begin(), tx->keys().end());
  }
  CommitInfo info = tx->TakeInfo();
  if (info.dirty || !info.events.empty()) {
    deliveries.push_back({committed, durability == Durability::kSync, std::move(info)});
  }
  return committed;
}

// Whoever finds nobody syncing does it for all commits so far; the others wait, and find their
// commit covered or the next of them leads.
absl::Status Db::Impl::Sync(uint64_t commit) {
  absl::MutexLock lock(&state_mu);
  while (synced < commit) {
    if (!broken.ok()) return broken;
    if (syncing) {
      synced_cv.Wait(&state_mu);
      continue;
    }
    syncing = true;
    uint64_t target = committed;
    state_mu.Unlock();
    absl::Status status;
    {
      std::shared_lock<std::shared_mutex> use(rocks_mu);
      status = FromRocks(rocks->SyncWAL(), "sync metadata");
    }
    state_mu.Lock();
    syncing = false;
    if (status.ok()) {
      synced = std::max(synced, target);
    } else if (broken.ok()) {
      broken = status;
    }
    synced_cv.SignalAll();
  }
  return absl::OkStatus();
}

void Db::Impl::Deliver() {
  absl::MutexLock lock(&state_mu);
  if (delivering) return;
  delivering = true;
  while (!deliveries.empty()) {
    // The thread that syncs this commit comes here afterwards.
    if (deliveries.front().wait_for_sync && deliveries.front().commit > synced) break;
    Delivery delivery = std::move(deliveries.front());
    deliveries.pop_front();
    state_mu.Unlock();
    for (const auto& listener : listeners) listener(delivery.info);
    state_mu.Lock();
  }
  delivering = false;
}

Db::Db(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Db::~Db() {
  if (impl_->rocks == nullptr) return;
  rocksdb::Status flushed = impl_->rocks->Flush(rocksdb::FlushOptions());
  rocksdb::Status closed = impl_->rocks->Close();
  for (const rocksdb::Status& status : {flushed, closed}) {
    // Nothing is lost: what was not flushed is read from the log at the next start.
    if (!status.ok()) {
      base::LogWarn("closing the metadata database failed",
                    {{"path", impl_->path}, {"error", status.ToString()}});
    }
  }
}

absl::StatusOr<std::unique_ptr<Db>> Db::Open(const std::string& path, DbOptions options) {
  GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(path, 0700));
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->options = options;
  {
    absl::MutexLock update(&impl->update_mu);
    GANTRY_RETURN_IF_ERROR(impl->OpenRocks());
  }
  return std::unique_ptr<Db>(new Db(std::move(impl)));
}

absl::Status Db::View(absl::FunctionRef<absl::Status(const ReadView&)> fn) const {
  std::shared_lock<std::shared_mutex> use(impl_->rocks_mu);
  if (impl_->rocks == nullptr) return Closed(impl_->path);
  SnapshotView view(impl_->rocks.get());
  return fn(view);
}

absl::Status Db::Update(Durability durability, absl::FunctionRef<absl::Status(Tx&)> fn) {
  absl::StatusOr<uint64_t> commit;
  {
    absl::MutexLock lock(&impl_->update_mu);
    GANTRY_RETURN_IF_ERROR(impl_->Recover());
    std::shared_lock<std::shared_mutex> use(impl_->rocks_mu);
    if (impl_->rocks == nullptr) return Closed(impl_->path);
    BatchTx tx(impl_->rocks.get());
    GANTRY_RETURN_IF_ERROR(fn(tx));
    if (tx.empty()) return absl::OkStatus();
    commit = impl_->Commit(&tx, durability);
  }
  GANTRY_RETURN_IF_ERROR(commit.status());
  if (durability == Durability::kSync) GANTRY_RETURN_IF_ERROR(impl_->Sync(*commit));
  impl_->Deliver();
  return absl::OkStatus();
}

void Db::AddCommitListener(std::function<void(const CommitInfo&)> listener) {
  impl_->listeners.push_back(std::move(listener));
}

uint64_t Db::last_event() const {
  absl::MutexLock lock(&impl_->state_mu);
  return impl_->published_last_event;
}

std::unique_ptr<Db::Journal> Db::StartJournal() const {
  auto journal = std::unique_ptr<Journal>(new Journal(impl_.get()));
  absl::MutexLock lock(&impl_->state_mu);
  impl_->journals.push_back(journal.get());
  return journal;
}

Db::Journal::~Journal() {
  absl::MutexLock lock(&db_->state_mu);
  std::erase(db_->journals, this);
}

std::vector<std::string> Db::Journal::Keys() const {
  absl::MutexLock lock(&db_->state_mu);
  std::set<std::string> unique(keys_.begin(), keys_.end());
  return {unique.begin(), unique.end()};
}

}  // namespace gantry::services
