// gantryd: the supervisor. `gantryd --help` shows the flags, docs/operations.md explains them.

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "services/supervisor/config.h"
#include "services/supervisor/daemon.h"
#include "services/supervisor/idle_memory.h"
#include "services/supervisor/logging.h"
#include "services/supervisor/notify.h"
#include "services/version/version.h"

namespace gantry::services {
namespace {

constexpr char kDefaultConfig[] = "/etc/gantry/config.toml";

struct Flags {
  std::string config = kDefaultConfig;
  std::string root, state, address, log_level;
};

int Fail(const absl::Status& status) {
  std::cerr << "gantryd: " << status.message() << "\n";
  return 1;
}

// The file (the default one may be missing), then the flags over it.
absl::StatusOr<Config> EffectiveConfig(const Flags& flags) {
  absl::StatusOr<Config> config = LoadConfig(flags.config);
  if (!config.ok()) {
    bool may_be_missing = absl::IsNotFound(config.status()) && flags.config == kDefaultConfig;
    if (!may_be_missing) return config;
    config = Config();
  }
  if (!flags.root.empty()) config->root = flags.root;
  if (!flags.state.empty()) config->state = flags.state;
  if (!flags.address.empty()) config->grpc.address = flags.address;
  if (!flags.log_level.empty()) config->log_level = flags.log_level;
  return config;
}

// Blocks until `signals` has one to read; looks after the memory meanwhile.
void WaitForSignal(int signals, IdleMemory* idle) {
  pollfd watched = {signals, POLLIN, 0};
  while (poll(&watched, 1, static_cast<int>(absl::ToInt64Milliseconds(IdleMemory::kPeriod))) <= 0) {
    if (idle->Due(ProcessorTime())) ReleaseIdleMemory();
  }
}

// Lowering it takes CAP_SYS_RESOURCE, which containers often lack: no reason not to serve.
void ApplyOomScore(int score) {
  if (score == 0) return;
  absl::Status written = base::WriteFile("/proc/self/oom_score_adj", absl::StrCat(score));
  if (!written.ok()) {
    base::LogWarn("oom_score is not applied",
                  {{"wanted", absl::StrCat(score)}, {"error", written.message()}});
  }
}

// What can change while we run; the rest takes a restart, which no container notices.
absl::Status Reload(const Flags& flags) {
  GANTRY_ASSIGN_OR_RETURN(Config config, EffectiveConfig(flags));
  GANTRY_RETURN_IF_ERROR(ChangeLogLevel(config.log_level));
  ApplyOomScore(config.oom_score);
  base::LogInfo("configuration read again: log level and OOM score",
                {{"log_level", config.log_level}, {"oom_score", absl::StrCat(config.oom_score)}});
  return absl::OkStatus();
}

// Blocks until SIGTERM or SIGINT; SIGHUP reads the configuration again.
void WaitForEnd(int signals, const Flags& flags) {
  IdleMemory idle;
  signalfd_siginfo info;
  while (true) {
    WaitForSignal(signals, &idle);
    ssize_t n = read(signals, &info, sizeof info);
    if (n != sizeof info) continue;
    if (info.ssi_signo != SIGHUP) {
      base::LogInfo("stopping; containers go on",
                    {{"signal", strsignal(static_cast<int>(info.ssi_signo))}});
      return;
    }
    if (absl::Status reloaded = Reload(flags); !reloaded.ok())
      base::LogError("configuration not reloaded", {{"error", reloaded.message()}});
  }
}

int Serve(const Flags& flags) {
  // Before any thread exists, so that all inherit the mask and only the signalfd sees these.
  sigset_t mask;
  sigemptyset(&mask);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&mask, number);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  signal(SIGPIPE, SIG_IGN);
  base::UniqueFd signals(signalfd(-1, &mask, SFD_CLOEXEC));

  absl::StatusOr<Config> config = EffectiveConfig(flags);
  if (!config.ok()) return Fail(config.status());
  if (absl::Status logging = SetupLogging(config->log_level, config->log_format); !logging.ok()) {
    return Fail(logging);
  }
  for (const std::string& warning : config->warnings) base::LogWarn(warning);
  ApplyOomScore(config->oom_score);
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Start(*config);
  if (!daemon.ok()) {
    base::LogError("gantryd cannot start", {{"error", daemon.status().message()}});
    return 1;
  }
  ReleaseIdleMemory();
  NotifySystemd("READY=1");
  base::LogInfo("gantryd serves",
                {{"version", GantryVersion()}, {"address", config->grpc.address}});
  WaitForEnd(signals.get(), flags);
  NotifySystemd("STOPPING=1");
  daemon->reset();
  return 0;
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app{"gantryd - the supervisor of the gantry container runtime", "gantryd"};
  app.set_version_flag("-v,--version", absl::StrCat("gantryd ", GantryVersion()));
  app.add_option("-c,--config", flags.config, "Configuration file")->capture_default_str();
  app.add_option("-l,--log-level", flags.log_level, "trace, debug, info, warn or error");
  app.add_option("-a,--address", flags.address, "Path of the gRPC socket");
  app.add_option("--root", flags.root, "Directory of persistent data");
  app.add_option("--state", flags.state, "Directory of runtime state");
  CLI::App* config = app.add_subcommand("config", "Show the configuration");
  config->require_subcommand(1);
  CLI::App* config_default =
      config->add_subcommand("default", "The configuration of a new gantryd");
  CLI::App* config_dump =
      config->add_subcommand("dump", "The configuration in effect: file and flags");
  CLI::App* config_migrate = config->add_subcommand(
      "migrate", "The file as gantryd understands it, in the newest version of the format");
  CLI11_PARSE(app, argc, argv);

  if (config_default->parsed()) {
    std::cout << FormatConfig(Config());
    return 0;
  }
  if (config_dump->parsed() || config_migrate->parsed()) {
    absl::StatusOr<Config> shown =
        config_dump->parsed() ? EffectiveConfig(flags) : LoadConfig(flags.config);
    if (!shown.ok()) return Fail(shown.status());
    for (const std::string& warning : shown->warnings) std::cerr << "gantryd: " << warning << "\n";
    std::cout << FormatConfig(*shown);
    return 0;
  }
  return Serve(flags);
}

}  // namespace
}  // namespace gantry::services

int main(int argc, char** argv) {
  // Debian builds Abseil with the search for lock cycles, which triples the cost of every lock and
  // aborts at a mere possibility of one. Tests keep it; a daemon with containers must not.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // One for each of gRPC's, RocksDB's and our threads would keep megabytes that nobody uses.
  mallopt(M_ARENA_MAX, 2);
  return gantry::services::Main(argc, argv);
}
