#include "docker/types/container_config.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;
using base::OrderedJson;

constexpr int64_t kMillisecond = 1'000'000;

absl::StatusOr<Healthcheck> ParseHealthcheck(const Json& json) {
  Healthcheck check;
  JsonObject object(json, "HealthConfig");
  object.Get("Test", &check.test);
  object.Get("Interval", &check.interval);
  object.Get("Timeout", &check.timeout);
  object.Get("StartPeriod", &check.start_period);
  object.Get("StartInterval", &check.start_interval);
  object.Get("Retries", &check.retries);
  GANTRY_RETURN_IF_ERROR(object.status());
  return check;
}

OrderedJson ListOrNull(const std::optional<StringList>& list) {
  return list ? OrderedJson(*list) : OrderedJson();
}

OrderedJson Set(const StringList& keys) {
  OrderedJson set = OrderedJson::object();
  for (const std::string& key : keys) set[key] = OrderedJson::object();
  return set;
}

OrderedJson HealthcheckJson(const Healthcheck& check) {
  OrderedJson json = OrderedJson::object();
  if (!check.test.empty()) json["Test"] = check.test;
  auto put = [&json](const char* key, int64_t value) {
    if (value != 0) json[key] = value;
  };
  put("Interval", check.interval);
  put("Timeout", check.timeout);
  put("StartPeriod", check.start_period);
  put("StartInterval", check.start_interval);
  put("Retries", check.retries);
  return json;
}

absl::string_view EnvName(absl::string_view entry) { return entry.substr(0, entry.find('=')); }

void AddMissing(StringList* to, const StringList& from) {
  for (const std::string& item : from) {
    if (std::find(to->begin(), to->end(), item) == to->end()) to->push_back(item);
  }
}

void MergeHealthcheck(std::optional<Healthcheck>* to, const Healthcheck& image) {
  if (!to->has_value()) {
    *to = image;
    return;
  }
  Healthcheck& check = **to;
  if (check.test.empty()) check.test = image.test;
  if (check.interval == 0) check.interval = image.interval;
  if (check.timeout == 0) check.timeout = image.timeout;
  if (check.start_period == 0) check.start_period = image.start_period;
  if (check.start_interval == 0) check.start_interval = image.start_interval;
  if (check.retries == 0) check.retries = image.retries;
}

}  // namespace

absl::Status Healthcheck::Check() const {
  auto too_short = [](int64_t value, absl::string_view name) -> absl::Status {
    if (value == 0 || value >= kMillisecond) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name, " in Healthcheck cannot be less than 1ms"));
  };
  GANTRY_RETURN_IF_ERROR(too_short(interval, "Interval"));
  GANTRY_RETURN_IF_ERROR(too_short(timeout, "Timeout"));
  if (retries < 0) return absl::InvalidArgumentError("Retries in Healthcheck cannot be negative");
  GANTRY_RETURN_IF_ERROR(too_short(start_period, "StartPeriod"));
  return too_short(start_interval, "StartInterval");
}

absl::StatusOr<ContainerConfig> ContainerConfig::FromJson(const Json& json) {
  ContainerConfig c;
  JsonObject o(json, "Config");
  o.Get("Hostname", &c.hostname);
  o.Get("Domainname", &c.domainname);
  o.Get("User", &c.user);
  o.Get("AttachStdin", &c.attach_stdin);
  o.Get("AttachStdout", &c.attach_stdout);
  o.Get("AttachStderr", &c.attach_stderr);
  o.GetSet("ExposedPorts", &c.exposed_ports);
  o.Get("Tty", &c.tty);
  o.Get("OpenStdin", &c.open_stdin);
  o.Get("StdinOnce", &c.stdin_once);
  o.Get("Env", &c.env);
  o.GetCommand("Cmd", &c.cmd);
  if (const Json& check = o.At("Healthcheck"); !check.is_null()) {
    GANTRY_ASSIGN_OR_RETURN(c.healthcheck, ParseHealthcheck(check));
  }
  o.Get("ArgsEscaped", &c.args_escaped);
  o.Get("Image", &c.image);
  o.GetSet("Volumes", &c.volumes);
  o.Get("WorkingDir", &c.working_dir);
  o.GetCommand("Entrypoint", &c.entrypoint);
  o.Get("NetworkDisabled", &c.network_disabled);
  o.Get("MacAddress", &c.mac_address);
  o.Get("OnBuild", &c.on_build);
  o.Get("Labels", &c.labels);
  o.Get("StopSignal", &c.stop_signal);
  o.Get("StopTimeout", &c.stop_timeout);
  o.GetCommand("Shell", &c.shell);
  GANTRY_RETURN_IF_ERROR(o.status());
  return c;
}

