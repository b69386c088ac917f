#include "docker/images/changes.h"

#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

using base::Json;

constexpr size_t kMaxChanges = 1000;

absl::Status Bad(absl::string_view instruction, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(instruction, " ", why));
}

// Words as a shell splits them: quotes and backslashes are taken off.
absl::StatusOr<std::vector<std::string>> Words(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
      in_word = true;
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (absl::ascii_isspace(c)) {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return absl::InvalidArgumentError("unexpected end of statement: unmatched quote");
  if (in_word) words.push_back(std::move(word));
  return words;
}

// A JSON list of strings, or nothing when it is none.
bool JsonList(absl::string_view text, Json* list) {
  if (!absl::StartsWith(text, "[")) return false;
  auto parsed = base::ParseJson(text, {.bytes = 1u << 20, .depth = 2});
  if (!parsed.ok() || !parsed->is_array()) return false;
  for (const Json& item : *parsed) {
    if (!item.is_string()) return false;
  }
  *list = *parsed;
  return true;
}

// The exec form, or the shell form for /bin/sh.
Json Command(absl::string_view text, const Json& config) {
  Json list;
  if (JsonList(text, &list)) return list;
  Json shell = base::JsonAt(config, "Shell");
  if (!shell.is_array() || shell.empty()) shell = Json::array({"/bin/sh", "-c"});
  shell.push_back(std::string(text));
  return shell;
}

// Keys and values of ENV and LABEL: "a=b c='d e'", or the old "a b c".
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Pairs(
    absl::string_view instruction, absl::string_view text) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
  if (words.empty()) return Bad(instruction, "requires at least one argument");
  std::vector<std::pair<std::string, std::string>> pairs;
  if (!absl::StrContains(words[0], '=')) {
    const size_t space = text.find_first_of(" \t");
    if (space == absl::string_view::npos) return Bad(instruction, "must have two arguments");
    pairs.emplace_back(text.substr(0, space), absl::StripAsciiWhitespace(text.substr(space)));
    return pairs;
  }
  for (const std::string& word : words) {
    std::pair<std::string, std::string> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (!absl::StrContains(word, '=') || pair.first.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("Syntax error - can't find = in \"", word,
                                                     "\". Must be of the form: name=value"));
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

absl::Status Env(absl::string_view text, Json* config) {
  GANTRY_ASSIGN_OR_RETURN(auto pairs, Pairs("ENV", text));
  Json& env = (*config)["Env"];
  if (!env.is_array()) env = Json::array();
  for (const auto& [name, value] : pairs) {
    std::string entry = absl::StrCat(name, "=", value);
    bool replaced = false;
    for (Json& old : env) {
      if (old.is_string() && absl::StartsWith(old.get<std::string>(), name + "=")) {
        old = entry;
        replaced = true;
      }
    }
    if (!replaced) env.push_back(entry);
  }
  return absl::OkStatus();
}

absl::Status Label(absl::string_view text, Json* config) {
  GANTRY_ASSIGN_OR_RETURN(auto pairs, Pairs("LABEL", text));
  Json& labels = (*config)["Labels"];
  if (!labels.is_object()) labels = Json::object();
  for (const auto& [name, value] : pairs) labels[name] = value;
  return absl::OkStatus();
}

// "80", "80/udp", "80-82/tcp".
absl::Status Expose(absl::string_view text, Json* config) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
  if (words.empty()) return Bad("EXPOSE", "requires at least one argument");
  Json& ports = (*config)["ExposedPorts"];
  if (!ports.is_object()) ports = Json::object();
  for (const std::string& word : words) {
    std::vector<std::string> parts = absl::StrSplit(word, '/');
    std::pair<std::string, std::string> range = absl::StrSplit(parts[0], absl::MaxSplits('-', 1));
    const std::string protocol = parts.size() > 1 ? absl::AsciiStrToLower(parts[1]) : "tcp";
    int first = 0;
    int last = 0;
    if (parts.size() > 2 || !absl::SimpleAtoi(range.first, &first) || first < 1 ||
        !absl::SimpleAtoi(range.second.empty() ? range.first : range.second, &last) ||
        last < first || last > 65535 ||
        (protocol != "tcp" && protocol != "udp" && protocol != "sctp")) {
      return absl::InvalidArgumentError(absl::StrCat("Invalid containerPort: ", word));
    }
    for (int port = first; port <= last; ++port) {
      ports[absl::StrCat(port, "/", protocol)] = Json::object();
    }
  }
  return absl::OkStatus();
}

absl::Status Volume(absl::string_view text, Json* config) {
  Json list;
  if (!JsonList(text, &list)) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
    list = words;
  }
  if (list.empty()) return Bad("VOLUME", "requires at least one argument");
  Json& volumes = (*config)["Volumes"];
  if (!volumes.is_object()) volumes = Json::object();
  for (const Json& path : list) {
    if (path.get<std::string>().empty())
      return Bad("VOLUME", "specified can not be an empty string");
    volumes[path.get<std::string>()] = Json::object();
  }
  return absl::OkStatus();
}

absl::Status WorkDir(absl::string_view text, Json* config) {
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
  if (words.size() != 1) return Bad("WORKDIR", "requires exactly one argument");
  std::string path = words[0];
  if (!absl::StartsWith(path, "/")) {
    std::string old = base::JsonString(*config, "WorkingDir");
    path = absl::StrCat(old.empty() ? "/" : old, "/", path);
  }
  std::vector<absl::string_view> clean;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!clean.empty()) clean.pop_back();
    } else if (part != ".") {
      clean.push_back(part);
    }
  }
  (*config)["WorkingDir"] = absl::StrCat("/", absl::StrJoin(clean, "/"));
  return absl::OkStatus();
}

