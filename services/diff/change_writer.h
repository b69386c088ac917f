#ifndef GANTRY_SERVICES_DIFF_CHANGE_WRITER_H_
#define GANTRY_SERVICES_DIFF_CHANGE_WRITER_H_

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/archive/tar_writer.h"

namespace gantry::services {

// Writes changes of a tree as a layer: entries, whiteouts, hard links to what the layer itself
// holds. Directories above a change come before it. Not thread-safe.
class ChangeWriter {
 public:
  ChangeWriter(archive::ByteSink out, std::optional<absl::Time> latest)
      : tar_(std::move(out)), latest_(latest) {}

  // The walk goes into a directory and comes back. Its entry is written when something in it is, or
  // at once with Change().
  void Enter(const std::string& path, int fd, const struct stat& st);
  void Leave();

  // `name` in the directory `dir_fd` was added or changed; for a directory call it after Enter()
  // with that directory's own descriptor and an empty name.
  absl::Status Change(int dir_fd, const std::string& name, const struct stat& st);
  // It did not change, but is one of several links: when another of them did, this one has to be a
  // link to that.
  absl::Status Unchanged(const std::string& name, const struct stat& st);
  absl::Status Delete(const std::string& name);
  // The current directory hides all that lies below it.
  absl::Status Opaque();

  absl::Status Finish() { return tar_.Finish(); }

 private:
  struct Open {
    std::string path;
    int fd;
    struct stat st;
    bool written;
  };

  std::string PathOf(const std::string& name) const;
  absl::Status WriteParents();
  absl::Status WriteDirectory(Open* dir);
  absl::Status WriteMark(const std::string& name);
  absl::Status WriteLink(const std::string& path, const std::string& target, const struct stat& st);
  absl::Status WriteContent(int dir_fd, const std::string& name, const struct stat& st);
  archive::TarEntry EntryOf(const std::string& path, const struct stat& st) const;

  archive::TarWriter tar_;
  const std::optional<absl::Time> latest_;
  std::vector<Open> open_;
  std::map<uint64_t, std::string> linked_;                  // inode to the path that has it
  std::map<uint64_t, std::vector<std::string>> unchanged_;  // inode to links not written
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_DIFF_CHANGE_WRITER_H_
