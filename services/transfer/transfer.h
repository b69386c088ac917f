#ifndef GANTRY_SERVICES_TRANSFER_TRANSFER_H_
#define GANTRY_SERVICES_TRANSFER_TRANSFER_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "containerd/services/transfer/v1/transfer.pb.h"
#include "services/metadata/context.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// Moves images between registries, the image store, and archives that come or go over streams:
//
//   OCIRegistry → ImageStore          pull (and unpack)
//   ImageStore → OCIRegistry          push
//   ImageImportStream → ImageStore    import (and unpack)
//   ImageStore → ImageExportStream    export
//   ImageStore → ImageStore           tag
//   ImageImportStream → ImageExportStream  echo, as containerd has it for tests
//
// What is made on the way belongs to the lease of the context, or to one of its own that expires
// after a day and is deleted at the end: a transfer that fails, or dies with gantryd, leaves
// nothing that the collector would not remove. Credentials come over the request's auth stream.
// Thread-safe.
class Transferrer {
 public:
  explicit Transferrer(TransferDeps deps) : deps_(std::move(deps)) {}

  // Blocks until it is done. `cancelled` is polled and may be called by several threads.
  // InvalidArgument: malformed request; Unimplemented: another pair of types; NotFound: a stream or
  // image; else what registry, stores and streams report.
  absl::Status Transfer(const Context& ctx,
                        const containerd::services::transfer::v1::TransferRequest& request,
                        const std::function<bool()>& cancelled);

  // At start, before requests are served, for pulls and imports that were cut off: removes what
  // they had half unpacked. What they had fetched or finished is kept for an hour (by their lease),
  // so that the next attempt goes on from there; then the collector takes it.
  absl::Status Recover();

 private:
  TransferDeps deps_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_TRANSFER_H_
