#ifndef GANTRY_SERVICES_TRANSFER_TRANSFER_DEPS_H_
#define GANTRY_SERVICES_TRANSFER_TRANSFER_DEPS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "services/metadata/context.h"

namespace gantry::services {

class ContentStore;
class Db;
class ImageStore;
class LeaseStore;
class Progress;
class Snapshots;
class StreamManager;

struct TransferConfig {
  int max_concurrent_downloads = 3;
  int max_concurrent_uploads = 3;
  std::string default_snapshotter = "overlayfs";
  // An existing directory of ours for temporary mount points.
  std::string temp_dir = "/tmp";
  // certs.d of the configuration; a client may name another directory in its request.
  std::string hosts_dir;
};

// What transfers work on; all must outlive them.
struct TransferDeps {
  Db* db = nullptr;  // for intents
  ContentStore* content = nullptr;
  ImageStore* images = nullptr;
  LeaseStore* leases = nullptr;
  Snapshots* snapshots = nullptr;
  StreamManager* streams = nullptr;
  TransferConfig config;
};

// One running transfer.
struct TransferJob {
  const TransferDeps* deps = nullptr;
  Context ctx;  // with a lease
  // Begins the keys of all snapshots into which it unpacks.
  std::string unpack_prefix;
  Progress* progress = nullptr;
  std::function<bool()> cancelled;  // never null

  absl::Status CheckCancelled() const {
    return cancelled() ? absl::CancelledError("transfer was cancelled") : absl::OkStatus();
  }
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_TRANSFER_DEPS_H_
