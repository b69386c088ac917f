#include "snapshotter/native.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "snapshotter/copy_tree.h"
#include "snapshotter/usage.h"

namespace gantry::snapshotter {

absl::StatusOr<std::unique_ptr<Driver>> NativeDriver::Open(const DriverConfig& config) {
  std::unique_ptr<NativeDriver> driver(new NativeDriver());
  GANTRY_RETURN_IF_ERROR(driver->OpenRoot(config));
  return std::unique_ptr<Driver>(std::move(driver));
}

absl::Status NativeDriver::Create(const Spec& spec) {
  GANTRY_RETURN_IF_ERROR(ValidateId(spec.id));
  for (const std::string& parent : spec.parents) GANTRY_RETURN_IF_ERROR(ValidateId(parent));
  GANTRY_RETURN_IF_ERROR(MakeDir(spec.id, 0755));
  absl::Status filled = Fill(spec);
  if (!filled.ok()) Remove(spec.id).IgnoreError();  // List() shows it if even that fails
  return filled;
}

absl::Status NativeDriver::Fill(const Spec& spec) {
  if (spec.kind == Kind::kView || spec.parents.empty())
    return InheritRoot(spec, spec.parents.empty() ? "" : spec.parents.front(), spec.id);
  const std::string& parent = spec.parents.front();
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd from,
                          base::OpenChild(snapshots_fd(), parent, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd to,
                          base::OpenChild(snapshots_fd(), spec.id, O_RDONLY | O_DIRECTORY));
  GANTRY_RETURN_IF_ERROR(base::Annotate(CopyTree(std::move(from), std::move(to)),
                                        absl::StrCat("copy snapshot ", parent)));
  return InheritRoot(spec, parent, spec.id);
}

std::vector<base::Mount> NativeDriver::Mounts(const Spec& spec) const {
  bool view = spec.kind == Kind::kView;
  const std::string& tree = view && !spec.parents.empty() ? spec.parents.front() : spec.id;
  return {{"bind", PathOf(tree), "", {"rbind", view ? "ro" : "rw"}}};
}

absl::StatusOr<Usage> NativeDriver::Commit(const std::string& id, std::optional<Usage>) {
  // Who unpacked a layer counted that layer; a snapshot here holds its parents' files as well.
  return GetUsage(id);
}

absl::StatusOr<Usage> NativeDriver::GetUsage(const std::string& id) const {
  GANTRY_RETURN_IF_ERROR(ValidateId(id));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd tree,
                          base::OpenChild(snapshots_fd(), id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return CountUsage(std::move(tree));
}

absl::StatusOr<std::string> NativeDriver::LayerDir(const std::string&) const {
  return absl::UnimplementedError(
      "layer directory: the native snapshotter keeps whole trees; unpack through its mounts");
}

}  // namespace gantry::snapshotter
