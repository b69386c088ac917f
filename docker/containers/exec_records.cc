#include "docker/containers/exec_records.h"

#include "absl/strings/str_cat.h"
#include "base/ids.h"

namespace gantry::docker {
namespace {

constexpr size_t kHalf = 32;
constexpr size_t kMaxRecords = 8192;

}  // namespace

std::string MakeExecId(const std::string& container) {
  return absl::StrCat(base::RandomHex(kHalf / 2), container.substr(0, kHalf));
}

std::string ContainerOfExec(const std::string& exec_id) {
  bool good = exec_id.size() == 2 * kHalf &&
              exec_id.find_first_not_of("0123456789abcdef") == std::string::npos;
  return good ? exec_id.substr(kHalf) : "";
}

void ExecRecords::Put(const ExecRecord& record) {
  absl::MutexLock lock(&mutex_);
  if (!records_.contains(record.id)) by_age_[next_++] = record.id;
  records_[record.id] = record;
  if (records_.size() <= kMaxRecords) return;
  records_.erase(by_age_.begin()->second);
  by_age_.erase(by_age_.begin());
}

std::optional<ExecRecord> ExecRecords::Find(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  auto found = records_.find(id);
  if (found == records_.end()) return std::nullopt;
  return found->second;
}

void ExecRecords::SetRunning(const std::string& id, uint32_t pid) {
  absl::MutexLock lock(&mutex_);
  auto found = records_.find(id);
  if (found == records_.end() || found->second.exit_code) return;
  found->second.running = true;
  found->second.pid = pid;
}

void ExecRecords::SetExited(const std::string& id, uint32_t exit_code) {
  absl::MutexLock lock(&mutex_);
  auto found = records_.find(id);
  if (found == records_.end()) return;
  found->second.running = false;
  found->second.pid = 0;
  found->second.exit_code = exit_code;
}

void ExecRecords::SetStreamEnded(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  auto found = records_.find(id);
  if (found != records_.end()) found->second.stream_ended = true;
}

void ExecRecords::AwaitExit(const std::string& id, absl::Duration patience) {
  auto ended = [this, &id]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    auto found = records_.find(id);
    return found == records_.end() || found->second.exit_code.has_value();
  };
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&ended), patience);
}

StringList ExecRecords::OfContainer(const std::string& container) {
  absl::MutexLock lock(&mutex_);
  StringList ids;
  for (const auto& [id, record] : records_) {
    if (record.container == container && record.running) ids.push_back(id);
  }
  return ids;
}

}  // namespace gantry::docker