OrderedJson ContainerConfig::ToJson() const {
  OrderedJson json = {{"Hostname", hostname},
                      {"Domainname", domainname},
                      {"User", user},
                      {"AttachStdin", attach_stdin},
                      {"AttachStdout", attach_stdout},
                      {"AttachStderr", attach_stderr}};
  if (!exposed_ports.empty()) json["ExposedPorts"] = Set(exposed_ports);
  json["Tty"] = tty;
  json["OpenStdin"] = open_stdin;
  json["StdinOnce"] = stdin_once;
  json["Env"] = ListOrNull(env);
  json["Cmd"] = ListOrNull(cmd);
  if (healthcheck) json["Healthcheck"] = HealthcheckJson(*healthcheck);
  if (args_escaped) json["ArgsEscaped"] = true;
  json["Image"] = image;
  json["Volumes"] = volumes.empty() ? OrderedJson() : Set(volumes);
  json["WorkingDir"] = working_dir;
  json["Entrypoint"] = ListOrNull(entrypoint);
  if (network_disabled) json["NetworkDisabled"] = true;
  if (!mac_address.empty()) json["MacAddress"] = mac_address;
  json["OnBuild"] = ListOrNull(on_build);
  json["Labels"] = OrderedJson(labels);
  if (labels.empty()) json["Labels"] = OrderedJson::object();
  if (!stop_signal.empty()) json["StopSignal"] = stop_signal;
  if (stop_timeout) json["StopTimeout"] = *stop_timeout;
  if (shell) json["Shell"] = *shell;
  return json;
}

void ContainerConfig::MergeImage(const ContainerConfig& image) {
  if (user.empty()) user = image.user;
  AddMissing(&exposed_ports, image.exposed_ports);
  if (image.env) {
    std::set<std::string> names;
    if (!env) env.emplace();
    for (const std::string& entry : *env) names.insert(std::string(EnvName(entry)));
    for (const std::string& entry : *image.env) {
      if (!names.contains(std::string(EnvName(entry)))) env->push_back(entry);
    }
  }
  labels.insert(image.labels.begin(), image.labels.end());
  // A command of the image is for the image's entrypoint only.
  bool own_entrypoint = entrypoint && !entrypoint->empty();
  if (!own_entrypoint) {
    if (!cmd || cmd->empty()) {
      cmd = image.cmd;
      args_escaped = image.args_escaped;
    }
    // An empty one that was given takes the image's away; none at all keeps it.
    if (!entrypoint) entrypoint = image.entrypoint;
  }
  if (entrypoint && entrypoint->size() == 1 && (*entrypoint)[0].empty()) entrypoint.reset();
  if (image.healthcheck) MergeHealthcheck(&healthcheck, *image.healthcheck);
  if (working_dir.empty()) working_dir = image.working_dir;
  AddMissing(&volumes, image.volumes);
  if (stop_signal.empty()) stop_signal = image.stop_signal;
  if (!shell) shell = image.shell;
  if (!on_build) on_build = image.on_build;
}

}  // namespace gantry::docker
