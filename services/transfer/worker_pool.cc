#include "services/transfer/worker_pool.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"

namespace gantry::services {

absl::Status RunParallel(int width, size_t count, const std::function<absl::Status(size_t)>& work) {
  absl::Mutex mu;
  size_t next = 0;
  absl::Status first;
  auto loop = [&] {
    while (true) {
      size_t mine = 0;
      {
        absl::MutexLock lock(&mu);
        if (!first.ok() || next == count) return;
        mine = next++;
      }
      absl::Status status = work(mine);
      if (status.ok()) continue;
      absl::MutexLock lock(&mu);
      if (first.ok()) first = status;
      return;
    }
  };
  std::vector<std::thread> threads;
  size_t threads_wanted = std::min<size_t>(static_cast<size_t>(std::max(width, 1)), count);
  for (size_t i = 1; i < threads_wanted; ++i) threads.emplace_back(loop);
  loop();
  for (std::thread& t : threads) t.join();
  return first;
}

}  // namespace gantry::services
