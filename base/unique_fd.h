#ifndef GANTRY_BASE_UNIQUE_FD_H_
#define GANTRY_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace gantry::base {

// Owns one file descriptor (file, directory, pidfd, mount from open_tree, namespace, …) and closes
// it. Move-only; not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }

  // Gives the descriptor away; the caller closes it.
  int Release() { return std::exchange(fd_, -1); }

  // Closes what is held and takes `fd`. close(2) is never repeated: Linux frees the number even on
  // EINTR.
  void Reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace gantry::base

#endif  // GANTRY_BASE_UNIQUE_FD_H_