// "NONE", or "[--interval=…] CMD …".
absl::Status HealthCheck(absl::string_view text, Json* config) {
  const std::map<std::string, std::string> keys = {{"interval", "Interval"},
                                                   {"timeout", "Timeout"},
                                                   {"start-period", "StartPeriod"},
                                                   {"start-interval", "StartInterval"},
                                                   {"retries", "Retries"}};
  Json check = Json::object();
  while (absl::ConsumePrefix(&text, "--")) {
    const size_t space = text.find(' ');
    std::pair<std::string, std::string> flag =
        absl::StrSplit(text.substr(0, space), absl::MaxSplits('=', 1));
    auto key = keys.find(flag.first);
    if (key == keys.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag: ", flag.first));
    }
    absl::Duration duration;
    int64_t number = 0;
    if (flag.first == "retries" && absl::SimpleAtoi(flag.second, &number) && number >= 0) {
      check[key->second] = number;
    } else if (flag.first != "retries" && absl::ParseDuration(flag.second, &duration)) {
      check[key->second] = absl::ToInt64Nanoseconds(duration);
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid value for ", flag.first, ": ", flag.second));
    }
    text = absl::StripLeadingAsciiWhitespace(space == absl::string_view::npos ? ""
                                                                              : text.substr(space));
  }
  const std::string kind = absl::AsciiStrToUpper(text.substr(0, text.find_first_of(" \t")));
  absl::string_view rest =
      absl::StripAsciiWhitespace(text.substr(std::min(kind.size(), text.size())));
  if (kind == "NONE") {
    if (!rest.empty()) return Bad("HEALTHCHECK", "NONE takes no arguments");
    check["Test"] = Json::array({"NONE"});
  } else if (kind == "CMD") {
    Json list;
    if (rest.empty()) return absl::InvalidArgumentError("Missing command after HEALTHCHECK CMD");
    if (JsonList(rest, &list)) {
      list.insert(list.begin(), "CMD");
      check["Test"] = list;
    } else {
      check["Test"] = Json::array({"CMD-SHELL", std::string(rest)});
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("Unknown type \"", kind, "\" in HEALTHCHECK (try CMD)"));
  }
  (*config)["Healthcheck"] = check;
  return absl::OkStatus();
}

absl::Status Apply(const std::string& instruction, absl::string_view text, Json* config) {
  if (text.empty()) return Bad(instruction, "requires at least one argument");
  if (instruction == "CMD" || instruction == "ENTRYPOINT") {
    (*config)[instruction == "CMD" ? "Cmd" : "Entrypoint"] = Command(text, *config);
    if (instruction == "ENTRYPOINT") (*config)["Cmd"] = nullptr;
    return absl::OkStatus();
  }
  if (instruction == "ENV") return Env(text, config);
  if (instruction == "LABEL") return Label(text, config);
  if (instruction == "EXPOSE") return Expose(text, config);
  if (instruction == "VOLUME") return Volume(text, config);
  if (instruction == "WORKDIR") return WorkDir(text, config);
  if (instruction == "HEALTHCHECK") return HealthCheck(text, config);
  if (instruction == "SHELL") {
    Json list;
    if (!JsonList(text, &list) || list.empty()) {
      return Bad("SHELL", "requires the arguments to be in JSON form");
    }
    (*config)["Shell"] = list;
    return absl::OkStatus();
  }
  if (instruction == "ONBUILD") {
    Json& triggers = (*config)["OnBuild"];
    if (!triggers.is_array()) triggers = Json::array();
    triggers.push_back(std::string(text));
    return absl::OkStatus();
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> words, Words(text));
  if (words.size() != 1) return Bad(instruction, "requires exactly one argument");
  (*config)[instruction == "USER" ? "User" : "StopSignal"] = words[0];
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyChanges(const std::vector<std::string>& changes, Json* config) {
  static constexpr absl::string_view kKnown[] = {"CMD",         "ENTRYPOINT", "ENV",     "EXPOSE",
                                                 "HEALTHCHECK", "LABEL",      "ONBUILD", "SHELL",
                                                 "USER",        "STOPSIGNAL", "VOLUME",  "WORKDIR"};
  if (!config->is_object()) *config = Json::object();
  if (changes.size() > kMaxChanges) return absl::InvalidArgumentError("too many changes");
  for (const std::string& change : changes) {
    for (absl::string_view line : absl::StrSplit(change, '\n')) {
      line = absl::StripAsciiWhitespace(line);
      if (line.empty() || line[0] == '#') continue;
      const size_t space = line.find_first_of(" \t");
      const std::string instruction = absl::AsciiStrToUpper(line.substr(0, space));
      if (std::find(std::begin(kKnown), std::end(kKnown), instruction) == std::end(kKnown)) {
        return absl::InvalidArgumentError(
            absl::StrCat(instruction, " is not a valid change command"));
      }
      absl::string_view text = space == absl::string_view::npos
                                   ? absl::string_view()
                                   : absl::StripAsciiWhitespace(line.substr(space));
      GANTRY_RETURN_IF_ERROR(Apply(instruction, text, config));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::docker
