#include "services/volumes/volume_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "services/volumes/volume_mount.h"

namespace gantry::services {
namespace {

constexpr char kData[] = "_data";
constexpr char kStaging[] = "_new";
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr size_t kMaxDepth = 1000;  // each level holds a descriptor

absl::Status MakeDir(int parent, const std::string& name, mode_t mode) {
  if (mkdirat(parent, name.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("make directory ", name));
}

absl::StatusOr<bool> IsEmpty(int fd) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, base::ListDirFd(fd));
  return names.empty();
}

}  // namespace

absl::StatusOr<std::unique_ptr<VolumeFiles>> VolumeFiles::Open(const std::string& root) {
  std::string path = absl::StrCat(root, "/volumes");
  GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(path, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd dir, base::Open(path, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<snapshotter::Trash> trash,
                          snapshotter::Trash::Open(absl::StrCat(path, "/.trash")));
  return std::unique_ptr<VolumeFiles>(
      new VolumeFiles(std::move(path), std::move(dir), std::move(trash)));
}

std::string VolumeFiles::DataPath(const std::string& ns, const std::string& name) const {
  return absl::StrCat(path_, "/", ns, "/", name, "/", kData);
}

absl::Status VolumeFiles::Make(const std::string& ns, const std::string& name) {
  GANTRY_RETURN_IF_ERROR(MakeDir(dir_.get(), ns, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd space, base::OpenChild(dir_.get(), ns, kDirectory));
  GANTRY_RETURN_IF_ERROR(MakeDir(space.get(), name, 0700));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd volume, base::OpenChild(space.get(), name, kDirectory));
  GANTRY_RETURN_IF_ERROR(MakeDir(volume.get(), kData, 0755));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd data, base::OpenChild(volume.get(), kData, kDirectory));
  GANTRY_ASSIGN_OR_RETURN(bool empty, IsEmpty(data.get()));
  if (!empty)
    return absl::FailedPreconditionError(
        absl::StrCat(path_, "/", ns, "/", name,
                     " holds data of a volume that has no record; move it away first"));
  // Whatever the umask says.
  if (fchmod(data.get(), 0755) != 0) return base::ErrnoStatus(errno, "chmod");
  for (int fd : {data.get(), volume.get(), space.get(), dir_.get()})
    GANTRY_RETURN_IF_ERROR(base::SyncFd(fd));
  return absl::OkStatus();
}

bool VolumeFiles::Exists(const std::string& ns, const std::string& name) const {
  struct stat st;
  return fstatat(dir_.get(), absl::StrCat(ns, "/", name).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

absl::StatusOr<base::UniqueFd> VolumeFiles::OpenVolume(const std::string& ns,
                                                       const std::string& name) const {
  return base::OpenUnder(dir_.get(), absl::StrCat(ns, "/", name), kDirectory, 0,
                         base::Resolve::kNoSymlinks);
}

absl::StatusOr<base::UniqueFd> VolumeFiles::OpenData(const std::string& ns,
                                                     const std::string& name) const {
  return base::OpenUnder(dir_.get(), absl::StrCat(ns, "/", name, "/", kData), kDirectory, 0,
                         base::Resolve::kNoSymlinks);
}

absl::Status VolumeFiles::Discard(const std::string& ns, const std::string& name) {
  absl::StatusOr<base::UniqueFd> volume = OpenVolume(ns, name);
  if (absl::IsNotFound(volume.status())) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(volume.status());
  GANTRY_RETURN_IF_ERROR(UnmountEntry(volume->get(), kData));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd space, base::OpenChild(dir_.get(), ns, kDirectory));
  return trash_->Discard(space.get(), name);
}

absl::Status VolumeFiles::DiscardUnfinished(const std::string& ns, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd volume, OpenVolume(ns, name));
  return trash_->Discard(volume.get(), kStaging);
}

absl::StatusOr<base::UniqueFd> VolumeFiles::MakeStaging(const std::string& ns,
                                                        const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd volume, OpenVolume(ns, name));
  GANTRY_RETURN_IF_ERROR(trash_->Discard(volume.get(), kStaging));
  GANTRY_RETURN_IF_ERROR(MakeDir(volume.get(), kStaging, 0700));
  return base::OpenChild(volume.get(), kStaging, kDirectory);
}

absl::Status VolumeFiles::ExchangeStaging(const std::string& ns, const std::string& name) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd volume, OpenVolume(ns, name));
  if (renameat2(volume.get(), kStaging, volume.get(), kData, RENAME_EXCHANGE) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("exchange ", kStaging, " and ", kData));
  return trash_->Discard(volume.get(), kStaging);
}

int64_t MeasureVolume(base::UniqueFd root, absl::Time deadline) {
  using Dir = std::unique_ptr<DIR, int (*)(DIR*)>;
  struct stat st;
  if (fstat(root.get(), &st) != 0) return -1;
  const dev_t device = st.st_dev;
  int64_t bytes = st.st_blocks * 512;
  absl::flat_hash_set<ino_t> linked;
  std::vector<Dir> stack;
  auto enter = [&stack](base::UniqueFd fd) {
    DIR* stream = fdopendir(fd.get());
    if (stream == nullptr) return false;
    fd.Release();
    stack.emplace_back(stream, closedir);
    return true;
  };
  if (!enter(std::move(root))) return -1;
  for (uint64_t count = 0; !stack.empty(); ++count) {
    if (count % 256 == 0 && absl::Now() > deadline) return -1;
    int dir_fd = dirfd(stack.back().get());
    dirent* entry = readdir(stack.back().get());
    if (entry == nullptr) {
      stack.pop_back();
      continue;
    }
    const char* name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) continue;
    if (st.st_dev != device) continue;
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !linked.insert(st.st_ino).second) continue;
    bytes += st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode)) continue;
    if (stack.size() >= kMaxDepth) return -1;
    absl::StatusOr<base::UniqueFd> child = base::OpenChild(dir_fd, name, kDirectory);
    if (child.ok() && !enter(*std::move(child))) return -1;  // one that is gone does not count
  }
  return bytes;
}

}  // namespace gantry::services
