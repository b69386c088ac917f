#include "services/tasks/shim_binary.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "containerd/runtime/task/v2/shim.pb.h"
#include "services/tasks/bootstrap.h"

namespace gantry::services {
namespace {

using base::UniqueFd;

constexpr size_t kMaxOutput = 1u << 20;

struct Output {
  base::ExitStatus exit;
  std::string out;
  std::string err;
};

absl::StatusOr<UniqueFd> MemoryFile(absl::string_view content) {
  UniqueFd fd(memfd_create("gantry-shim", MFD_CLOEXEC));
  if (!fd) return base::ErrnoStatus(errno, "memfd_create");
  GANTRY_RETURN_IF_ERROR(base::WriteAll(fd.get(), content));
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return base::ErrnoStatus(errno, "lseek");
  return fd;
}

absl::StatusOr<std::string> Content(int fd) {
  if (lseek(fd, 0, SEEK_SET) != 0) return base::ErrnoStatus(errno, "lseek");
  return base::ReadFd(fd, kMaxOutput);
}

// Memory files for all three streams: no pipe can fill up or be kept open by what the shim left
// behind, so the end of the process is the end of the action.
absl::StatusOr<Output> RunAction(base::SpawnOptions options, absl::string_view input,
                                 absl::Time deadline) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd in, MemoryFile(input));
  GANTRY_ASSIGN_OR_RETURN(UniqueFd out, MemoryFile(""));
  GANTRY_ASSIGN_OR_RETURN(UniqueFd err, MemoryFile(""));
  options.fds = {{0, in.get()}, {1, out.get()}, {2, err.get()}};
  options.new_process_group = true;
  GANTRY_ASSIGN_OR_RETURN(base::Process process, base::Process::Spawn(options));
  absl::Duration left =
      deadline == absl::InfiniteFuture() ? absl::InfiniteDuration() : deadline - absl::Now();
  absl::StatusOr<base::ExitStatus> exit = process.Wait(std::max(left, absl::ZeroDuration()));
  if (!exit.ok()) {
    kill(-process.pid(), SIGKILL);
    process.Wait().IgnoreError();
    return absl::DeadlineExceededError(
        absl::StrCat(options.argv[0], " ", options.argv.back(), " did not end in time: killed"));
  }
  Output output;
  output.exit = *exit;
  GANTRY_ASSIGN_OR_RETURN(output.out, Content(out.get()));
  GANTRY_ASSIGN_OR_RETURN(output.err, Content(err.get()));
  return output;
}

absl::Status Failure(const Output& output) {
  std::string text = absl::StrCat(output.out, output.err);
  absl::StripAsciiWhitespace(&text);
  std::string how = output.exit.signal != 0 ? absl::StrCat("signal ", output.exit.signal)
                                            : absl::StrCat("exit status ", output.exit.code);
  return absl::UnknownError(text.empty() ? how : absl::StrCat(text, ": ", how));
}

void LogNoise(const std::string& binary, const std::string& id, absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return;
  // Shims report on their stderr also when all is well.
  bool trouble = absl::StrContains(text, "level=error") || !absl::StrContains(text, "level=");
  base::Log(trouble ? base::LogLevel::kWarn : base::LogLevel::kDebug, "shim said",
            {{"binary", binary}, {"id", id}, {"text", text.substr(0, 4096)}});
}

std::string SerializeOptions(const google::protobuf::Any& options) {
  return options.type_url().empty() ? "" : options.SerializeAsString();
}

}  // namespace

std::vector<std::string> ShimBinary::Arguments(const std::string& ns, const std::string& id) const {
  std::vector<std::string> argv = {binary_,
                                   "-namespace",
                                   ns,
                                   "-address",
                                   environment_.grpc_address,
                                   "-publish-binary",
                                   environment_.publish_binary,
                                   "-id",
                                   id};
  if (environment_.debug) argv.push_back("-debug");
  return argv;
}

absl::StatusOr<ShimBootstrap> ShimBinary::Start(const ShimLauncher::Request& request) const {
  base::SpawnOptions options;
  options.argv = Arguments(request.ns, request.id);
  options.argv.push_back("start");
  options.cwd = request.bundle;
  options.env = environment_.variables;
  options.env.push_back(absl::StrCat("GOMAXPROCS=2"));
  options.env.push_back(absl::StrCat("TTRPC_ADDRESS=", environment_.ttrpc_address));
  options.env.push_back(absl::StrCat("GRPC_ADDRESS=", environment_.grpc_address));
  options.env.push_back(absl::StrCat("NAMESPACE=", request.ns));
  options.env.push_back("MAX_SHIM_VERSION=2");
  GANTRY_ASSIGN_OR_RETURN(Output output,
                          RunAction(options, SerializeOptions(request.options), request.deadline));
  if (output.exit.code != 0) return Failure(output);
  LogNoise(binary_, request.id, output.err);
  return ParseBootstrap(output.out);
}

absl::StatusOr<ShimExit> ShimBinary::Delete(const std::string& ns, const std::string& id,
                                            const std::string& bundle,
                                            absl::Duration timeout) const {
  base::SpawnOptions options;
  options.argv = Arguments(ns, id);
  options.argv.insert(options.argv.end(), {"-bundle", bundle, "delete"});
  options.cwd = bundle;
  options.env = environment_.variables;
  options.env.push_back("GOMAXPROCS=2");
  options.env.push_back(absl::StrCat("TTRPC_ADDRESS=", environment_.ttrpc_address));
  options.env.push_back(absl::StrCat("GRPC_ADDRESS=", environment_.grpc_address));
  options.env.push_back(absl::StrCat("NAMESPACE=", ns));
  options.env.push_back("MAX_SHIM_VERSION=2");
  GANTRY_ASSIGN_OR_RETURN(Output output, RunAction(options, "", absl::Now() + timeout));
  if (output.exit.code != 0) return Failure(output);
  LogNoise(binary_, id, output.err);
  containerd::task::v2::DeleteResponse response;
  if (!response.ParseFromString(output.out)) {
    return absl::InternalError(absl::StrCat(binary_, " delete did not print a DeleteResponse"));
  }
  return ShimExit{response.pid(), response.exit_status(), base::GetTimestamp(response.exited_at())};
}

absl::StatusOr<containerd::types::RuntimeInfo> ShimBinary::Info(
    const google::protobuf::Any& options, absl::Duration timeout) const {
  base::SpawnOptions spawn;
  spawn.argv = {binary_, "-info"};
  GANTRY_ASSIGN_OR_RETURN(Output output,
                          RunAction(spawn, SerializeOptions(options), absl::Now() + timeout));
  if (output.exit.code != 0) {
    return base::Annotate(Failure(output), absl::StrCat("failed to run ", binary_, " -info"));
  }
  containerd::types::RuntimeInfo info;
  if (!info.ParseFromString(output.out)) {
    return absl::InternalError(absl::StrCat(binary_, " -info did not print a RuntimeInfo"));
  }
  return info;
}

}  // namespace gantry::services
