#ifndef GANTRY_SERVICES_METADATA_KEYS_H_
#define GANTRY_SERVICES_METADATA_KEYS_H_

// Keys of the database: components joined by a zero byte, the table first. Sorted by bytes, so all
// records of a table, or of a namespace within a table, lie side by side.
//
//   table  further components      value
//   ns     name                    containerd.services.namespaces.v1.Namespace
//   img    ns, name                containerd.services.images.v1.Image
//   ctr    ns, id                  containerd.services.containers.v1.Container
//   lse    ns, id                  containerd.services.leases.v1.Lease
//   lsr    ns, lease, type, id     empty: a resource of a lease
//   blob   ns, digest              containerd.services.content.v1.Info
//   blr    digest, ns              (content) empty: the namespace has a record of the blob
//   ing    ns, ref                 gantry.metadata.v1.Ingest
//   snp    ns, snapshotter, key    (snapshots)
//   sbx    ns, id                  containerd.types.Sandbox
//   int    kind, id                gantry.metadata.v1.Intent
//   exr    ns, time, id            gantry.services.exits.v1.KeptExit
//   net    ns, id                  gantry.metadata.v1.NetworkRecord
//   nsb    ns, container           gantry.metadata.v1.SandboxRecord (networks)
//   evt    number                  containerd.types.Envelope
//   cfg    name                    settings of the database itself

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::services {

inline constexpr absl::string_view kTableNamespaces = "ns";
inline constexpr absl::string_view kTableImages = "img";
inline constexpr absl::string_view kTableContainers = "ctr";
inline constexpr absl::string_view kTableLeases = "lse";
inline constexpr absl::string_view kTableLeaseResources = "lsr";
inline constexpr absl::string_view kTableBlobs = "blob";
inline constexpr absl::string_view kTableBlobReferences = "blr";
inline constexpr absl::string_view kTableIngests = "ing";
inline constexpr absl::string_view kTableSnapshots = "snp";
inline constexpr absl::string_view kTableSandboxes = "sbx";
inline constexpr absl::string_view kTableIntents = "int";
inline constexpr absl::string_view kTableExits = "exr";
inline constexpr absl::string_view kTableEvents = "evt";
inline constexpr absl::string_view kTableConfig = "cfg";

// Key({"ctr", ns, id}). No component may contain a zero byte; names from outside are checked with
// CheckKeyComponent() before they come here.
std::string Key(std::initializer_list<absl::string_view> components);

// The beginning that all keys with these first components, and no others, share.
std::string KeyPrefix(std::initializer_list<absl::string_view> components);

// The components of a whole key, or of the rest of one that a Scan() hands out. Views into `key`.
std::vector<absl::string_view> SplitKey(absl::string_view key);

// InvalidArgument "WHAT must not contain a zero byte" / "must not be empty". For every name that a
// client chooses and no stricter rule covers.
absl::Status CheckKeyComponent(absl::string_view what, absl::string_view value);

// The last component of the key of event number `sequence`; sorts as the number does.
std::string EventKeyNumber(uint64_t sequence);
absl::StatusOr<uint64_t> ParseEventKeyNumber(absl::string_view text);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_METADATA_KEYS_H_
