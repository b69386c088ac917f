#ifndef GANTRY_SHIM_OCI_EXPLAIN_H_
#define GANTRY_SHIM_OCI_EXPLAIN_H_

// Turns what a dying child reported into the sentence a user reads, with the words that other tools
// match on ("executable file not found in $PATH", "no such file or directory", "permission
// denied").

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "shim/oci/protocol.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

absl::string_view StageName(Stage stage);

// `child` is the reporting process, still alive and waiting: its root is where programs are looked
// at. 0: do not look.
absl::Status ExplainReport(const Report& report, pid_t child);

// Why execve of `program` (a path inside `root_fd`) gave `error`; reads the file's first bytes. The
// text comes after the error's own: "its interpreter \"/bin/bash\" does not exist in the
// container". Empty when there is nothing to add.
std::string ExplainExec(int root_fd, const std::string& program, int error);

// Why a program that was started ended with `status`, when the files in `root_fd` tell: a library
// that its dynamic linker cannot have found. Empty when there is nothing to say.
std::string ExplainExit(int root_fd, const ProcessSpec& process, int status);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_EXPLAIN_H_
