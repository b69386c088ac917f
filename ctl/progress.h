#ifndef GANTRY_CTL_PROGRESS_H_
#define GANTRY_CTL_PROGRESS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/transfer.h"

namespace gantry::ctl {

// What a transfer does, on stderr: one bar a layer with its rate on a terminal, else one line for
// each step. Thread-safe.
class ProgressDisplay {
 public:
  explicit ProgressDisplay(bool quiet);
  ~ProgressDisplay();
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void Update(const client::Progress& progress);

 private:
  struct Item {
    std::string name;
    std::string event;
    int64_t done = 0;
    int64_t total = 0;
    int64_t first_done = 0;
    absl::Time started;
    absl::Time updated;
  };

  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Line(const Item& item) const;

  const bool quiet_;
  const bool terminal_;
  absl::Mutex mutex_;
  std::vector<Item> items_ ABSL_GUARDED_BY(mutex_);
  size_t drawn_lines_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time drawn_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

// "[=====>    ]"; empty brackets when the total is unknown.
std::string FormatBar(int64_t done, int64_t total, size_t width);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_PROGRESS_H_
