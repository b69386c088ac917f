#include "ctl/managed_run.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "client/attach.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "ctl/output.h"
#include "ctl/session.h"
#include "ctl/terminal.h"
#include "gantry/services/lifecycle/v1/lifecycle.methods.h"
#include "gantry/services/volumes/v1/volumes.methods.h"

namespace gantry::ctl {
namespace {

namespace networks = gantry::services::networks::v1;
namespace volumes = gantry::services::volumes::v1;
using Methods = life::LifecycleMethods;

absl::Status Bad(absl::string_view flag, absl::string_view value, absl::string_view want) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " \"", value, "\": expected ", want));
}

struct PortRange {
  uint32_t first = 0;
  uint32_t last = 0;
};

absl::StatusOr<PortRange> ParsePorts(absl::string_view text, absl::string_view whole) {
  std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  PortRange range;
  if (ends.second.empty()) ends.second = ends.first;
  if (!absl::SimpleAtoi(ends.first, &range.first) || !absl::SimpleAtoi(ends.second, &range.last) ||
      range.first < 1 || range.last > 65535 || range.first > range.last) {
    return Bad("--publish", whole, "ports from 1 to 65535");
  }
  return range;
}

absl::Status ParseTime(const Arguments& args, const char* flag,
                       google::protobuf::Duration* duration) {
  if (!args.Has(flag)) return absl::OkStatus();
  absl::Duration value;
  const std::string text = args.String(flag);
  if (!absl::ParseDuration(text, &value) || value < absl::Milliseconds(1))
    return Bad(absl::StrCat("--", flag), text, "a time such as 30s or 1m30s");
  duration->set_seconds(absl::ToInt64Seconds(value));
  duration->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(value - absl::Seconds(absl::ToInt64Seconds(value)))));
  return absl::OkStatus();
}

absl::Status ParseHealth(const Arguments& args, life::Policy* policy) {
  if (!args.Has("health-cmd")) return absl::OkStatus();
  life::HealthCheck* health = policy->mutable_health();
  for (const std::string& word :
       {std::string("/bin/sh"), std::string("-c"), args.String("health-cmd")}) {
    health->add_test(word);
  }
  GANTRY_RETURN_IF_ERROR(ParseTime(args, "health-interval", health->mutable_interval()));
  GANTRY_RETURN_IF_ERROR(ParseTime(args, "health-timeout", health->mutable_timeout()));
  GANTRY_RETURN_IF_ERROR(ParseTime(args, "health-start-period", health->mutable_start_period()));
  GANTRY_RETURN_IF_ERROR(
      ParseTime(args, "health-start-interval", health->mutable_start_interval()));
  uint32_t retries = 0;
  const std::string text = args.String("health-retries", "3");
  if (!absl::SimpleAtoi(text, &retries) || retries < 1)
    return Bad("--health-retries", text, "a number from 1");
  health->set_retries(retries);
  return absl::OkStatus();
}

// Its files in the container's directory, and its network namespace.
absl::StatusOr<std::string> ManagedSpec(const client::ContainerRecord& record, bool networks) {
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::ContainerSpec(record));
  for (const char* name : {"hostname", "hosts", "resolv.conf"}) {
    spec["mounts"].push_back({{"destination", absl::StrCat("/etc/", name)},
                              {"type", "bind"},
                              {"source", absl::StrCat("{dir}/", name)},
                              {"options", {"rbind", "rprivate"}}});
  }
  if (networks) {
    for (base::Json& entry : spec["linux"]["namespaces"]) {
      if (base::JsonString(entry, "type") == "network") entry["path"] = "{netns}";
    }
  }
  return base::DumpJson(spec);
}

absl::Status EnsureVolume(const client::Connection& connection, const std::string& name) {
  volumes::CreateVolumeRequest request;
  request.mutable_volume()->set_name(name);
  volumes::CreateVolumeResponse response;
  return connection.Call(volumes::VolumesMethods::kCreate, request, &response);
}

