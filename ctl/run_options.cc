#include "ctl/run_options.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/status.h"
#include "client/stdio.h"
#include "ctl/managed_run.h"
#include "ctl/output.h"

namespace gantry::ctl {
namespace {

absl::Status Bad(absl::string_view flag, absl::string_view value, absl::string_view want) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " \"", value, "\": expected ", want));
}

std::string Absolute(absl::string_view path) {
  if (absl::StartsWith(path, "/")) return std::string(path);
  char* here = getcwd(nullptr, 0);
  std::string full = absl::StrCat(here == nullptr ? "" : here, "/", path);
  free(here);
  return full;
}

absl::Status ParseSeccomp(absl::string_view value, client::SpecOptions* spec) {
  if (value == "unconfined") {
    spec->seccomp = client::SeccompMode::kUnconfined;
    return absl::OkStatus();
  }
  if (value == "default" || value == "builtin") return absl::OkStatus();
  auto text = base::ReadFile(std::string(value));
  if (!text.ok()) return base::Annotate(text.status(), "--security-opt seccomp");
  auto profile = base::ParseJson(*text);
  if (!profile.ok()) return base::Annotate(profile.status(), absl::StrCat("profile ", value));
  if (!base::JsonAt(*profile, "defaultAction").is_string()) {
    return Bad("--security-opt seccomp", value, "a JSON file with a linux.seccomp object");
  }
  spec->seccomp = client::SeccompMode::kProfile;
  spec->seccomp_profile = *std::move(profile);
  return absl::OkStatus();
}

