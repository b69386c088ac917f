#include "services/tasks/bundle.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/mount.h"
#include "base/status.h"

namespace gantry::services {
namespace {

absl::Status MakeDir(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("create directory ", path));
}

// The host's gid of the container's group 0; nothing without a user namespace.
std::optional<gid_t> RemappedGid(const std::string& spec) {
  // Parsing the document only to learn that there is no such thing would cost more than the rest.
  if (!absl::StrContains(spec, "gidMappings")) return std::nullopt;
  absl::StatusOr<base::Json> parsed = base::ParseJson(spec);
  if (!parsed.ok()) return std::nullopt;
  const base::Json& mappings = base::JsonAt(base::JsonAt(*parsed, "linux"), "gidMappings");
  if (!mappings.is_array()) return std::nullopt;
  for (const base::Json& mapping : mappings) {
    if (base::JsonInt(mapping, "containerID", -1) != 0) continue;
    int64_t host = base::JsonInt(mapping, "hostID");
    if (host > 0 && host <= 0xffffffffLL) return static_cast<gid_t>(host);
  }
  return std::nullopt;
}

absl::Status OpenToRemappedRoot(const std::string& path, const std::string& spec) {
  std::optional<gid_t> gid = RemappedGid(spec);
  if (!gid.has_value()) return absl::OkStatus();
  if (chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0 || chmod(path.c_str(), 0710) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("open ", path, " to group ", *gid));
  }
  return absl::OkStatus();
}

absl::Status Fill(const Bundle& bundle, const google::protobuf::Any& spec) {
  GANTRY_RETURN_IF_ERROR(OpenToRemappedRoot(bundle.path(), spec.value()));
  GANTRY_RETURN_IF_ERROR(MakeDir(bundle.File("rootfs"), 0711));
  if (spec.value().empty()) return absl::OkStatus();
  return base::WriteFile(bundle.File("config.json"), spec.value(), 0666);
}

// Renames to a hidden, unused name beside it; empty when there is no such directory.
absl::StatusOr<std::string> Hide(const std::string& path, const std::string& ns_dir,
                                 const std::string& id) {
  std::string hidden = absl::StrCat(ns_dir, "/.", id, ".", base::RandomHex(4));
  if (rename(path.c_str(), hidden.c_str()) == 0) return hidden;
  if (errno == ENOENT) return std::string();
  return base::ErrnoStatus(errno, absl::StrCat("remove ", path));
}

std::string Parent(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

Bundle::Bundle(const std::string& root, const std::string& state, std::string ns, std::string id)
    : ns_(std::move(ns)),
      id_(std::move(id)),
      path_(absl::StrCat(state, "/", ns_, "/", id_)),
      work_(absl::StrCat(root, "/", ns_, "/", id_)) {}

std::string Bundle::File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

absl::StatusOr<Bundle> Bundle::Create(const std::string& root, const std::string& state,
                                      const std::string& ns, const std::string& id,
                                      const google::protobuf::Any& spec) {
  absl::Status valid = base::ValidateIdentifier(id);
  if (!valid.ok()) return base::Annotate(valid, absl::StrCat("invalid task id ", id));
  GANTRY_RETURN_IF_ERROR(base::ValidateIdentifier(ns));
  Bundle bundle(root, state, ns, id);
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(Parent(bundle.path_), 0711));
  GANTRY_RETURN_IF_ERROR(MakeDir(bundle.path_, 0700));
  absl::Status filled = Fill(bundle, spec);
  if (!filled.ok()) {
    base::RemoveTree(bundle.path_).IgnoreError();
    return filled;
  }
  return bundle;
}

absl::Status Bundle::MakeWork() const {
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(Parent(work_), 0711));
  absl::Status made = MakeDir(work_, 0711);
  if (absl::IsAlreadyExists(made)) {
    // Left by a boot whose /run is gone.
    GANTRY_RETURN_IF_ERROR(base::RemoveTree(work_));
    made = MakeDir(work_, 0711);
  }
  GANTRY_RETURN_IF_ERROR(made);
  if (symlink(work_.c_str(), File("work").c_str()) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("link ", File("work")));
}

absl::StatusOr<Bundle::Trash> Bundle::MoveToTrash() const {
  GANTRY_RETURN_IF_ERROR(base::UnmountAll(File("rootfs")));
  Trash trash;
  GANTRY_ASSIGN_OR_RETURN(trash.work, Hide(work_, Parent(work_), id_));
  GANTRY_ASSIGN_OR_RETURN(trash.bundle, Hide(path_, Parent(path_), id_));
  return trash;
}

absl::Status Bundle::Empty(const Trash& trash) {
  absl::Status bundle;
  absl::Status work;
  if (!trash.bundle.empty()) bundle = base::RemoveTree(trash.bundle);
  if (!trash.work.empty()) work = base::RemoveTree(trash.work);
  return bundle.ok() ? work : bundle;
}

absl::Status Bundle::Delete() const {
  GANTRY_ASSIGN_OR_RETURN(Trash trash, MoveToTrash());
  return Empty(trash);
}

}  // namespace gantry::services
