// Fills a fresh tmpfs with the directory that it hides (mount option tmpcopyup). Everything is
// reached by descriptor; nothing of the image is followed or executed.

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

// Each level has a buffer on the stack; a tree that is deeper is refused.
constexpr int kMaxDepth = 64;

struct Entry {  // linux_dirent64
  uint64_t inode;
  int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

class Copier {
 public:
  Copier(const ChildLink& link, const char* destination) : link_(link), where_(destination) {}

  void Directory(int from, int to, int depth) {
    if (depth > kMaxDepth) Fail(ELOOP);
    alignas(Entry) char buffer[4096];
    while (true) {
      long n = syscall(SYS_getdents64, from, buffer, sizeof buffer);
      if (n < 0) Fail(errno);
      if (n == 0) return;
      for (long at = 0; at < n;) {
        const Entry* entry = reinterpret_cast<const Entry*>(buffer + at);
        at += entry->length;
        if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
          One(from, to, entry->name, depth);
        }
      }
    }
  }

  // Owner, mode and times of what `from` is, onto `to`.
  void Attributes(int from, int to) {
    struct stat st;
    if (fstat(from, &st) != 0 || fchown(to, st.st_uid, st.st_gid) != 0 ||
        fchmod(to, st.st_mode & 07777) != 0) {
      Fail(errno);
    }
    ExtendedAttributes(from, to);
    timespec times[2] = {st.st_atim, st.st_mtim};
    futimens(to, times);
  }

 private:
  [[noreturn]] void Fail(int error) { link_.Fail(Stage::kCopyUp, error, where_); }

  void One(int from, int to, const char* name, int depth) {
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0) Fail(errno);
    if (S_ISDIR(st.st_mode)) {
      Subdirectory(from, to, name, depth);
    } else if (S_ISREG(st.st_mode)) {
      File(from, to, name);
    } else if (S_ISLNK(st.st_mode)) {
      Link(from, to, name, st);
    } else if (mknodat(to, name, st.st_mode, st.st_rdev) != 0 ||
               fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0 ||
               fchmodat(to, name, st.st_mode & 07777, 0) != 0) {
      Fail(errno);
    }
  }

  void Subdirectory(int from, int to, const char* name, int depth) {
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int source = openat(from, name, kFlags);
    if (source < 0 || mkdirat(to, name, 0700) != 0) Fail(errno);
    int target = openat(to, name, kFlags);
    if (target < 0) Fail(errno);
    Directory(source, target, depth + 1);
    Attributes(source, target);
    close(source);
    close(target);
  }

  void File(int from, int to, const char* name) {
    int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int target = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (source < 0 || target < 0) Fail(errno);
    char buffer[16384];
    ssize_t n;
    while ((n = read(source, buffer, sizeof buffer)) > 0) {
      for (ssize_t done = 0; done < n;) {
        ssize_t written = write(target, buffer + done, static_cast<size_t>(n - done));
        if (written < 0) Fail(errno);
        done += written;
      }
    }
    if (n < 0) Fail(errno);
    Attributes(source, target);
    close(source);
    close(target);
  }

  void Link(int from, int to, const char* name, const struct stat& st) {
    char text[PATH_MAX];
    ssize_t length = readlinkat(from, name, text, sizeof text - 1);
    if (length < 0) Fail(errno);
    text[length] = '\0';
    if (symlinkat(text, to, name) != 0 ||
        fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
      Fail(errno);
    }
  }

  // Those that a tmpfs takes (file capabilities, access lists); what it refuses is left out.
  void ExtendedAttributes(int from, int to) {
    char names[4096], value[4096];
    ssize_t length = flistxattr(from, names, sizeof names);
    for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(strlen(names + at)) + 1) {
      ssize_t size = fgetxattr(from, names + at, value, sizeof value);
      if (size >= 0) fsetxattr(to, names + at, value, static_cast<size_t>(size), 0);
    }
  }

  const ChildLink& link_;
  const char* where_;
};

}  // namespace

void CopyUp(const ChildLink& link, int from, int to, const char* destination) {
  Copier copier(link, destination);
  copier.Directory(from, to, 0);
  copier.Attributes(from, to);
}

}  // namespace gantry::oci
