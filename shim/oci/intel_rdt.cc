#include "shim/oci/intel_rdt.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

std::string GroupOf(const IntelRdt& rdt, const std::string& id, const std::string& root) {
  return absl::StrCat(root, "/", rdt.clos_id.empty() ? id : rdt.clos_id);
}

absl::Status MakeGroup(const std::string& dir) {
  // path: ours, plain names below resctrl
  if (mkdir(dir.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  int error = errno;
  std::string what = absl::StrCat("make resctrl group ", dir);
  if (error == ENOSPC) what += " (the processor has no class of service left)";
  return base::ErrnoStatus(error, what);
}

absl::Status RemoveGroup(const std::string& dir) {
  // path: ours, plain names below resctrl
  if (rmdir(dir.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return base::ErrnoStatus(errno, absl::StrCat("remove resctrl group ", dir));
}

}  // namespace

absl::Status JoinIntelRdt(const IntelRdt& rdt, const std::string& id, pid_t pid,
                          const std::string& root) {
  if (!base::Exists(root + "/schemata")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "linux.intelRdt: no resctrl is mounted on ", root,
        ": the processor or the kernel lacks it, or it needs `mount -t resctrl resctrl ", root,
        "`"));
  }
  std::string group = GroupOf(rdt, id, root);
  GANTRY_RETURN_IF_ERROR(MakeGroup(group));
  for (const std::string& line : rdt.schemata) {
    GANTRY_RETURN_IF_ERROR(base::Annotate(base::WriteFile(group + "/schemata", line + "\n"),
                                          absl::StrCat("linux.intelRdt \"", line, "\"")));
  }
  GANTRY_RETURN_IF_ERROR(base::WriteFile(group + "/tasks", absl::StrCat(pid)));
  if (!rdt.enable_monitoring) return absl::OkStatus();
  std::string monitor = absl::StrCat(group, "/mon_groups/", id);
  GANTRY_RETURN_IF_ERROR(MakeGroup(monitor));
  return base::WriteFile(monitor + "/tasks", absl::StrCat(pid));
}

absl::Status RemoveIntelRdt(const IntelRdt& rdt, const std::string& id, const std::string& root) {
  std::string group = GroupOf(rdt, id, root);
  if (rdt.enable_monitoring) {
    GANTRY_RETURN_IF_ERROR(RemoveGroup(absl::StrCat(group, "/mon_groups/", id)));
  }
  return rdt.clos_id.empty() ? RemoveGroup(group) : absl::OkStatus();
}

}  // namespace gantry::oci