// Puts the directories of the volumes in the place of their names.
absl::StatusOr<client::ContainerRecord> WithVolumes(const client::Connection& connection,
                                                    const RunOptions& run,
                                                    client::ContainerRecord record) {
  if (run.named_volumes.empty()) return record;
  GANTRY_ASSIGN_OR_RETURN(base::Json spec, client::ContainerSpec(record));
  for (const NamedVolume& volume : run.named_volumes) {
    GANTRY_RETURN_IF_ERROR(EnsureVolume(connection, volume.name));
    volumes::GetVolumeRequest get;
    get.set_name(volume.name);
    volumes::GetVolumeResponse got;
    GANTRY_RETURN_IF_ERROR(connection.Call(volumes::VolumesMethods::kGet, get, &got));
    base::Json options = {"rbind", "rprivate"};
    if (volume.read_only) options.push_back("ro");
    spec["mounts"].push_back({{"destination", volume.destination},
                              {"type", "bind"},
                              {"source", got.volume().volume().mountpoint()},
                              {"options", options}});
  }
  record.mutable_spec()->set_value(base::DumpJson(spec));
  return record;
}

// No descriptor when the program has ended without a word: its shim keeps what a
// program wrote for us, and nothing else.
absl::StatusOr<base::UniqueFd> AttachUnlessEnded(const client::Connection& connection,
                                                 const life::Container& container,
                                                 bool with_stdin) {
  absl::StatusOr<base::UniqueFd> fd;
  for (int attempt = 0; attempt < 100; ++attempt) {
    fd = client::Attach(container.state().attach_path(), {with_stdin, true, true});
    if (fd.ok()) return fd;
    auto now = GetManaged(connection, container.id());
    const bool ended = absl::IsNotFound(now.status()) ||
                       (now.ok() && now->state().attach_path().empty()) ||
                       (now.ok() && now->state().pid() != container.state().pid());
    if (ended) return base::UniqueFd();
    absl::SleepFor(absl::Milliseconds(20));
  }
  return fd;
}

// Splits what comes without a terminal into our stdout and stderr.
class FrameSplitter {
 public:
  absl::Status Take(absl::string_view data) {
    while (!data.empty()) {
      if (left_ == 0) {
        const size_t take = std::min(data.size(), kHeader - header_.size());
        header_.append(data.data(), take);
        data.remove_prefix(take);
        if (header_.size() < kHeader) return absl::OkStatus();
        fd_ = header_[0] == 2 ? STDERR_FILENO : STDOUT_FILENO;
        for (int i = 4; i < 8; ++i)
          left_ = left_ << 8 | static_cast<uint8_t>(header_[static_cast<size_t>(i)]);
        header_.clear();
        continue;
      }
      const size_t take = std::min<size_t>(data.size(), left_);
      GANTRY_RETURN_IF_ERROR(base::WriteAll(fd_, data.substr(0, take)));
      data.remove_prefix(take);
      left_ -= static_cast<uint32_t>(take);
    }
    return absl::OkStatus();
  }

 private:
  static constexpr size_t kHeader = 8;
  std::string header_;
  uint32_t left_ = 0;
  int fd_ = STDOUT_FILENO;
};

void Resize(const client::Connection& connection, const std::string& id) {
  const WindowSize size = GetWindowSize(STDIN_FILENO);
  if (size.width == 0) return;
  containerd::services::tasks::v1::ResizePtyRequest request;
  request.set_container_id(id);
  request.set_width(size.width);
  request.set_height(size.height);
  google::protobuf::Empty nothing;
  (void)connection.Call(containerd::services::tasks::v1::TasksMethods::kResizePty, request,
                        &nothing);
}

// Copies between the attached streams and ours until the container's output has ended.
absl::Status CopyStreams(const client::Connection& connection, const RunOptions& run,
                         const std::string& id, int socket, int signals) {
  FrameSplitter splitter;
  std::string buffer(64u << 10, '\0');
  bool input = run.interactive;
  int interrupts = 0;
  while (true) {
    pollfd fds[3] = {
        {socket, POLLIN, 0}, {signals, POLLIN, 0}, {input ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(fds, 3, -1) < 0 && errno != EINTR) return base::ErrnoStatus(errno, "poll");
    while (int signal = NextSignal(signals)) {
      if (signal == SIGWINCH) {
        Resize(connection, id);
        continue;
      }
      const bool enough = signal == SIGINT && ++interrupts == kInterruptsToKill;
      if (enough) PrintNote("gantryctl: the program does not stop; killing it\n");
      (void)KillManaged(connection, id, static_cast<uint32_t>(enough ? SIGKILL : signal));
    }
    if (fds[2].revents != 0) {
      ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n > 0) {
        // The program may have ended; then what it wrote is all there is.
        (void)base::WriteAll(socket, absl::string_view(buffer.data(), static_cast<size_t>(n)));
      } else if (n == 0 || errno != EINTR) {
        shutdown(socket, SHUT_WR);
        input = false;
      }
    }
    if (fds[0].revents == 0) continue;
    ssize_t n = read(socket, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::OkStatus();
    absl::string_view data(buffer.data(), static_cast<size_t>(n));
    GANTRY_RETURN_IF_ERROR(run.spec.terminal ? base::WriteAll(STDOUT_FILENO, data)
                                             : splitter.Take(data));
  }
}

}  // namespace

