#ifndef GANTRY_CTL_PULL_H_
#define GANTRY_CTL_PULL_H_

#include <string>

#include "absl/status/status.h"
#include "client/connection.h"

namespace gantry::ctl {

struct PullOptions {
  std::string snapshotter = "overlayfs";
  std::string user;  // NAME:PASSWORD
  bool plain_http = false;
  std::string hosts_dir;
  bool quiet = false;
};

// Fetches and unpacks an image through the daemon's transfer service, with its progress on stderr.
// Unimplemented with what to do when the daemon has no such service.
absl::Status PullImage(const client::Connection& connection, const std::string& reference,
                       const PullOptions& options);
absl::Status PushImage(const client::Connection& connection, const std::string& local,
                       const std::string& reference, const PullOptions& options);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_PULL_H_
