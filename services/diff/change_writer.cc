#include "services/diff/change_writer.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/diff/file_attributes.h"

namespace gantry::services {
namespace {

using archive::TarEntry;
using archive::TarType;

absl::StatusOr<TarType> TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return TarType::kRegular;
    case S_IFDIR:
      return TarType::kDirectory;
    case S_IFLNK:
      return TarType::kSymlink;
    case S_IFCHR:
      return TarType::kCharDevice;
    case S_IFBLK:
      return TarType::kBlockDevice;
    case S_IFIFO:
      return TarType::kFifo;
    default:
      return absl::UnimplementedError("no tar entry for this kind of file");
  }
}

bool IsLinked(const struct stat& st) { return !S_ISDIR(st.st_mode) && st.st_nlink > 1; }

}  // namespace

std::string ChangeWriter::PathOf(const std::string& name) const {
  if (open_.empty() || open_.back().path.empty()) return name;
  return name.empty() ? open_.back().path : absl::StrCat(open_.back().path, "/", name);
}

void ChangeWriter::Enter(const std::string& path, int fd, const struct stat& st) {
  // The root has no entry.
  open_.push_back({path, fd, st, path.empty()});
}

void ChangeWriter::Leave() { open_.pop_back(); }

TarEntry ChangeWriter::EntryOf(const std::string& path, const struct stat& st) const {
  TarEntry entry;
  entry.name = path;
  entry.mode = st.st_mode & 07777;
  entry.uid = st.st_uid;
  entry.gid = st.st_gid;
  entry.mtime = st.st_mtim;
  if (latest_.has_value() && absl::TimeFromTimespec(st.st_mtim) > *latest_)
    entry.mtime = absl::ToTimespec(*latest_);
  return entry;
}

absl::Status ChangeWriter::WriteDirectory(Open* dir) {
  dir->written = true;
  TarEntry entry = EntryOf(absl::StrCat(dir->path, "/"), dir->st);
  entry.type = TarType::kDirectory;
  GANTRY_ASSIGN_OR_RETURN(entry.xattrs, ReadXattrs(dir->fd));
  return tar_.AddEntry(entry);
}

absl::Status ChangeWriter::WriteParents() {
  for (Open& dir : open_) {
    if (!dir.written) GANTRY_RETURN_IF_ERROR(WriteDirectory(&dir));
  }
  return absl::OkStatus();
}

absl::Status ChangeWriter::WriteMark(const std::string& name) {
  GANTRY_RETURN_IF_ERROR(WriteParents());
  TarEntry entry;
  entry.name = PathOf(name);
  return tar_.AddEntry(entry);
}

absl::Status ChangeWriter::Delete(const std::string& name) {
  return WriteMark(absl::StrCat(kWhiteoutPrefix, name));
}
absl::Status ChangeWriter::Opaque() { return WriteMark(std::string(kOpaqueMark)); }

absl::Status ChangeWriter::WriteLink(const std::string& path, const std::string& target,
                                     const struct stat& st) {
  TarEntry entry = EntryOf(path, st);
  entry.type = TarType::kHardLink;
  entry.link_name = target;
  return tar_.AddEntry(entry);
}

absl::Status ChangeWriter::Unchanged(const std::string& name, const struct stat& st) {
  if (!IsLinked(st)) return absl::OkStatus();
  std::string path = PathOf(name);
  auto target = linked_.find(st.st_ino);
  if (target == linked_.end()) {
    unchanged_[st.st_ino].push_back(path);
    return absl::OkStatus();
  }
  GANTRY_RETURN_IF_ERROR(WriteParents());
  return WriteLink(path, target->second, st);
}

absl::Status ChangeWriter::Change(int dir_fd, const std::string& name, const struct stat& st) {
  GANTRY_RETURN_IF_ERROR(WriteParents());
  if (name.empty()) return absl::OkStatus();  // the directory itself, just written
  std::string path = PathOf(name);
  if (absl::StartsWith(name, kWhiteoutPrefix)) {
    base::LogWarn("left out of the layer: the name means a whiteout there", {{"path", path}});
    return absl::OkStatus();
  }
  if (S_ISSOCK(st.st_mode)) return absl::OkStatus();  // sockets live with their process only
  if (IsLinked(st)) {
    auto [target, is_first] = linked_.emplace(st.st_ino, path);
    if (!is_first) return WriteLink(path, target->second, st);
  }
  GANTRY_RETURN_IF_ERROR(base::Annotate(WriteContent(dir_fd, name, st), path));
  if (auto others = unchanged_.find(st.st_ino); IsLinked(st) && others != unchanged_.end()) {
    for (const std::string& other : others->second)
      GANTRY_RETURN_IF_ERROR(WriteLink(other, path, st));
    unchanged_.erase(others);
  }
  return absl::OkStatus();
}

absl::Status ChangeWriter::WriteContent(int dir_fd, const std::string& name,
                                        const struct stat& st) {
  TarEntry entry = EntryOf(PathOf(name), st);
  GANTRY_ASSIGN_OR_RETURN(entry.type, TypeOf(st.st_mode));
  // Only what is certain to be a regular file is opened for reading: a fifo would block.
  int flags = S_ISREG(st.st_mode) ? O_RDONLY | O_NONBLOCK : O_PATH;
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenChild(dir_fd, name, flags));
  struct stat now;
  if (fstat(fd.get(), &now) != 0) return base::ErrnoStatus(errno, "stat");
  if (((now.st_mode ^ st.st_mode) & S_IFMT) != 0)
    return absl::FailedPreconditionError("was replaced while it was read");
  GANTRY_ASSIGN_OR_RETURN(entry.xattrs, ReadXattrs(fd.get()));
  if (S_ISLNK(st.st_mode)) {
    char target[PATH_MAX];
    ssize_t n = readlinkat(fd.get(), "", target, sizeof target);
    if (n < 0) return base::ErrnoStatus(errno, "read link");
    entry.link_name.assign(target, static_cast<size_t>(n));
  }
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
    entry.dev_major = major(st.st_rdev);
    entry.dev_minor = minor(st.st_rdev);
  }
  if (!S_ISREG(st.st_mode)) return tar_.AddEntry(entry);
  entry.size = now.st_size;
  GANTRY_RETURN_IF_ERROR(tar_.AddEntry(entry));
  std::vector<char> buffer(256 << 10);
  for (int64_t left = entry.size; left > 0;) {
    ssize_t n = read(fd.get(), buffer.data(), std::min(buffer.size(), static_cast<size_t>(left)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read");
    if (n == 0) return absl::FailedPreconditionError("became shorter while it was read");
    GANTRY_RETURN_IF_ERROR(tar_.Write(absl::string_view(buffer.data(), static_cast<size_t>(n))));
    left -= n;
  }
  return absl::OkStatus();
}

}  // namespace gantry::services
