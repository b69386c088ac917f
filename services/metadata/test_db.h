#ifndef GANTRY_SERVICES_METADATA_TEST_DB_H_
#define GANTRY_SERVICES_METADATA_TEST_DB_H_

// A database in a directory of its own, for tests. Removed with the object.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/ids.h"
#include "services/metadata/db.h"

namespace gantry::services {

class TestDb {
 public:
  TestDb() {
    const char* tmp = std::getenv("TMPDIR");
    dir_ = absl::StrCat(tmp != nullptr ? tmp : "/tmp", "/gantry-db-", base::RandomHex(6));
    Reopen();
  }
  ~TestDb() {
    db_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  TestDb(const TestDb&) = delete;
  TestDb& operator=(const TestDb&) = delete;

  // Closes and opens again, as a restart does. Every store over the old one is then invalid.
  void Reopen() {
    db_.reset();
    absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(dir_);
    if (!db.ok()) {
      fprintf(stderr, "cannot open the test database: %s\n", db.status().ToString().c_str());
      abort();
    }
    db_ = *std::move(db);
    db_->AddCommitListener([this](const CommitInfo& info) {
      for (const NumberedEvent& event : info.events) events_.push_back(event.envelope);
    });
  }

  Db* get() const { return db_.get(); }
  Db* operator->() const { return db_.get(); }

  // What was published since the last call, as "namespace topic".
  std::vector<std::string> TakeTopics() {
    std::vector<std::string> topics;
    for (const auto& event : std::exchange(events_, {})) {
      topics.push_back(absl::StrCat(event.namespace_(), " ", event.topic()));
    }
    return topics;
  }
  const std::vector<containerd::types::Envelope>& events() const { return events_; }

 private:
  std::string dir_;
  std::unique_ptr<Db> db_;
  std::vector<containerd::types::Envelope> events_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_TEST_DB_H_
