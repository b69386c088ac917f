#ifndef GANTRY_SNAPSHOTTER_TESTING_CASES_H_
#define GANTRY_SNAPSHOTTER_TESTING_CASES_H_

// Inside of the suite.

#include <string>
#include <vector>

#include "snapshotter/testing/suite.h"

namespace gantry::snapshotter::testing {

struct Env {
  Subject& subject;
  std::string work;  // an empty directory for mount points
};

struct Case {
  const char* name;
  void (*run)(Env& env);
};

const std::vector<Case>& RecordCases();
const std::vector<Case>& FileCases();

// Mounted on a directory of its own while it exists.
class Mounted {
 public:
  Mounted(const Env& env, const absl::StatusOr<std::vector<base::Mount>>& mounts);
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  bool ok() const { return ok_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool ok_ = false;
};

// Prepares on `parent`, lets `fill` write into the mount, unmounts, commits as `name`.
void Layer(Env& env, const std::string& name, const std::string& parent,
           const std::function<void(const Mounted&)>& fill);

void Write(const std::string& path, const std::string& content, unsigned mode = 0644);
std::string Read(const std::string& path);  // "<missing>" if there is none

}  // namespace gantry::snapshotter::testing

#endif  // GANTRY_SNAPSHOTTER_TESTING_CASES_H_