std::vector<Flag> ManagedFlags() {
  constexpr FlagKind kString = FlagKind::kString;
  constexpr FlagKind kList = FlagKind::kList;
  return {{"restart", '\0', kString, "POLICY",
           "no, on-failure[:RETRIES], always or unless-stopped: gantryd starts it again"},
          {"publish", 'p', kList, "[[IP:]PORT:]PORT[/PROTOCOL]", "reach a port from outside"},
          {"health-cmd", '\0', kString, "COMMAND", "tells by its exit code whether all is well"},
          {"health-interval", '\0', kString, "TIME", "pause between checks (default 30s)"},
          {"health-timeout", '\0', kString, "TIME", "longest check (default 30s)"},
          {"health-retries", '\0', kString, "N", "failures in a row (default 3)"},
          {"health-start-period", '\0', kString, "TIME", "failures do not count at first"},
          {"health-start-interval", '\0', kString, "TIME", "pause meanwhile (default 5s)"}};
}

absl::StatusOr<life::RestartPolicy> ParseRestart(absl::string_view text) {
  std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  life::RestartPolicy policy;
  policy.set_name(std::string(parts.first));
  uint32_t retries = 0;
  if (!parts.second.empty() &&
      (parts.first != "on-failure" || !absl::SimpleAtoi(parts.second, &retries)))
    return Bad("--restart", text, "no, on-failure[:RETRIES], always or unless-stopped");
  policy.set_maximum_retries(retries);
  return policy;
}

absl::StatusOr<std::vector<networks::PortBinding>> ParsePublish(absl::string_view text) {
  std::pair<absl::string_view, absl::string_view> by_slash =
      absl::StrSplit(text, absl::MaxSplits('/', 1));
  const std::string protocol(by_slash.second.empty() ? "tcp" : by_slash.second);
  if (protocol != "tcp" && protocol != "udp" && protocol != "sctp")
    return Bad("--publish", text, "a protocol of tcp, udp, sctp");
  absl::string_view rest = by_slash.first;
  const size_t last = rest.rfind(':');
  GANTRY_ASSIGN_OR_RETURN(
      PortRange inside,
      ParsePorts(last == absl::string_view::npos ? rest : rest.substr(last + 1), text));
  rest = last == absl::string_view::npos ? "" : rest.substr(0, last);
  const size_t before = rest.rfind(':');
  std::string ip;
  if (before != absl::string_view::npos) {
    ip = std::string(rest.substr(0, before));
    if (absl::StartsWith(ip, "[") && absl::EndsWith(ip, "]")) ip = ip.substr(1, ip.size() - 2);
    rest.remove_prefix(before + 1);
  }
  PortRange outside;
  if (!rest.empty()) {
    GANTRY_ASSIGN_OR_RETURN(outside, ParsePorts(rest, text));
  }
  const bool one = inside.first == inside.last;
  if (!rest.empty() && !one && outside.last - outside.first != inside.last - inside.first)
    return Bad("--publish", text, "ranges of one length");
  std::vector<networks::PortBinding> bindings;
  for (uint32_t port = inside.first; port <= inside.last; ++port) {
    networks::PortBinding& binding = bindings.emplace_back();
    binding.set_container_port(port);
    binding.set_protocol(protocol);
    binding.set_host_ip(ip);
    if (rest.empty()) continue;
    binding.set_host_port(outside.first + (port - inside.first));
    if (one && outside.last > outside.first) binding.set_host_port_end(outside.last);
  }
  return bindings;
}

absl::Status ParseManaged(const Arguments& args, RunOptions* run) {
  life::Policy& policy = run->policy;
  if (args.Has("restart")) {
    GANTRY_ASSIGN_OR_RETURN(*policy.mutable_restart(), ParseRestart(args.String("restart")));
  }
  for (const std::string& text : args.List("publish")) {
    GANTRY_ASSIGN_OR_RETURN(auto bindings, ParsePublish(text));
    for (auto& binding : bindings) *policy.add_ports() = std::move(binding);
  }
  GANTRY_RETURN_IF_ERROR(ParseHealth(args, &policy));
  const std::string network = args.String("net", args.String("network", "none"));
  const bool ports = !policy.ports().empty();
  if (network == "host" || (network == "none" && !ports)) {
    policy.set_network_mode(network);
  } else {
    policy.set_network_mode("networks");
    policy.add_endpoints()->set_network(network == "none" ? "bridge" : network);
  }
  run->managed = args.Has("restart") || ports || policy.has_health() ||
                 policy.network_mode() == "networks" || !run->named_volumes.empty();
  for (const NamedVolume& volume : run->named_volumes) policy.add_volumes(volume.name);
  if (run->managed && !run->pid_file.empty())
    return absl::InvalidArgumentError("--pid-file is not for containers that are kept up");
  return absl::OkStatus();
}

