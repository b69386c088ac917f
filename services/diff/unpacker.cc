#include "services/diff/unpacker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "services/diff/disk_usage.h"
#include "services/diff/file_attributes.h"
#include "services/diff/inherit.h"

namespace gantry::services {
namespace {

using archive::TarEntry;
using archive::TarType;

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY;

bool IsWhiteoutDevice(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

absl::Status SetOpaque(int fd) {
  if (setxattr(FdPath(fd).c_str(), kOverlayOpaqueXattr, "y", 1, 0) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "mark directory opaque");
}

// What the kernel says about names in the archive is the archive's fault.
absl::Status BlameArchive(const absl::Status& status) {
  if (absl::IsNotFound(status) || absl::IsAlreadyExists(status) ||
      absl::IsFailedPrecondition(status)) {
    return base::WithCode(status, absl::StatusCode::kInvalidArgument);
  }
  return status;
}

}  // namespace

EntryUnpacker::EntryUnpacker(base::UniqueFd root, const LayerApplierOptions& options)
    : options_(options), dirs_(std::move(root), [this](const std::string& path, Dir* dir) {
        return OnImplicitDirectory(path, dir);
      }) {}

absl::Status EntryUnpacker::Init() {
  GANTRY_RETURN_IF_ERROR(dirs_.Init());
  for (const std::string& lower : options_.lower_dirs) {
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(lower, O_PATH | O_DIRECTORY));
    lowers_.push_back(std::move(fd));
  }
  return absl::OkStatus();
}

absl::Status EntryUnpacker::OnEntry(const TarEntry& entry) {
  if (++entries_ > options_.max_entries) {
    return absl::ResourceExhaustedError(
        absl::StrCat("layer has more than ", options_.max_entries, " entries"));
  }
  absl::Status status = BlameArchive(Unpack(entry));
  return base::Annotate(status, absl::StrCat("unpack \"", absl::CEscape(entry.name), "\""));
}

absl::Status EntryUnpacker::Unpack(const TarEntry& entry) {
  file_.Reset();
  Place place;
  place.path = CleanArchivePath(entry.name);
  if (place.path.empty()) return absl::OkStatus();  // the root belongs to the snapshot
  place.split = SplitArchivePath(place.path);
  const std::string& name = place.split.name;
  if (name != kOpaqueMark &&
      absl::StrContains(absl::StrCat("/", place.path), absl::StrCat("/", kWhiteoutMetaPrefix))) {
    return absl::OkStatus();  // bookkeeping of aufs
  }
  if (entry.uid == UINT32_MAX || entry.gid == UINT32_MAX)
    return absl::InvalidArgumentError("no such user or group id");
  GANTRY_ASSIGN_OR_RETURN(place.parent, dirs_.FindOrMake(place.split.parent));
  entry_ = entry;
  if (absl::StartsWith(name, kWhiteoutPrefix)) return ApplyWhiteout(place.parent, name);
  uint64_t parent_inode = place.parent->inode;
  GANTRY_RETURN_IF_ERROR(MakeEntry(&place));
  Mark(parent_inode, name);
  return absl::OkStatus();
}

absl::Status EntryUnpacker::MakeEntry(Place* place) {
  switch (entry_.type) {
    case TarType::kRegular:
      return MakeFile(place);
    case TarType::kDirectory:
      return MakeDirectory(place);
    case TarType::kSymlink:
      return MakeSymlink(place);
    case TarType::kHardLink:
      return MakeHardLink(place);
    case TarType::kCharDevice:
      return MakeNode(place, S_IFCHR);
    case TarType::kBlockDevice:
      return MakeNode(place, S_IFBLK);
    case TarType::kFifo:
      return MakeNode(place, S_IFIFO);
  }
  return absl::InternalError("no such type");
}

template <typename Make>
absl::Status EntryUnpacker::Create(Place* place, const char* what, Make make) {
  was_whiteout_ = false;
  if (make(place->parent->fd.get(), place->split.name.c_str()) >= 0) return absl::OkStatus();
  if (errno == EEXIST) {
    GANTRY_RETURN_IF_ERROR(RemoveExisting(place));
    if (make(place->parent->fd.get(), place->split.name.c_str()) >= 0) return absl::OkStatus();
  }
  return base::ErrnoStatus(errno, what);
}

absl::Status EntryUnpacker::RemoveExisting(Place* place) {
  struct stat st;
  int parent = place->parent->fd.get();
  const std::string& name = place->split.name;
  if (fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return base::ErrnoStatus(errno, "stat what is in the way");
  was_whiteout_ = options_.whiteouts == Whiteouts::kOverlay && IsWhiteoutDevice(st);
  recount_ = true;
  GANTRY_RETURN_IF_ERROR(base::RemoveTreeAt(parent, name));
  if (!S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode)) return absl::OkStatus();
  // Paths through it lead elsewhere now.
  dirs_.Forget();
  GANTRY_ASSIGN_OR_RETURN(place->parent, dirs_.FindOrMake(place->split.parent));
  return absl::OkStatus();
}

absl::Status EntryUnpacker::MakeFile(Place* place) {
  written_ = 0;
  int fd = -1;
  GANTRY_RETURN_IF_ERROR(Create(place, "create file", [&fd](int parent, const char* name) {
    fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd;
  }));
  file_.Reset(fd);
  return absl::OkStatus();
}

absl::Status EntryUnpacker::OnData(int64_t offset, absl::string_view data) {
  if (!file_) return absl::OkStatus();  // of an entry that is left out
  written_ = offset + static_cast<int64_t>(data.size());
  while (!data.empty()) {
    ssize_t n = pwrite(file_.get(), data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return base::ErrnoStatus(errno,
                               absl::StrCat("unpack \"", absl::CEscape(entry_.name), "\": write"));
    }
    data.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status EntryUnpacker::OnEntryEnd() {
  if (!file_) return absl::OkStatus();
  base::UniqueFd file = std::move(file_);
  if (written_ < entry_.size && ftruncate(file.get(), entry_.size) != 0)
    return base::ErrnoStatus(errno, "set size of sparse file");
  GANTRY_RETURN_IF_ERROR(base::Annotate(
      SetAttributes(file.get()), absl::StrCat("unpack \"", absl::CEscape(entry_.name), "\"")));
  struct stat st;
  if (fstat(file.get(), &st) != 0) return base::ErrnoStatus(errno, "stat");
  usage_.bytes += st.st_blocks * 512;
  ++usage_.inodes;
  return absl::OkStatus();
}

absl::Status EntryUnpacker::SetAttributes(int fd) {
  if (fchownat(fd, "", entry_.uid, entry_.gid, AT_EMPTY_PATH) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("change owner to ", entry_.uid, ":", entry_.gid));
  }
  GANTRY_RETURN_IF_ERROR(WriteXattrs(fd, entry_.xattrs));
  if (entry_.type == TarType::kSymlink) {
    // A link has no mode of its own.
  } else if (entry_.type == TarType::kRegular || entry_.type == TarType::kDirectory) {
    if (fchmod(fd, entry_.mode) != 0) return base::ErrnoStatus(errno, "change mode");
  } else if (chmod(FdPath(fd).c_str(), entry_.mode) != 0) {
    return base::ErrnoStatus(errno, "change mode");
  }
  if (entry_.type == TarType::kDirectory) return absl::OkStatus();  // see Finish()
  timespec times[2] = {entry_.mtime, entry_.mtime};
  int result = entry_.type == TarType::kRegular ? futimens(fd, times)
                                                : utimensat(fd, "", times, AT_EMPTY_PATH);
  if (result != 0) return base::ErrnoStatus(errno, "set times");
  return absl::OkStatus();
}

absl::Status EntryUnpacker::MakeDirectory(Place* place) {
  auto make = [](int parent, const char* name) {
    if (mkdirat(parent, name, 0700) == 0) return 0;
    if (errno != EEXIST) return -1;
    // A directory that is there already is kept, with what is in it.
    struct stat st;
    bool is_dir = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    errno = EEXIST;
    return is_dir ? 0 : -1;
  };
  GANTRY_RETURN_IF_ERROR(Create(place, "mkdir", make));
  Dir dir;
  GANTRY_ASSIGN_OR_RETURN(dir.fd,
                          base::OpenChild(place->parent->fd.get(), place->split.name, kDirFlags));
  struct stat st;
  if (fstat(dir.fd.get(), &st) != 0) return base::ErrnoStatus(errno, "stat");
  dir.inode = st.st_ino;
  GANTRY_RETURN_IF_ERROR(SetAttributes(dir.fd.get()));
  // It took the place of a whiteout: nothing of the directory below may show.
  if (was_whiteout_) GANTRY_RETURN_IF_ERROR(SetOpaque(dir.fd.get()));
  dir_times_[place->path] = entry_.mtime;
  dirs_.Add(place->path, std::move(dir));
  return absl::OkStatus();
}

absl::Status EntryUnpacker::MakeSymlink(Place* place) {
  GANTRY_RETURN_IF_ERROR(Create(place, "symlink", [this](int parent, const char* name) {
    return symlinkat(entry_.link_name.c_str(), parent, name);
  }));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd,
                          base::OpenChild(place->parent->fd.get(), place->split.name, O_PATH));
  ++usage_.inodes;
  return SetAttributes(fd.get());
}

absl::Status EntryUnpacker::MakeHardLink(Place* place) {
  std::string target = CleanArchivePath(entry_.link_name);
  if (target.empty()) return absl::InvalidArgumentError("hard link to the root");
  SplitPath split = SplitArchivePath(target);
  if (target == place->path) return absl::OkStatus();
  auto found = dirs_.Find(split.parent);
  GANTRY_RETURN_IF_ERROR(base::Annotate(
      found.status(), absl::StrCat("hard link to \"", absl::CHexEscape(target), "\"")));
  Dir* dir = *found;
  base::UniqueFd from(fcntl(dir->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!from) return base::ErrnoStatus(errno, "duplicate descriptor");
  // The search may have dropped our parent from the cache.
  GANTRY_ASSIGN_OR_RETURN(place->parent, dirs_.FindOrMake(place->split.parent));
  // Without AT_SYMLINK_FOLLOW: a link to a link, never to what that names. The attributes are those
  // of the target and stay so (CVE-2021-32760).
  absl::Status linked = Create(place, "hard link", [&](int parent, const char* name) {
    return linkat(from.get(), split.name.c_str(), parent, name, 0);
  });
  // Of directories there are none.
  if (base::ErrnoOf(linked) == EPERM)
    return base::WithCode(linked, absl::StatusCode::kInvalidArgument);
  return linked;
}

absl::Status EntryUnpacker::MakeNode(Place* place, mode_t kind) {
  dev_t device = kind == S_IFIFO ? 0 : makedev(entry_.dev_major, entry_.dev_minor);
  GANTRY_RETURN_IF_ERROR(Create(place, "mknod", [&](int parent, const char* name) {
    return mknodat(parent, name, kind | 0600, device);
  }));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd,
                          base::OpenChild(place->parent->fd.get(), place->split.name, O_PATH));
  ++usage_.inodes;
  return SetAttributes(fd.get());
}

absl::Status EntryUnpacker::ApplyWhiteout(Dir* dir, const std::string& name) {
  if (name == kOpaqueMark) {
    return options_.whiteouts == Whiteouts::kOverlay ? SetOpaque(dir->fd.get())
                                                     : RemoveLower(dir->fd.get(), dir->inode);
  }
  std::string hidden = name.substr(kWhiteoutPrefix.size());
  if (hidden.empty() || hidden == "." || hidden == "..")
    return absl::InvalidArgumentError("invalid whiteout name");
  return options_.whiteouts == Whiteouts::kOverlay ? MakeOverlayWhiteout(dir, hidden)
                                                   : RemoveUnlessMade(dir, hidden);
}

absl::Status EntryUnpacker::MakeOverlayWhiteout(Dir* dir, const std::string& name) {
  if (mknodat(dir->fd.get(), name.c_str(), S_IFCHR, 0) == 0) {
    ++usage_.inodes;
    return absl::OkStatus();
  }
  if (errno != EEXIST) return base::ErrnoStatus(errno, "make whiteout");
  // A whiteout concerns the layers below only: what this layer put there stays and hides them; of a
  // directory that has to be said.
  auto child = base::OpenChild(dir->fd.get(), name, kDirFlags);
  if (child.ok()) return SetOpaque(child->get());
  int error = base::ErrnoOf(child.status());
  return error == ENOTDIR || error == ELOOP || error == ENXIO ? absl::OkStatus() : child.status();
}

absl::Status EntryUnpacker::RemoveUnlessMade(Dir* dir, const std::string& name) {
  struct stat st;
  if (fstatat(dir->fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? absl::OkStatus() : base::ErrnoStatus(errno, "stat");
  if (IsMade(dir->inode, name)) {
    if (!S_ISDIR(st.st_mode)) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd child, base::OpenChild(dir->fd.get(), name, kDirFlags));
    return RemoveLower(child.get(), st.st_ino);
  }
  GANTRY_RETURN_IF_ERROR(base::RemoveTreeAt(dir->fd.get(), name));
  if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) dirs_.Forget();
  return absl::OkStatus();
}

absl::Status EntryUnpacker::RemoveLower(int dir_fd, uint64_t dir_inode) {
  GANTRY_ASSIGN_OR_RETURN(auto names, base::ListDirFd(dir_fd));
  bool removed_dir = false;
  for (const std::string& name : names) {
    if (!IsMade(dir_inode, name)) {
      removed_dir = true;
      GANTRY_RETURN_IF_ERROR(base::RemoveTreeAt(dir_fd, name));
      continue;
    }
    struct stat st;
    if (fstatat(dir_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
      continue;
    GANTRY_ASSIGN_OR_RETURN(base::UniqueFd child, base::OpenChild(dir_fd, name, kDirFlags));
    GANTRY_RETURN_IF_ERROR(RemoveLower(child.get(), st.st_ino));
  }
  if (removed_dir) dirs_.Forget();
  return absl::OkStatus();
}

absl::Status EntryUnpacker::OnImplicitDirectory(const std::string& path, Dir* dir) {
  timespec mtime{0, UTIME_OMIT};
  GANTRY_RETURN_IF_ERROR(InheritDirectory(lowers_, path, dir->fd.get(), &mtime));
  implicit_dirs_.push_back(path);
  dir_times_[path] = mtime;
  SplitPath split = SplitArchivePath(path);
  struct stat st;
  if (fstatat(dir->fd.get(), "..", &st, 0) != 0) return base::ErrnoStatus(errno, "stat parent");
  Mark(st.st_ino, split.name);
  return absl::OkStatus();
}

void EntryUnpacker::Mark(uint64_t parent_inode, const std::string& name) {
  if (options_.whiteouts == Whiteouts::kRemove)
    made_.insert(absl::HashOf(parent_inode, absl::string_view(name)));
}
bool EntryUnpacker::IsMade(uint64_t parent_inode, const std::string& name) const {
  return made_.contains(absl::HashOf(parent_inode, absl::string_view(name)));
}

absl::StatusOr<EntryUnpacker::Usage> EntryUnpacker::Finish() {
  for (const auto& [path, mtime] : dir_times_) {
    SplitPath split = SplitArchivePath(path);
    auto parent = dirs_.Find(split.parent);
    if (!parent.ok()) continue;  // a later entry replaced it
    auto dir = base::OpenChild((*parent)->fd.get(), split.name, kDirFlags);
    if (!dir.ok()) continue;
    struct stat st;
    if (fstat(dir->get(), &st) != 0) return base::ErrnoStatus(errno, "stat directory");
    usage_.bytes += st.st_blocks * 512;
    ++usage_.inodes;
    timespec times[2] = {mtime, mtime};
    if (futimens(dir->get(), times) != 0)
      return base::ErrnoStatus(errno, absl::StrCat("set times of ", path));
  }
  struct stat st;
  if (fstat(dirs_.root_fd(), &st) != 0) return base::ErrnoStatus(errno, "stat root");
  usage_.bytes += st.st_blocks * 512;
  ++usage_.inodes;
  if (recount_ && options_.whiteouts == Whiteouts::kOverlay) {
    GANTRY_ASSIGN_OR_RETURN(TreeUsage tree, MeasureTree(dirs_.root_fd()));
    usage_ = {tree.bytes, tree.inodes};
  }
  return usage_;
}

}  // namespace gantry::services
