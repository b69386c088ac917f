#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "services/snapshots/backend.h"

namespace gantry::services {
namespace {

class LocalBackend : public Backend {
 public:
  explicit LocalBackend(std::unique_ptr<snapshotter::Driver> driver) : driver_(std::move(driver)) {}

  std::set<std::string> capabilities() const override {
    // Only layers that hold nothing of their parents can be put on others afterwards; those are the
    // ones that can be unpacked without a mount, too.
    if (driver_->name() == "overlayfs") return {"rebase", "layerdir"};
    return {};
  }

  absl::StatusOr<std::set<std::string>> Reconcile(const std::set<std::string>& known) override {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> found, driver_->List());
    std::set<std::string> missing = known;
    for (const std::string& id : found) {
      Reserve(id);
      missing.erase(id);
      if (known.contains(id)) continue;
      base::LogInfo("removing a snapshot directory that no record knows",
                    {{"snapshotter", driver_->name()}, {"id", id}});
      GANTRY_RETURN_IF_ERROR(driver_->Remove(id));
    }
    for (const std::string& id : known) Reserve(id);
    return missing;
  }

  std::string NewId(absl::string_view, absl::string_view) override {
    return absl::StrCat(next_.fetch_add(1, std::memory_order_relaxed));
  }

  absl::StatusOr<std::vector<base::Mount>> Create(const Spec& spec) override {
    GANTRY_RETURN_IF_ERROR(driver_->Create(spec));
    return driver_->Mounts(spec);
  }

  absl::StatusOr<Target> FindTarget(absl::string_view target, absl::string_view) const override {
    return absl::NotFoundError(absl::StrCat("target snapshot ", target, ": not found"));
  }

  absl::StatusOr<std::vector<base::Mount>> Mounts(const Spec& spec) const override {
    return driver_->Mounts(spec);
  }

  absl::StatusOr<Committed> Commit(const std::string& id, const std::string&, const SnapshotLabels&,
                                   std::optional<SnapshotUsage> known) override {
    GANTRY_ASSIGN_OR_RETURN(SnapshotUsage usage, driver_->Commit(id, known));
    return Committed{id, usage};
  }

  absl::StatusOr<SnapshotUsage> GetUsage(const std::string& id) const override {
    return driver_->GetUsage(id);
  }

  absl::Status Remove(const std::string& id) override { return driver_->Remove(id); }
  bool local() const override { return true; }

  absl::StatusOr<SnapshotLabels> Labels(const std::string&) const override {
    return SnapshotLabels();
  }
  absl::Status UpdateLabels(const std::string&, const SnapshotLabels&,
                            const std::vector<std::string>&) override {
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> LayerDir(const std::string& id) const override {
    return driver_->LayerDir(id);
  }
  absl::Status Sync() override { return driver_->Sync(); }
  absl::Status Cleanup() override {
    driver_->WaitForRemovals();
    return absl::OkStatus();
  }

 private:
  void Reserve(const std::string& id) {
    uint64_t number = 0;
    if (absl::SimpleAtoi(id, &number)) next_ = std::max(next_.load(), number + 1);
  }

  std::unique_ptr<snapshotter::Driver> driver_;
  std::atomic<uint64_t> next_{1};
};

}  // namespace

std::unique_ptr<Backend> MakeLocalBackend(std::unique_ptr<snapshotter::Driver> driver) {
  return std::make_unique<LocalBackend>(std::move(driver));
}

}  // namespace gantry::services