namespace {

absl::StatusOr<life::CreateRequest> ManagedRequest(const client::Connection& connection,
                                                   const RunOptions& run,
                                                   const client::ContainerRecord& given,
                                                   const std::string& parent) {
  GANTRY_ASSIGN_OR_RETURN(client::ContainerRecord record, WithVolumes(connection, run, given));
  life::CreateRequest request;
  request.set_id(record.id());
  request.set_image(record.image());
  *request.mutable_labels() = record.labels();
  request.set_runtime(record.runtime().name());
  request.set_snapshotter(record.snapshotter());
  request.set_parent(parent);
  life::Policy& policy = *request.mutable_policy();
  policy = run.policy;
  if (run.managed) {
    GANTRY_ASSIGN_OR_RETURN(*request.mutable_spec(),
                            ManagedSpec(record, policy.network_mode() == "networks"));
    policy.set_manage_hostname(true);
    policy.set_manage_hosts(true);
    policy.set_manage_resolv_conf(true);
  } else {
    request.set_spec(record.spec().value());
  }
  // The others have their names as a label, as before there was a life cycle.
  if (run.managed) policy.set_name(run.name);
  policy.set_auto_remove(run.remove);
  auto signal = record.labels().find("gantry/stop-signal");
  if (signal != record.labels().end()) policy.set_stop_signal(signal->second);
  policy.set_hostname(run.spec.hostname.empty() ? record.id().substr(0, 12) : run.spec.hostname);
  policy.set_terminal(run.spec.terminal);
  policy.set_open_stdin(run.interactive);
  policy.set_stdin_once(run.interactive && !run.detach);
  if (run.managed && run.log_driver != "none")
    policy.set_log_uri(absl::StrCat("json-file://{dir}/", record.id(), "-json.log"));
  return request;
}

// The next message of `stream`, which is to be of the kind that `is` tells.
absl::Status ReadNext(client::rpc::Reader<life::RunResponse>& stream,
                      life::RunResponse::WhatCase is, life::RunResponse* message) {
  if (stream.Read(message) && message->what_case() == is) return absl::OkStatus();
  absl::Status status = stream.Finish();
  return status.ok() ? absl::InternalError("gantryd ended the call without an answer") : status;
}

}  // namespace

absl::Status CreateManaged(const client::Connection& connection, const RunOptions& run,
                           const client::ContainerRecord& record, const std::string& parent) {
  GANTRY_ASSIGN_OR_RETURN(life::CreateRequest request,
                          ManagedRequest(connection, run, record, parent));
  life::CreateResponse response;
  return connection.Call(Methods::kCreate, request, &response);
}

absl::StatusOr<int> RunManaged(const client::Connection& connection, const RunOptions& run,
                               const client::ContainerRecord& record, const std::string& parent) {
  GANTRY_ASSIGN_OR_RETURN(life::CreateRequest request,
                          ManagedRequest(connection, run, record, parent));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd signals,
                          WatchSignals({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}));
  auto stream = connection.Open(Methods::kRun, request);
  life::RunResponse message;
  GANTRY_RETURN_IF_ERROR(ReadNext(stream, life::RunResponse::kRunning, &message));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd socket,
                          AttachUnlessEnded(connection, message.running(), run.interactive));
  RawTerminal raw;
  if (run.spec.terminal && run.interactive) {
    GANTRY_RETURN_IF_ERROR(raw.Enter(STDIN_FILENO));
    Resize(connection, record.id());
  }
  if (socket) {
    GANTRY_RETURN_IF_ERROR(CopyStreams(connection, run, record.id(), socket.get(), signals.get()));
  }
  raw.Restore();
  GANTRY_RETURN_IF_ERROR(ReadNext(stream, life::RunResponse::kEnded, &message));
  return static_cast<int>(message.ended().exit_code());
}

}  // namespace gantry::ctl
