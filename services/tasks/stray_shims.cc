#include "services/tasks/stray_shims.h"

#include <unistd.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/ttrpc/client.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "services/tasks/shim.h"

namespace gantry::services {
namespace {

// OK when nobody is left that listens at `path`.
absl::Status End(const std::string& path, absl::Duration timeout) {
  const std::string address = "unix://" + path;
  auto client = base::ttrpc::Client::Connect(address, [] {});
  if (!client.ok()) return absl::OkStatus();
  Shim shim("", path, "", "", ShimBootstrap{3, address, "ttrpc"});
  shim.set_client(*std::move(client));
  containerd::task::v2::ShutdownRequest request;
  absl::Status status = shim.CallTaskAndWait("Shutdown", request, nullptr, timeout);
  // It ends after the answer, or, when it holds a task, not at all.
  const absl::Time deadline = absl::Now() + timeout;
  while (shim.connected() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  const bool ended = !shim.connected();
  shim.Close();
  if (ended) return absl::OkStatus();
  return status.ok() ? absl::FailedPreconditionError("it holds a task") : status;
}

}  // namespace

void EndStrayShims(const std::string& dir, const std::set<std::string>& known,
                   absl::Duration timeout) {
  absl::StatusOr<std::vector<std::string>> names = base::ListDir(dir);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(dir, "/", name);
    if (known.contains(path)) continue;
    absl::Status ended = End(path, timeout);
    if (!ended.ok()) {
      base::LogWarn("a shim that no bundle knows goes on",
                    {{"socket", path}, {"error", ended.message()}});
      continue;
    }
    base::LogInfo("a shim that no bundle knows is gone", {{"socket", path}});
    unlink(path.c_str());
  }
}

}  // namespace gantry::services
