#include "services/gc/collector.h"

#include <malloc.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/keys.h"

namespace gantry::services {

GarbageCollector::GarbageCollector(Db* db, GcOptions options) : db_(db), options_(options) {}

GarbageCollector::~GarbageCollector() { Stop(); }

void GarbageCollector::Register(GcParticipant* participant) {
  for (std::string& table : participant->GcTables()) {
    owners_[std::move(table)] = participants_.size();
  }
  participants_.push_back(participant);
}

absl::Status GarbageCollector::VisitRecord(size_t participant, absl::string_view table,
                                           absl::string_view rest, absl::string_view value,
                                           bool late, GcGraph* graph) const {
  graph->BeginRecord(participant, Key({table, rest}), late);
  return participants_[participant]->GcVisit({table, SplitKey(rest), value}, graph);
}

absl::Status GarbageCollector::Mark(const ReadView& view, GcGraph* graph) const {
  for (const auto& [table, participant] : owners_) {
    absl::Status visited;
    GANTRY_RETURN_IF_ERROR(
        view.Scan(KeyPrefix({table}), [&](absl::string_view rest, absl::string_view value) {
          visited = VisitRecord(participant, table, rest, value, /*late=*/false, graph);
          return visited.ok();
        }));
    GANTRY_RETURN_IF_ERROR(base::Annotate(visited, absl::StrCat("visit table ", table)));
  }
  return absl::OkStatus();
}

absl::Status GarbageCollector::AddChanges(const Tx& tx, const std::vector<std::string>& keys,
                                          GcGraph* graph) const {
  for (const std::string& key : keys) {
    const size_t end = key.find('\0');
    if (end == std::string::npos) continue;
    const absl::string_view table = absl::string_view(key).substr(0, end);
    const auto owner = owners_.find(table);
    if (owner == owners_.end()) continue;
    GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> value, tx.Get(key));
    if (!value.has_value()) {
      graph->DropRecord(key);
      continue;
    }
    GANTRY_RETURN_IF_ERROR(VisitRecord(owner->second, table, absl::string_view(key).substr(end + 1),
                                       *value,
                                       /*late=*/true, graph));
  }
  return absl::OkStatus();
}

absl::StatusOr<GcStats> GarbageCollector::Collect() {
  const absl::Time start = absl::Now();
  GcStats stats;
  GcGraph graph(start);
  // Before the view: what is written between the two is then seen twice, not missed.
  std::unique_ptr<Db::Journal> journal = db_->StartJournal();
  GANTRY_RETURN_IF_ERROR(db_->View([&](const ReadView& view) { return Mark(view, &graph); }));
  stats.seen = graph.existing();
  if (after_mark_) after_mark_();
  std::map<size_t, std::vector<GcNode>> garbage = graph.Unreached();
  if (!garbage.empty()) {
    // On the disk before anything is freed: no record may come back without its object.
    GANTRY_RETURN_IF_ERROR(db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
      const absl::Time locked = absl::Now();
      GANTRY_RETURN_IF_ERROR(AddChanges(tx, journal->Keys(), &graph));
      garbage = graph.Unreached();
      for (const auto& [participant, nodes] : garbage) {
        GANTRY_RETURN_IF_ERROR(participants_[participant]->GcRemove(tx, nodes));
      }
      stats.locked = absl::Now() - locked;
      return absl::OkStatus();
    }));
  }
  journal.reset();
  for (const auto& [participant, nodes] : garbage) {
    stats.removed += nodes.size();
    participants_[participant]->GcReclaim(nodes);
  }
  stats.elapsed = absl::Now() - start;
  return stats;
}

void GarbageCollector::Start() {
  db_->AddCommitListener([this](const CommitInfo& info) { OnCommit(info); });
  {
    absl::MutexLock lock(&mu_);
    running_ = true;
    scheduled_ = absl::Now() + options_.startup_delay;
  }
  thread_ = std::thread([this] { Loop(); });
}

void GarbageCollector::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    cv_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void GarbageCollector::OnCommit(const CommitInfo& info) {
  absl::MutexLock lock(&mu_);
  if (!info.events.empty()) ++mutations_;
  if (info.dirty) ++deletions_;
  const bool many = options_.mutation_threshold > 0 && mutations_ >= options_.mutation_threshold;
  if (!info.dirty && !many) return;
  const absl::Time when = absl::Now() + options_.schedule_delay;
  const bool urgent = options_.deletion_threshold > 0 &&
                      deletions_ >= options_.deletion_threshold && not_before_ > when;
  if (urgent) not_before_ = absl::InfinitePast();
  if (when >= scheduled_ && !urgent) return;
  scheduled_ = std::min(scheduled_, when);
  cv_.SignalAll();
}

void GarbageCollector::Schedule() {
  absl::MutexLock lock(&mu_);
  scheduled_ = std::min(scheduled_, absl::Now() + options_.schedule_delay);
  cv_.SignalAll();
}

absl::Status GarbageCollector::RunNow() {
  absl::MutexLock lock(&mu_);
  if (!running_) return absl::FailedPreconditionError("the garbage collector is not started");
  const uint64_t ticket = ++requested_;
  cv_.SignalAll();
  while (answered_ < ticket && !stopping_) cv_.Wait(&mu_);
  if (answered_ < ticket) return absl::UnavailableError("gantryd is stopping");
  return last_status_;
}

absl::Time GarbageCollector::NextRun() const { return std::max(scheduled_, not_before_); }

bool GarbageCollector::Due() const { return requested_ > answered_ || absl::Now() >= NextRun(); }

void GarbageCollector::Loop() {
  absl::MutexLock lock(&mu_);
  while (true) {
    while (!stopping_ && !Due()) cv_.WaitWithDeadline(&mu_, NextRun());
    if (stopping_) {
      cv_.SignalAll();
      return;
    }
    const uint64_t covers = requested_;
    scheduled_ = absl::InfiniteFuture();
    mutations_ = deletions_ = 0;
    mu_.Unlock();
    absl::StatusOr<GcStats> stats = Collect();
    mu_.Lock();
    // The graph of a large store is many small pieces; without this they stay with the process.
    if (stats.ok() && stats->seen > 1000) {
      mu_.Unlock();
      malloc_trim(0);
      mu_.Lock();
    }
    answered_ = covers;
    last_status_ = base::Annotate(stats.status(), "garbage collection");
    cv_.SignalAll();
    if (!stats.ok()) {
      base::LogError("garbage collection failed", {{"error", stats.status().ToString()}});
      not_before_ = absl::Now() + absl::Seconds(1);
      scheduled_ = not_before_;
      continue;
    }
    base::LogDebug("garbage collected", {{"seen", absl::StrCat(stats->seen)},
                                         {"removed", absl::StrCat(stats->removed)},
                                         {"elapsed", absl::FormatDuration(stats->elapsed)}});
    const double share = std::min(options_.pause_threshold, 0.5);
    if (share > 0) not_before_ = absl::Now() + stats->elapsed / share - stats->elapsed;
  }
}

}  // namespace gantry::services
