#ifndef GANTRY_SERVICES_VOLUMES_VOLUME_FILES_H_
#define GANTRY_SERVICES_VOLUMES_VOLUME_FILES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "snapshotter/trash.h"

namespace gantry::services {

// The directories of volumes: ROOT/volumes/NS/NAME/_data, and ROOT/volumes/.trash, from which a
// thread deletes. Namespaces and names must have been checked to be single components. Thread-safe
// as long as nobody changes the same volume at the same time.
class VolumeFiles {
 public:
  static absl::StatusOr<std::unique_ptr<VolumeFiles>> Open(const std::string& root);

  std::string DataPath(const std::string& ns, const std::string& name) const;
  // An empty volume, on the disk when this returns. What is left of one that was never filled is
  // taken; FailedPrecondition when the directory holds data.
  absl::Status Make(const std::string& ns, const std::string& name);
  // Whether there is a directory for it.
  bool Exists(const std::string& ns, const std::string& name) const;
  // The directory NS/NAME, and its entry _data (what is mounted on it, if so). NotFound.
  absl::StatusOr<base::UniqueFd> OpenVolume(const std::string& ns, const std::string& name) const;
  absl::StatusOr<base::UniqueFd> OpenData(const std::string& ns, const std::string& name) const;
  // Unmounts it and hands it to the thread that deletes. OK when it is gone already.
  absl::Status Discard(const std::string& ns, const std::string& name);
  // What is left of fillings that were cut off.
  absl::Status DiscardUnfinished(const std::string& ns, const std::string& name);
  // A new empty directory beside _data; takes its place by Exchange().
  absl::StatusOr<base::UniqueFd> MakeStaging(const std::string& ns, const std::string& name);
  absl::Status ExchangeStaging(const std::string& ns, const std::string& name);

 private:
  VolumeFiles(std::string path, base::UniqueFd dir, std::unique_ptr<snapshotter::Trash> trash)
      : path_(std::move(path)), dir_(std::move(dir)), trash_(std::move(trash)) {}

  std::string path_;
  base::UniqueFd dir_;
  std::unique_ptr<snapshotter::Trash> trash_;
};

// Bytes on the disk of the tree, each file once, on one file system; -1 when that is not known
// before `deadline`, or for trees that are too deep. Follows no link.
int64_t MeasureVolume(base::UniqueFd root, absl::Time deadline);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_VOLUMES_VOLUME_FILES_H_
