#ifndef GANTRY_SERVICES_TASKS_BUNDLE_H_
#define GANTRY_SERVICES_TASKS_BUNDLE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/any.pb.h"

namespace gantry::services {

// The directory that a shim works in, <state>/<ns>/<id>, and its persistent companion
// <root>/<ns>/<id>. Copyable: names, not the directories themselves.
class Bundle {
 public:
  // An existing one, or one that may exist. Nothing is looked at.
  Bundle(const std::string& root, const std::string& state, std::string ns, std::string id);

  // Makes the directory, rootfs/ and config.json (`spec`'s bytes, unless there are none).
  // Mode 0700; with a user namespace in the spec 0710 for the group that is its root, as containerd
  // does. InvalidArgument for an id that is no identifier, AlreadyExists when there is such a
  // bundle; on failure nothing is left.
  static absl::StatusOr<Bundle> Create(const std::string& root, const std::string& state,
                                       const std::string& ns, const std::string& id,
                                       const google::protobuf::Any& spec);

  // Makes the companion and the link `work` to it, where shims of containerd's keep files.
  absl::Status MakeWork() const;

  const std::string& ns() const { return ns_; }
  const std::string& id() const { return id_; }
  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const;

  // Atomic for whoever lists bundles: unmounts rootfs, renames both directories to hidden names
  // beside them, and returns the function's rest, the removal, to the caller as paths (which
  // RemoveTree takes). OK and no paths when there is nothing.
  struct Trash {
    std::string bundle;
    std::string work;
  };
  absl::StatusOr<Trash> MoveToTrash() const;
  static absl::Status Empty(const Trash& trash);
  // Both at once.
  absl::Status Delete() const;

 private:
  std::string ns_;
  std::string id_;
  std::string path_;
  std::string work_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_TASKS_BUNDLE_H_
