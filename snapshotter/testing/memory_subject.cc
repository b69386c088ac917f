#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "snapshotter/testing/suite.h"

namespace gantry::snapshotter::testing {
namespace {

class MemorySubject : public Subject {
 public:
  explicit MemorySubject(std::unique_ptr<Driver> driver) : driver_(std::move(driver)) {}

  absl::StatusOr<Mounts> Prepare(const std::string& key, const std::string& parent,
                                 const Labels& labels) override {
    return Create(key, parent, labels, Kind::kActive);
  }

  absl::StatusOr<Mounts> View(const std::string& key, const std::string& parent) override {
    return Create(key, parent, {}, Kind::kView);
  }

  absl::StatusOr<Mounts> GetMounts(const std::string& key) override {
    GANTRY_ASSIGN_OR_RETURN(Record record, Find(key));
    if (record.info.kind == "committed") return absl::FailedPreconditionError("committed");
    return driver_->Mounts(record.spec);
  }

  absl::Status Commit(const std::string& name, const std::string& key,
                      const Labels& labels) override {
    if (name.empty()) return absl::InvalidArgumentError("no name");
    if (Find(name).ok()) return absl::AlreadyExistsError(name);
    GANTRY_ASSIGN_OR_RETURN(Record record, Find(key));
    if (record.info.kind != "active") return absl::FailedPreconditionError("not active");
    GANTRY_ASSIGN_OR_RETURN(record.usage, driver_->Commit(record.spec.id, std::nullopt));
    record.info.kind = "committed";
    record.info.name = name;
    record.info.labels = labels;
    record.info.created = record.info.updated = absl::Now();
    std::lock_guard<std::mutex> lock(mutex_);
    records_.erase(key);
    records_[name] = record;
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& key) override {
    GANTRY_ASSIGN_OR_RETURN(Record record, Find(key));
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [name, other] : records_) {
      if (other.info.parent == key) return absl::FailedPreconditionError("has a child");
    }
    records_.erase(key);
    return driver_->Remove(record.spec.id);
  }

  absl::StatusOr<Info> Stat(const std::string& key) override {
    GANTRY_ASSIGN_OR_RETURN(Record record, Find(key));
    return record.info;
  }

  absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& paths) override {
    GANTRY_RETURN_IF_ERROR(Find(info.name).status());
    std::lock_guard<std::mutex> lock(mutex_);
    Info& known = records_[info.name].info;
    for (const std::string& path : paths) {
      if (path.rfind("labels.", 0) != 0) return absl::InvalidArgumentError(path);
      auto value = info.labels.find(path.substr(7));
      known.labels.erase(path.substr(7));
      if (value != info.labels.end() && !value->second.empty()) known.labels.insert(*value);
    }
    if (paths.empty()) known.labels = info.labels;
    known.updated = absl::Now();
    return known;
  }

  absl::StatusOr<Usage> GetUsage(const std::string& key) override {
    GANTRY_ASSIGN_OR_RETURN(Record record, Find(key));
    if (record.info.kind == "active") return driver_->GetUsage(record.spec.id);
    return record.usage;
  }

  absl::StatusOr<std::vector<Info>> Walk(const std::vector<std::string>& filters) override {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Info> found;
    for (const auto& [name, record] : records_) {
      bool match = filters.empty();
      for (const std::string& filter : filters) {
        match |= filter == "kind==" + record.info.kind || filter == "name==" + record.info.name ||
                 filter == "parent==" + record.info.parent;
        for (const auto& [key, value] : record.info.labels)
          match |= filter == absl::StrCat("labels.", key, "==", value);
      }
      if (match) found.push_back(record.info);
    }
    return found;
  }

 private:
  struct Record {
    Info info;
    Spec spec;
    Usage usage;
  };

  absl::StatusOr<Record> Find(const std::string& key) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto it = records_.find(key);
    if (it == records_.end()) return absl::NotFoundError(key);
    return it->second;
  }

  absl::StatusOr<Mounts> Create(const std::string& key, const std::string& parent,
                                const Labels& labels, Kind kind) {
    if (key.empty()) return absl::InvalidArgumentError("no key");
    Record record;
    absl::Time now = absl::Now();
    record.info = {key, parent, kind == Kind::kActive ? "active" : "view", now, now, labels};
    record.spec.id = absl::StrCat(next_++);
    record.spec.kind = kind;
    record.spec.labels = labels;
    if (!parent.empty()) {
      GANTRY_ASSIGN_OR_RETURN(Record above, Find(parent));
      if (above.info.kind != "committed") return absl::InvalidArgumentError("not committed");
      record.spec.parents = above.spec.parents;
      record.spec.parents.insert(record.spec.parents.begin(), above.spec.id);
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!records_.emplace(key, record).second) return absl::AlreadyExistsError(key);
    }
    GANTRY_RETURN_IF_ERROR(driver_->Create(record.spec));
    return driver_->Mounts(record.spec);
  }

  std::unique_ptr<Driver> driver_;
  std::atomic<int> next_{1};
  std::mutex mutex_;
  std::map<std::string, Record> records_;
};

}  // namespace

std::unique_ptr<Subject> MakeMemorySubject(std::unique_ptr<Driver> driver) {
  return std::make_unique<MemorySubject>(std::move(driver));
}

}  // namespace gantry::snapshotter::testing
