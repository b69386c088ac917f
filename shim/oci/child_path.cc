#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "shim/oci/child.h"

namespace gantry::oci {
namespace {

constexpr int kMaxLinks = 40;

// Walks a path one component at a time to make what is missing. `done` is the resolved part (no
// symbolic link in it, "" is the root), `todo` what is left.
class Maker {
 public:
  Maker(int root, bool directory) : root_(root), directory_(directory) {}

  int Run(const char* path) {
    if (strlen(path) >= sizeof todo_) return Error(ENAMETOOLONG);
    strcpy(todo_, path);
    char name[NAME_MAX + 1];
    while (true) {
      int has = NextName(name);
      if (has < 0) return -1;
      if (has == 0) return OpenInRoot(root_, done_[0] ? done_ : "/", O_PATH);
      if (Step(name) != 0) return -1;
    }
  }

 private:
  static int Error(int error) {
    errno = error;
    return -1;
  }

  // Takes the first component off todo_. 1: there is one, 0: none, -1: too long.
  int NextName(char* name) {
    char* start = todo_;
    while (*start == '/') ++start;
    if (*start == '\0') return 0;
    size_t length = strcspn(start, "/");
    if (length > NAME_MAX) return Error(ENAMETOOLONG);
    memcpy(name, start, length);
    name[length] = '\0';
    memmove(todo_, start + length, strlen(start + length) + 1);
    return 1;
  }

  bool IsLast() const { return todo_[strspn(todo_, "/")] == '\0'; }

  int Step(const char* name) {
    if (strcmp(name, ".") == 0) return 0;
    if (strcmp(name, "..") == 0) {
      char* slash = strrchr(done_, '/');
      *(slash ? slash : done_) = '\0';
      return 0;
    }
    size_t before = strlen(done_);
    if (before + 1 + strlen(name) >= sizeof done_) return Error(ENAMETOOLONG);
    done_[before] = '/';
    strcpy(done_ + before + 1, name);
    int fd = OpenInRoot(root_, done_, O_PATH | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
      if (Make(before, name) != 0) return -1;
      fd = OpenInRoot(root_, done_, O_PATH | O_NOFOLLOW);
    }
    if (fd < 0) return -1;
    struct stat st;
    int result = fstat(fd, &st);
    if (result == 0 && S_ISLNK(st.st_mode)) {
      bool absolute = false;
      result = Follow(fd, &absolute);
      done_[absolute ? 0 : before] = '\0';
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
  }

  int Make(size_t parent_length, const char* name) {
    char parent[PATH_MAX];
    memcpy(parent, done_, parent_length);
    parent[parent_length] = '\0';
    int dir = OpenInRoot(root_, parent_length ? parent : "/", O_PATH | O_DIRECTORY);
    if (dir < 0) return -1;
    int result = 0;
    if (IsLast() && !directory_) {
      int file = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
      result = file < 0 && errno != EEXIST ? -1 : 0;
      if (file >= 0) close(file);
    } else if (mkdirat(dir, name, 0755) != 0 && errno != EEXIST) {
      result = -1;
    }
    int saved = errno;
    close(dir);
    errno = saved;
    return result;
  }

  // Puts the link's text before what is left; an absolute one starts over.
  int Follow(int link_fd, bool* absolute) {
    if (++links_ > kMaxLinks) return Error(ELOOP);
    char text[PATH_MAX];
    ssize_t length = readlinkat(link_fd, "", text, sizeof text - 1);
    if (length < 0) return -1;
    text[length] = '\0';
    size_t rest = strlen(todo_);
    if (static_cast<size_t>(length) + 1 + rest >= sizeof todo_) return Error(ENAMETOOLONG);
    memmove(todo_ + length + 1, todo_, rest + 1);
    memcpy(todo_, text, static_cast<size_t>(length));
    todo_[length] = '/';
    *absolute = text[0] == '/';
    return 0;
  }

  int root_;
  bool directory_;
  int links_ = 0;
  char done_[PATH_MAX] = {};
  char todo_[PATH_MAX] = {};
};

// Makes only the last component, in a parent that exists. False: it takes a walk to make it, or to
// say why it cannot be made.
bool MakeLast(int root, const char* path, bool directory) {
  const char* slash = strrchr(path, '/');
  const char* name = slash ? slash + 1 : path;
  size_t length = slash ? static_cast<size_t>(slash - path) : 0;
  char parent[PATH_MAX] = "/";
  if (length >= sizeof parent || *name == '\0' || strcmp(name, ".") == 0 ||
      strcmp(name, "..") == 0) {
    return false;
  }
  if (length > 0) {
    memcpy(parent, path, length);
    parent[length] = '\0';
  }
  int dir = OpenInRoot(root, parent, O_PATH | O_DIRECTORY);
  if (dir < 0) return false;
  // A dangling link of that name is followed by neither call: both find that it exists.
  bool made = false;
  if (directory) {
    made = mkdirat(dir, name, 0755) == 0;
  } else {
    int file = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
    made = file >= 0;
    if (made) close(file);
  }
  close(dir);
  return made;
}

}  // namespace

FdPath::FdPath(int fd) { snprintf(text, sizeof text, "/proc/self/fd/%d", fd); }

int OpenInRoot(int root, const char* path, int flags, uint64_t extra_resolve) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | extra_resolve;
  // EAGAIN: a rename somewhere raced with ".." (openat2(2)); an attacker must not make us spin.
  for (int attempt = 0; attempt < 256; ++attempt) {
    int fd = static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return fd;
  }
  return -1;
}

int OpenOrMake(int root, const char* path, bool directory) {
  int fd = OpenInRoot(root, path, O_PATH);
  if (fd >= 0 || errno != ENOENT) return fd;
  if (MakeLast(root, path, directory)) return OpenInRoot(root, path, O_PATH);
  return Maker(root, directory).Run(path);
}

int OpenParent(int root, const char* path, const char** name) {
  const char* slash = strrchr(path, '/');
  *name = slash ? slash + 1 : path;
  if (**name == '\0') {
    errno = EINVAL;
    return -1;
  }
  size_t length = slash ? static_cast<size_t>(slash - path) : 0;
  if (length == 0) return OpenInRoot(root, "/", O_PATH | O_DIRECTORY);
  char parent[PATH_MAX];
  if (length >= sizeof parent) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(parent, path, length);
  parent[length] = '\0';
  return OpenOrMake(root, parent, true);
}

}  // namespace gantry::oci