absl::Status ParseSecurity(const std::vector<std::string>& entries, client::SpecOptions* spec) {
  for (const std::string& entry : entries) {
    std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (pair.first == "seccomp") {
      GANTRY_RETURN_IF_ERROR(ParseSeccomp(pair.second, spec));
    } else if (pair.first == "no-new-privileges") {
      spec->no_new_privileges = pair.second != "false";
    } else {
      return Bad("--security-opt", entry,
                 "seccomp=default|unconfined|FILE or no-new-privileges[=false]");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseResources(const Arguments& args, client::SpecOptions* spec) {
  if (args.Has("memory")) {
    GANTRY_ASSIGN_OR_RETURN(spec->memory_bytes, ParseBytes(args.String("memory")));
  }
  std::string cpus = args.String("cpus");
  if (args.Has("cpus") &&
      (!absl::SimpleAtod(cpus, &spec->cpus) || !(spec->cpus >= 0.01) || spec->cpus > 1e6)) {
    return Bad("--cpus", cpus, "a number of processors such as 0.5 or 2");
  }
  std::string pids = args.String("pids-limit");
  if (args.Has("pids-limit") &&
      (!absl::SimpleAtoi(pids, &spec->pids_limit) || spec->pids_limit < 1)) {
    return Bad("--pids-limit", pids, "a number of processes from 1");
  }
  std::string shares = args.String("cpu-shares");
  if (args.Has("cpu-shares") &&
      (!absl::SimpleAtoi(shares, &spec->cpu_shares) || spec->cpu_shares < 2)) {
    return Bad("--cpu-shares", shares, "a weight from 2");
  }
  for (const std::string& text : args.List("ulimit")) {
    GANTRY_ASSIGN_OR_RETURN(client::Rlimit limit, ParseUlimit(text));
    spec->rlimits.push_back(limit);
  }
  return absl::OkStatus();
}

absl::StatusOr<NamedVolume> ParseNamedVolume(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  const bool good =
      (parts.size() == 2 || (parts.size() == 3 && (parts[2] == "ro" || parts[2] == "rw"))) &&
      absl::StartsWith(parts[1], "/");
  if (!good) return Bad("-v", text, "NAME:/DESTINATION[:ro]");
  return NamedVolume{parts[0], parts[1], parts.size() == 3 && parts[2] == "ro"};
}

absl::Status ParseFiles(const Arguments& args, RunOptions* run) {
  client::SpecOptions* spec = &run->spec;
  for (const std::string& text : args.List("volume")) {
    if (IsNamedVolume(text)) {
      GANTRY_ASSIGN_OR_RETURN(NamedVolume volume, ParseNamedVolume(text));
      run->named_volumes.push_back(std::move(volume));
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(client::SpecMount mount, ParseVolume(text));
    spec->mounts.push_back(mount);
  }
  for (const std::string& text : args.List("mount")) {
    GANTRY_ASSIGN_OR_RETURN(client::SpecMount mount, ParseMount(text));
    spec->mounts.push_back(mount);
  }
  for (const std::string& text : args.List("tmpfs")) {
    std::pair<std::string, std::string> pair = absl::StrSplit(text, absl::MaxSplits(':', 1));
    std::string options = pair.second.empty() ? "" : "," + pair.second;
    GANTRY_ASSIGN_OR_RETURN(client::SpecMount mount,
                            ParseMount(absl::StrCat("type=tmpfs,dst=", pair.first)));
    for (absl::string_view option : absl::StrSplit(options, ',', absl::SkipEmpty())) {
      mount.options.emplace_back(option);
    }
    spec->mounts.push_back(mount);
  }
  for (const std::string& text : args.List("device")) {
    GANTRY_ASSIGN_OR_RETURN(client::SpecDevice device, ParseDevice(text));
    spec->devices.push_back(device);
  }
  return absl::OkStatus();
}

absl::Status ParseProcess(const Arguments& args, RunOptions* run) {
  client::SpecOptions& spec = run->spec;
  GANTRY_ASSIGN_OR_RETURN(spec.env, ParseEnvironment(args.List("env"), args.List("env-file")));
  spec.terminal = args.Bool("tty");
  spec.cwd = args.String("workdir");
  spec.hostname = args.String("hostname");
  spec.read_only = args.Bool("read-only");
  spec.privileged = args.Bool("privileged");
  spec.cap_add = args.List("cap-add");
  spec.cap_drop = args.List("cap-drop");
  spec.args.assign(args.positional().begin() + 1, args.positional().end());
  if (args.Has("entrypoint")) {
    std::string entrypoint = args.String("entrypoint");
    spec.entrypoint.emplace();
    if (!entrypoint.empty()) spec.entrypoint->push_back(entrypoint);
  }
  run->user = args.String("user");
  GANTRY_RETURN_IF_ERROR(client::ParseUser(run->user).status());
  std::string net = args.String("net", args.String("network", "none"));
  if (net.empty() || absl::StrContains(net, ":") || absl::StrContains(net, "/")) {
    return Bad("--net", net, "\"none\" (loopback only), \"host\", or a network's name");
  }
  spec.network = net == "host" ? client::NetworkMode::kHost : client::NetworkMode::kNone;
  return absl::OkStatus();
}

absl::Status CheckTogether(const RunOptions& run) {
  if (run.detach && run.interactive && !run.spec.terminal) {
    return absl::InvalidArgumentError("-d and -i exclude each other without -t");
  }
  if (run.spec.privileged && (!run.spec.cap_add.empty() || !run.spec.cap_drop.empty())) {
    return absl::InvalidArgumentError("--privileged has all capabilities; leave --cap-* away");
  }
  if (run.pull != "missing" && run.pull != "always" && run.pull != "never") {
    return Bad("--pull", run.pull, "missing, always or never");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsNamedVolume(absl::string_view text) {
  const absl::string_view source = text.substr(0, text.find(':'));
  return source.size() < text.size() && !source.empty() && source[0] != '.' && source[0] != '~' &&
         !absl::StrContains(source, "/");
}

absl::StatusOr<client::SpecMount> ParseVolume(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() < 2 || parts.size() > 3 || parts[0].empty() ||
      !absl::StartsWith(parts[1], "/")) {
    return Bad("-v", text, "SOURCE:/DESTINATION[:ro]");
  }
  client::SpecMount mount{"bind", Absolute(parts[0]), parts[1], {"rbind", "rprivate"}};
  std::string mode = parts.size() == 3 ? parts[2] : "rw";
  for (absl::string_view option : absl::StrSplit(mode, ',')) {
    if (option != "ro" && option != "rw" && option != "rshared" && option != "rslave" &&
        option != "shared" && option != "slave" && option != "nosuid" && option != "noexec" &&
        option != "nodev") {
      return Bad("-v", text, "options of ro, rw, nosuid, noexec, nodev, [r]shared, [r]slave");
    }
    if (absl::EndsWith(option, "shared") || absl::EndsWith(option, "slave")) {
      mount.options[1] = std::string(option);
    } else {
      mount.options.emplace_back(option);
    }
  }
  // Make what is missing, as Docker does.
  if (!base::Exists(mount.source)) {
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(mount.source, 0755));
  }
  return mount;
}

absl::StatusOr<client::SpecMount> ParseMount(absl::string_view text) {
  client::SpecMount mount{"bind", "", "", {}};
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    auto [key, value] = pair;
    if (key == "type") {
      mount.type = std::string(value);
    } else if (key == "src" || key == "source") {
      mount.source = std::string(value);
    } else if (key == "dst" || key == "destination" || key == "target") {
      mount.destination = std::string(value);
    } else if (key == "readonly" || key == "ro") {
      mount.options.emplace_back("ro");
    } else if (key == "options") {
      for (absl::string_view option : absl::StrSplit(value, ':'))
        mount.options.emplace_back(option);
    } else {
      return Bad("--mount", text, "type=TYPE,src=PATH,dst=PATH[,options=A:B][,readonly]");
    }
  }
  if (!absl::StartsWith(mount.destination, "/")) {
    return Bad("--mount", text, "an absolute dst=PATH");
  }
  if (mount.type == "bind") {
    if (mount.source.empty()) return Bad("--mount", text, "src=PATH for a bind mount");
    mount.source = Absolute(mount.source);
    bool bind = false;
    for (const std::string& option : mount.options) bind = bind || absl::EndsWith(option, "bind");
    if (!bind) mount.options.insert(mount.options.begin(), "rbind");
  } else if (mount.source.empty()) {
    mount.source = mount.type;
  }
  if (mount.type == "tmpfs" && mount.options.empty()) mount.options = {"nosuid", "nodev", "noexec"};
  return mount;
}

absl::StatusOr<client::SpecDevice> ParseDevice(absl::string_view text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() > 3 || !absl::StartsWith(parts[0], "/")) {
    return Bad("--device", text, "/dev/x[:/dev/y][:rwm]");
  }
  client::SpecDevice device{parts[0], parts[0]};
  if (parts.size() > 1 && absl::StartsWith(parts[1], "/")) {
    device.container_path = parts[1];
    if (parts.size() == 3) device.access = parts[2];
  } else if (parts.size() == 2) {
    device.access = parts[1];
  } else if (parts.size() == 3) {
    return Bad("--device", text, "/dev/x[:/dev/y][:rwm]");
  }
  return device;
}

absl::StatusOr<client::Rlimit> ParseUlimit(absl::string_view text) {
  std::pair<std::string, std::string> pair = absl::StrSplit(text, absl::MaxSplits('=', 1));
  std::vector<std::string> values = absl::StrSplit(pair.second, ':');
  client::Rlimit limit;
  limit.type = absl::StrCat("RLIMIT_", absl::AsciiStrToUpper(pair.first));
  bool valid = !pair.first.empty() && values.size() <= 2;
  auto parse = [&](const std::string& value, uint64_t* out) {
    if (value == "unlimited" || value == "-1") {
      *out = ~uint64_t{0};
    } else {
      valid = valid && absl::SimpleAtoi(value, out);
    }
  };
  if (valid) parse(values[0], &limit.soft);
  if (valid) parse(values.back(), &limit.hard);
  if (!valid || limit.soft > limit.hard) return Bad("--ulimit", text, "TYPE=SOFT[:HARD]");
  return limit;
}

absl::StatusOr<std::vector<std::string>> ParseEnvironment(const std::vector<std::string>& entries,
                                                          const std::vector<std::string>& files) {
  std::vector<std::string> lines;
  for (const std::string& file : files) {
    auto text = base::ReadFile(file, 1u << 20);
    if (!text.ok()) return base::Annotate(text.status(), "--env-file");
    for (absl::string_view line : absl::StrSplit(*text, '\n')) {
      line = absl::StripTrailingAsciiWhitespace(absl::StripLeadingAsciiWhitespace(line));
      if (!line.empty() && line[0] != '#') lines.emplace_back(line);
    }
  }
  lines.insert(lines.end(), entries.begin(), entries.end());
  std::vector<std::string> env;
  for (std::string& line : lines) {
    size_t equals = line.find('=');
    if (equals == 0 || line.empty()) return Bad("--env", line, "NAME=value or NAME");
    if (equals != std::string::npos) {
      env.push_back(std::move(line));
    } else if (const char* value = getenv(line.c_str()); value != nullptr) {
      env.push_back(absl::StrCat(line, "=", value));
    }
  }
  return env;
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(
    const std::vector<std::string>& entries) {
  std::map<std::string, std::string> labels;
  for (const std::string& entry : entries) {
    std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (pair.first.empty()) return Bad("--label", entry, "KEY=value");
    labels[pair.first] = pair.second;
  }
  return labels;
}

absl::StatusOr<RunOptions> ParseRunOptions(const Arguments& args) {
  RunOptions run;
  if (args.positional().empty()) {
    return absl::InvalidArgumentError("name an image to run; `gantryctl images` lists them");
  }
  run.image = args.positional()[0];
  run.name = args.String("name");
  if (!run.name.empty()) GANTRY_RETURN_IF_ERROR(base::ValidateIdentifier(run.name));
  run.detach = args.Bool("detach");
  run.interactive = args.Bool("interactive");
  run.remove = args.Bool("rm");
  run.pull = args.String("pull", "missing");
  run.runtime = args.String("runtime", kDefaultRuntime);
  run.snapshotter = args.String("snapshotter", "overlayfs");
  run.log_driver = args.String("log-driver", "json-file");
  if (run.log_driver != "json-file" && run.log_driver != "none") {
    return Bad("--log-driver", run.log_driver, "json-file or none");
  }
  run.pid_file = args.String("pid-file");
  GANTRY_ASSIGN_OR_RETURN(run.detach_keys,
                          client::ParseDetachKeys(args.String("detach-keys", "ctrl-p,ctrl-q")));
  GANTRY_ASSIGN_OR_RETURN(run.labels, ParseLabels(args.List("label")));
  GANTRY_RETURN_IF_ERROR(ParseProcess(args, &run));
  GANTRY_RETURN_IF_ERROR(ParseResources(args, &run.spec));
  GANTRY_RETURN_IF_ERROR(ParseFiles(args, &run));
  GANTRY_RETURN_IF_ERROR(ParseSecurity(args.List("security-opt"), &run.spec));
  GANTRY_RETURN_IF_ERROR(ParseManaged(args, &run));
  GANTRY_RETURN_IF_ERROR(CheckTogether(run));
  struct stat v2 = {};
  run.spec.cgroup_v2 = stat("/sys/fs/cgroup/cgroup.controllers", &v2) == 0;
  return run;
}

std::vector<Flag> RunFlags() {
  constexpr FlagKind kBool = FlagKind::kBool;
  constexpr FlagKind kString = FlagKind::kString;
  constexpr FlagKind kList = FlagKind::kList;
  std::vector<Flag> flags = {
      {"detach", 'd', kBool, "", "run in the background and print the id"},
      {"interactive", 'i', kBool, "", "pass standard input on"},
      {"tty", 't', kBool, "", "give the program a terminal"},
      {"rm", '\0', kBool, "", "remove the container when it has ended"},
      {"name", '\0', kString, "NAME", "a name beside the id"},
      {"env", 'e', kList, "NAME[=VALUE]", "set a variable, or pass ours on"},
      {"env-file", '\0', kList, "FILE", "read variables, one a line"},
      {"workdir", 'w', kString, "DIR", "working directory inside"},
      {"user", 'u', kString, "USER[:GROUP]", "names of the image, or numbers"},
      {"entrypoint", '\0', kString, "PROGRAM", "replaces the image's"},
      {"volume", 'v', kList, "SRC:DST[:ro]", "bring in a directory, file or volume"},
      {"mount", '\0', kList, "type=T,src=S,dst=D", "mount anything (options=A:B, readonly)"},
      {"tmpfs", '\0', kList, "DST[:OPTIONS]", "mount memory"},
      {"net", '\0', kString, "none|host|NAME", "network (default none: loopback only)"},
      {"network", '\0', kString, "none|host|NAME", "the same"},
      {"memory", 'm', kString, "SIZE", "memory limit, such as 256m"},
      {"cpus", '\0', kString, "N", "processor time, such as 1.5"},
      {"cpu-shares", '\0', kString, "N", "weight against others (default 1024)"},
      {"pids-limit", '\0', kString, "N", "most processes"},
      {"ulimit", '\0', kList, "TYPE=SOFT[:HARD]", "resource limit, such as nofile=1024"},
      {"cap-add", '\0', kList, "CAP", "add a capability, or ALL"},
      {"cap-drop", '\0', kList, "CAP", "take one away, or ALL"},
      {"privileged", '\0', kBool, "", "all capabilities and devices, nothing hidden"},
      {"security-opt", '\0', kList, "OPT",
       "seccomp=default|unconfined|FILE, no-new-privileges[=false]"},
      {"read-only", '\0', kBool, "", "root file system read-only"},
      {"device", '\0', kList, "/dev/x[:/dev/y][:rwm]", "bring in a device"},
      {"hostname", '\0', kString, "NAME", "host name inside"},
      {"label", 'l', kList, "KEY=VALUE", "label of the container"},
      {"log-driver", '\0', kString, "json-file|none", "where the output goes with -d"},
      {"pid-file", '\0', kString, "FILE", "write the process id there"},
      {"runtime", '\0', kString, "NAME|PATH", "shim to use (default io.containerd.runc.v2)"},
      {"snapshotter", '\0', kString, "NAME", "default overlayfs"},
      {"pull", '\0', kString, "missing|always|never", "when to fetch the image"},
      {"detach-keys", '\0', kString, "KEYS", "default ctrl-p,ctrl-q; empty for none"}};
  for (Flag& flag : ManagedFlags()) flags.push_back(std::move(flag));
  return flags;
}

}  // namespace gantry::ctl
