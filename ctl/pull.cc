#include "ctl/pull.h"

#include "base/status.h"
#include "client/transfer.h"
#include "ctl/progress.h"

namespace gantry::ctl {
namespace {

client::TransferOptions Convert(const PullOptions& options) {
  client::TransferOptions transfer;
  transfer.snapshotter = options.snapshotter;
  transfer.credentials = options.user;
  transfer.plain_http = options.plain_http;
  transfer.hosts_dir = options.hosts_dir;
  return transfer;
}

}  // namespace

absl::Status PullImage(const client::Connection& connection, const std::string& reference,
                       const PullOptions& options) {
  ProgressDisplay display(options.quiet);
  return client::Pull(connection, reference, Convert(options),
                      [&](const client::Progress& p) { display.Update(p); });
}

absl::Status PushImage(const client::Connection& connection, const std::string& local,
                       const std::string& reference, const PullOptions& options) {
  ProgressDisplay display(options.quiet);
  return client::Push(connection, local, reference, Convert(options),
                      [&](const client::Progress& p) { display.Update(p); });
}

}  // namespace gantry::ctl
