#ifndef GANTRY_SNAPSHOTTER_TESTING_SUITE_H_
#define GANTRY_SNAPSHOTTER_TESTING_SUITE_H_

// What every snapshotter must do, whatever is in between: a driver with records in memory, the
// snapshot service in C++, or a socket behind which any implementation of the API sits (containerd
// too, so each case is known to be true of the original). Needs root: it mounts.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mount.h"
#include "snapshotter/driver.h"

namespace gantry::snapshotter::testing {

using Labels = std::map<std::string, std::string>;

struct Info {
  std::string name;
  std::string parent;
  std::string kind;  // "active", "view", "committed"
  absl::Time created;
  absl::Time updated;
  Labels labels;
};

// A snapshotter with names, as a client sees it.
class Subject {
 public:
  virtual ~Subject() = default;
  using Mounts = std::vector<base::Mount>;

  virtual absl::StatusOr<Mounts> Prepare(const std::string& key, const std::string& parent,
                                         const Labels& labels = {}) = 0;
  virtual absl::StatusOr<Mounts> View(const std::string& key, const std::string& parent) = 0;
  virtual absl::StatusOr<Mounts> GetMounts(const std::string& key) = 0;
  virtual absl::Status Commit(const std::string& name, const std::string& key,
                              const Labels& labels = {}) = 0;
  virtual absl::Status Remove(const std::string& key) = 0;
  virtual absl::StatusOr<Info> Stat(const std::string& key) = 0;
  virtual absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& paths) = 0;
  virtual absl::StatusOr<Usage> GetUsage(const std::string& key) = 0;
  virtual absl::StatusOr<std::vector<Info>> Walk(const std::vector<std::string>& filters) = 0;
};

// Makes a fresh, empty subject that keeps its files below `root` (which may be ignored when they
// are elsewhere). Fails the test when it cannot; nullptr with `*skip` set skips it.
using Factory = std::function<absl::StatusOr<std::unique_ptr<Subject>>(const std::string& root)>;

// Registers all cases under "NAME.CASE". Call it before RUN_ALL_TESTS, for example to initialise a
// static variable.
int RegisterSnapshotterSuite(const std::string& name, Factory factory);

// `driver` with records in memory: the least that a driver needs to pass the suite. Knows no
// filters beyond kind==X and no field masks beyond labels.
std::unique_ptr<Subject> MakeMemorySubject(std::unique_ptr<Driver> driver);

}  // namespace gantry::snapshotter::testing

#endif  // GANTRY_SNAPSHOTTER_TESTING_SUITE_H_
