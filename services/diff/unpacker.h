#ifndef GANTRY_SERVICES_DIFF_UNPACKER_H_
#define GANTRY_SERVICES_DIFF_UNPACKER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "base/archive/tar_reader.h"
#include "services/diff/dir_cache.h"
#include "services/diff/layer_applier.h"

namespace gantry::services {

// The part of LayerApplier that makes files of tar entries. Not thread-safe.
class EntryUnpacker : public archive::TarSink {
 public:
  EntryUnpacker(base::UniqueFd root, const LayerApplierOptions& options);

  absl::Status Init();
  absl::Status OnEntry(const archive::TarEntry& entry) override;
  absl::Status OnData(int64_t offset, absl::string_view data) override;
  absl::Status OnEntryEnd() override;

  struct Usage {
    int64_t bytes = 0;
    int64_t inodes = 0;
  };
  // After the last entry: times of the directories, and the sum.
  absl::StatusOr<Usage> Finish();
  // See LayerResult::implicit_dirs.
  const std::vector<std::string>& implicit_dirs() const { return implicit_dirs_; }

 private:
  using Dir = DirCache::Dir;
  // Where an entry goes.
  struct Place {
    Dir* parent = nullptr;
    SplitPath split;
    std::string path;  // clean
  };

  absl::Status Unpack(const archive::TarEntry& entry);
  absl::Status MakeEntry(Place* place);
  absl::Status MakeFile(Place* place);
  absl::Status MakeDirectory(Place* place);
  absl::Status MakeSymlink(Place* place);
  absl::Status MakeHardLink(Place* place);
  absl::Status MakeNode(Place* place, mode_t kind);
  // Owner, xattrs, mode, times of the current entry (in this order: chown(2) clears some others).
  absl::Status SetAttributes(int fd);
  // Calls `make(parent descriptor, name)` (0 or -1 with errno); when something is in the way, that
  // is removed first.
  template <typename Make>
  absl::Status Create(Place* place, const char* what, Make make);
  absl::Status RemoveExisting(Place* place);

  absl::Status ApplyWhiteout(Dir* dir, const std::string& name);
  absl::Status MakeOverlayWhiteout(Dir* dir, const std::string& name);
  absl::Status RemoveUnlessMade(Dir* dir, const std::string& name);
  absl::Status RemoveLower(int dir_fd, uint64_t dir_inode);
  absl::Status OnImplicitDirectory(const std::string& path, Dir* dir);

  void Mark(uint64_t parent_inode, const std::string& name);
  bool IsMade(uint64_t parent_inode, const std::string& name) const;

  const LayerApplierOptions options_;
  DirCache dirs_;
  std::vector<base::UniqueFd> lowers_;
  archive::TarEntry entry_;
  base::UniqueFd file_;
  int64_t written_ = 0;  // end of the data of the current file
  int64_t entries_ = 0;

  // Directories of this layer with the times they get at the end; tv_nsec UTIME_OMIT for none.
  std::unordered_map<std::string, timespec> dir_times_;
  std::vector<std::string> implicit_dirs_;
  // What this layer made, as hashes of parent inode and name.
  absl::flat_hash_set<uint64_t> made_;
  Usage usage_;
  bool recount_ = false;       // something was removed: what is left is not known
  bool was_whiteout_ = false;  // what RemoveExisting() removed
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_UNPACKER_H_
