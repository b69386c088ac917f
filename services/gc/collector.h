#ifndef GANTRY_SERVICES_GC_COLLECTOR_H_
#define GANTRY_SERVICES_GC_COLLECTOR_H_

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "services/gc/graph.h"
#include "services/metadata/db.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// The knobs of containerd's plugin io.containerd.gc.v1.scheduler.
struct GcOptions {
  // A collection follows a change that may have left garbage after this time.
  absl::Duration schedule_delay = absl::Milliseconds(100);
  // The first one after Start(), for what an earlier life left. Infinite: none.
  absl::Duration startup_delay = absl::Seconds(1);
  // Automatic collections take at most this part of the time (at most 0.5; 0: no such limit).
  double pause_threshold = 0.02;
  // After so many changes that may have left garbage one follows whatever pause_threshold says. 0:
  // never.
  int deletion_threshold = 0;
  // One also follows after so many changes with events since the last (something may have expired).
  // 0: none.
  int mutation_threshold = 100;
};

struct GcStats {
  size_t seen = 0;
  size_t removed = 0;
  absl::Duration elapsed;
  // Of that, how long no other change could be made.
  absl::Duration locked;
};

// Removes what no root reaches; see services/metadata/gc.h for the rules. Thread-safe after
// Start().
class GarbageCollector : public GcRunner {
 public:
  // `db` must outlive it.
  explicit GarbageCollector(Db* db, GcOptions options = {});
  // Waits for a collection that runs.
  ~GarbageCollector() override;

  // Before Start(). The participant must outlive the collector.
  void Register(GcParticipant* participant);

  // Listens to the commits of the database and collects in a thread of its own from now on.
  void Start();
  // Ends the thread; RunNow() fails with Unavailable from then on. For an orderly shutdown: the
  // participants may be destroyed afterwards. Idempotent.
  void Stop();

  void Schedule() override;
  // FailedPrecondition before Start().
  absl::Status RunNow() override;

  // One collection in the calling thread. For tests and tools; not beside Start().
  absl::StatusOr<GcStats> Collect();

  // Called between the marking and the removal. For tests.
  void set_after_mark(absl::AnyInvocable<void()> hook) { after_mark_ = std::move(hook); }

 private:
  absl::Status VisitRecord(size_t participant, absl::string_view table, absl::string_view rest,
                           absl::string_view value, bool late, GcGraph* graph) const;
  absl::Status Mark(const ReadView& view, GcGraph* graph) const;
  absl::Status AddChanges(const Tx& tx, const std::vector<std::string>& keys, GcGraph* graph) const;
  void Loop();
  void OnCommit(const CommitInfo& info);
  absl::Time NextRun() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Due() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Db* const db_;
  const GcOptions options_;
  std::vector<GcParticipant*> participants_;
  absl::flat_hash_map<std::string, size_t> owners_;  // of tables
  absl::AnyInvocable<void()> after_mark_;

  absl::Mutex mu_;
  absl::CondVar cv_;
  std::thread thread_;
  bool running_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t requested_ ABSL_GUARDED_BY(mu_) = 0;  // calls of RunNow()
  uint64_t answered_ ABSL_GUARDED_BY(mu_) = 0;   // … of which so many are covered
  absl::Status last_status_ ABSL_GUARDED_BY(mu_);
  absl::Time scheduled_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Time not_before_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  int mutations_ ABSL_GUARDED_BY(mu_) = 0;
  int deletions_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_GC_COLLECTOR_H_
