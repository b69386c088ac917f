#ifndef GANTRY_SERVICES_TRANSFER_PUSHER_H_
#define GANTRY_SERVICES_TRANSFER_PUSHER_H_

#include "absl/status/status.h"
#include "containerd/types/transfer/imagestore.pb.h"
#include "services/registry/client.h"
#include "services/transfer/transfer_deps.h"

namespace gantry::services {

// Pushes the stored image `store.name()` to the registry's reference: layers and configs in
// parallel (mounted from other repositories of that registry where the labels
// containerd.io/distribution.source.HOST say they came from), then manifests, the root last and
// under the tag. Only `store.platforms()` if there are any. When an index names manifests that are
// not here (an image pulled for one platform) and exactly one is, that one is pushed in its place,
// since registries refuse indexes with gaps.
absl::Status PushImage(const TransferJob& job, RegistryClient* registry,
                       const containerd::types::transfer::ImageStore& store);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TRANSFER_PUSHER_H_
