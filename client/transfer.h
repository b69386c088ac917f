#ifndef GANTRY_CLIENT_TRANSFER_H_
#define GANTRY_CLIENT_TRANSFER_H_

// Pull and push through the daemon's Transfer service, with progress over its Streaming service.

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/connection.h"
#include "containerd/types/transfer/progress.pb.h"

namespace gantry::client {

using Progress = ::containerd::types::transfer::Progress;
// Called on the thread of the transfer's function, before that returns.
using ProgressCallback = std::function<void(const Progress&)>;

struct TransferOptions {
  std::string snapshotter;  // unpack for it; empty: do not unpack
  // At most one of these three; asked for by the daemon over a stream, never stored.
  std::string credentials;     // "NAME:PASSWORD"
  std::string identity_token;  // an OAuth2 refresh token
  std::string registry_token;  // a bearer token for the registry itself
  bool plain_http = false;
  std::string hosts_dir;  // certs.d of the daemon's machine
  // Of the image; empty: this machine's.
  std::string architecture;
  std::string variant;
  // Asked whenever something was reported; true ends the transfer with Cancelled. May be null.
  std::function<bool()> cancelled;
};

// Unimplemented, with what to do, when the daemon has no Transfer service (containerd before 1.7);
// what the registry or the daemon said otherwise.
absl::Status Pull(const Connection& connection, const std::string& reference,
                  const TransferOptions& options, const ProgressCallback& progress);
absl::Status Push(const Connection& connection, const std::string& local,
                  const std::string& reference, const TransferOptions& options,
                  const ProgressCallback& progress);

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_TRANSFER_H_
