#include "services/supervisor/config.h"

#include <glob.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace gantry::services {
namespace {

// Walks one table: keys with a meaning are taken, whatever is left is named in the warnings.
class TableReader {
 public:
  TableReader(const toml::table* table, std::string path, Config* config)
      : table_(table), path_(std::move(path)), config_(config) {}

  absl::Status status() const { return status_; }

  void String(absl::string_view key, std::string* out) {
    if (const toml::node* node = Take(key)) {
      if (auto value = node->value_exact<std::string>()) {
        *out = *value;
      } else {
        Fail(key, *node, "a string");
      }
    }
  }

  void Bool(absl::string_view key, bool* out) {
    if (const toml::node* node = Take(key)) {
      if (auto value = node->value_exact<bool>()) {
        *out = *value;
      } else {
        Fail(key, *node, "true or false");
      }
    }
  }

  template <typename Int>
  void Integer(absl::string_view key, Int* out) {
    if (const toml::node* node = Take(key)) {
      auto value = node->value_exact<int64_t>();
      if (value && std::in_range<Int>(*value)) {
        *out = static_cast<Int>(*value);
      } else {
        Fail(key, *node, value ? "an integer in its range" : "an integer");
      }
    }
  }

  void Number(absl::string_view key, double* out) {
    if (const toml::node* node = Take(key)) {
      if (node->is_number()) {
        *out = *node->value<double>();
      } else {
        Fail(key, *node, "a number");
      }
    }
  }

  void Duration(absl::string_view key, absl::Duration* out) {
    if (const toml::node* node = Take(key)) {
      auto value = node->value_exact<std::string>();
      if (!value || !absl::ParseDuration(*value, out))
        Fail(key, *node, "a duration such as \"100ms\"");
    }
  }

  // Hands a sub table to `read`; what `read` does not take is warned about.
  void Table(absl::string_view key, const std::function<void(TableReader&)>& read) {
    if (const toml::node* node = Take(key)) {
      if (const toml::table* child = node->as_table()) {
        TableReader reader(child, absl::StrCat(path_, path_.empty() ? "" : ".", key), config_);
        read(reader);
        reader.WarnAboutRest();
        if (!reader.status_.ok() && status_.ok()) status_ = reader.status_;
      } else {
        Fail(key, *node, "a table");
      }
    }
  }

  // Every entry that is a table.
  void EachTable(const std::function<void(absl::string_view name, TableReader&)>& read) {
    for (auto&& [key, node] : *table_) {
      if (!node.is_table()) continue;
      std::string name(key.str());
      Table(name, [&](TableReader& child) { read(name, child); });
    }
  }

  void EachString(const std::function<void(absl::string_view key, std::string value)>& read) {
    for (auto&& [key, node] : *table_) {
      if (auto value = node.value_exact<std::string>()) {
        taken_.insert(std::string(key.str()));
        read(std::string(key.str()), *value);
      }
    }
  }

  void Ignore(absl::string_view key) { taken_.insert(std::string(key)); }

  void WarnAboutRest() {
    for (auto&& [key, node] : *table_) {
      std::string name(key.str());
      if (taken_.contains(name)) continue;
      config_->warnings.push_back(
          absl::StrCat("configuration key \"", path_, path_.empty() ? "" : ".", name, "\" (line ",
                       node.source().begin.line, ") has no meaning here and is ignored"));
    }
  }

 private:
  const toml::node* Take(absl::string_view key) {
    taken_.insert(std::string(key));
    return table_->get(std::string(key));
  }

  void Fail(absl::string_view key, const toml::node& node, absl::string_view wanted) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat("line ", node.source().begin.line, ": \"",
                                                      path_, path_.empty() ? "" : ".", key,
                                                      "\" must be ", wanted));
  }

  const toml::table* table_;
  std::string path_;
  Config* config_;
  std::set<std::string> taken_;
  absl::Status status_;
};

void ReadScheduler(TableReader& table, Config* config) {
  table.Duration("startup_delay", &config->gc.startup_delay);
  table.Duration("schedule_delay", &config->gc.schedule_delay);
  table.Integer("deletion_threshold", &config->gc.deletion_threshold);
  table.Integer("mutation_threshold", &config->gc.mutation_threshold);
  table.Number("pause_threshold", &config->gc.pause_threshold);
}

void ReadRegistry(TableReader& table, Config* config) {
  table.String("config_path", &config->registry_config_path);
}

// The plugin tables that matter here, under their names in versions 2 and 3.
void ReadPlugin(absl::string_view name, TableReader& table, Config* config) {
  if (name == "io.containerd.gc.v1.scheduler") return ReadScheduler(table, config);
  if (name == "io.containerd.grpc.v1.cri") {
    table.Table("registry", [config](TableReader& t) { ReadRegistry(t, config); });
    table.Table("containerd", [config](TableReader& t) {
      t.String("snapshotter", &config->default_snapshotter);
    });
  } else if (name == "io.containerd.cri.v1.images") {
    table.String("snapshotter", &config->default_snapshotter);
    table.Table("registry", [config](TableReader& t) { ReadRegistry(t, config); });
  } else if (name == "io.containerd.transfer.v1.local") {
    table.String("config_path", &config->registry_config_path);
  } else if (name == "io.containerd.server.v1.metrics") {
    table.String("address", &config->metrics_address);
  }
}

void ReadRoot(TableReader& table, Config* config) {
  table.Ignore("version");
  table.Ignore("imports");
  table.String("root", &config->root);
  table.String("state", &config->state);
  table.Integer("oom_score", &config->oom_score);
  table.Table("grpc", [config](TableReader& t) {
    t.String("address", &config->grpc.address);
    t.Integer("uid", &config->grpc.uid);
    t.Integer("gid", &config->grpc.gid);
    t.Integer("max_recv_message_size", &config->grpc.max_recv_message_size);
    t.Integer("max_send_message_size", &config->grpc.max_send_message_size);
  });
  table.Table("ttrpc", [config](TableReader& t) { t.String("address", &config->ttrpc_address); });
  table.Table("debug", [config](TableReader& t) {
    t.String("level", &config->log_level);
    t.String("format", &config->log_format);
  });
  table.Table("metrics",
              [config](TableReader& t) { t.String("address", &config->metrics_address); });
  table.Table("proxy_plugins", [config](TableReader& t) {
    t.EachTable([config](absl::string_view name, TableReader& plugin) {
      std::string type, address;
      plugin.String("type", &type);
      plugin.String("address", &address);
      if (type == "snapshot") {
        config->proxy_snapshotters[std::string(name)] = address;
      } else {
        config->warnings.push_back(absl::StrCat("proxy plugin \"", name, "\" of type \"", type,
                                                "\" is not supported and ignored"));
      }
    });
  });
  table.Table("plugins", [config](TableReader& t) {
    t.EachTable([config](absl::string_view name, TableReader& plugin) {
      ReadPlugin(name, plugin, config);
    });
  });
  table.Table("gantry", [config](TableReader& t) {
    t.String("shim", &config->shim_path);
    t.Bool("shim_zygote", &config->shim_zygote);
    t.Table("runtimes", [config](TableReader& r) {
      r.EachString([config](absl::string_view name, std::string path) {
        config->runtimes[std::string(name)] = path;
      });
    });
  });
}

absl::StatusOr<toml::table> ParseToml(absl::string_view text, absl::string_view name) {
  toml::parse_result parsed =
      toml::parse(std::string_view(text.data(), text.size()), std::string(name));
  if (!parsed) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": line ",
                                                   parsed.error().source().begin.line, ": ",
                                                   std::string(parsed.error().description())));
  }
  return std::move(parsed).table();
}

absl::Status Validate(const toml::table& table, const Config& config) {
  int64_t version = table["version"].value_or<int64_t>(1);
  if (table.contains("version") && (version < 2 || version > 4)) {
    return absl::InvalidArgumentError(
        absl::StrCat("configuration version ", version, " is not supported; versions 2 and 3 are"));
  }
  if (config.oom_score < -1000 || config.oom_score > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("oom_score ", config.oom_score, " is not between -1000 and 1000"));
  }
  if (!(config.gc.pause_threshold >= 0 && config.gc.pause_threshold <= 1)) {
    return absl::InvalidArgumentError("pause_threshold is a part of the time, between 0 and 1");
  }
  static const std::set<std::string>* levels = new std::set<std::string>{
      "", "trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"};
  if (!levels->contains(config.log_level)) {
    return absl::InvalidArgumentError(
        absl::StrCat("debug.level \"", config.log_level,
                     "\" is unknown; use trace, debug, info, warn or error"));
  }
  return absl::OkStatus();
}

absl::Status Merge(const toml::table& table, absl::string_view name, Config* config) {
  TableReader reader(&table, "", config);
  ReadRoot(reader, config);
  reader.WarnAboutRest();
  GANTRY_RETURN_IF_ERROR(base::Annotate(reader.status(), name));
  return base::Annotate(Validate(table, *config), name);
}

std::vector<std::string> ImportedFiles(const toml::table& table, const std::string& path) {
  std::vector<std::string> files;
  const toml::array* imports = table["imports"].as_array();
  if (imports == nullptr) return files;
  std::string dir = path.substr(0, path.rfind('/') + 1);
  for (const toml::node& node : *imports) {
    std::string pattern = node.value_or<std::string>("");
    if (pattern.empty()) continue;
    if (pattern[0] != '/') pattern = dir + pattern;
    glob_t found = {};
    if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
      for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
    }
    globfree(&found);
  }
  return files;
}

bool PrintableAscii(absl::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c < 0x7f; });
}

// TOML tells numbers with a point from integers.
std::string Decimal(double value) {
  std::string out = absl::StrCat(value);
  return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

// A TOML string.
std::string Quote(absl::string_view value) {
  // A literal where that can be: it needs no escapes.
  if (value.find_first_of("'\n\r") == absl::string_view::npos && PrintableAscii(value))
    return absl::StrCat("'", value, "'");
  std::string out = "\"";
  for (char c : value) {
    if (c == '"' || c == '\\') {
      absl::StrAppend(&out, "\\", absl::string_view(&c, 1));
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      absl::StrAppend(&out, "\\u", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad4));
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

}  // namespace

absl::StatusOr<Config> ParseConfig(absl::string_view text, absl::string_view name) {
  Config config;
  GANTRY_ASSIGN_OR_RETURN(toml::table table, ParseToml(text, name));
  GANTRY_RETURN_IF_ERROR(Merge(table, name, &config));
  return config;
}

absl::StatusOr<Config> LoadConfig(const std::string& path) {
  Config config;
  GANTRY_ASSIGN_OR_RETURN(std::string text, base::ReadFile(path));
  GANTRY_ASSIGN_OR_RETURN(toml::table table, ParseToml(text, path));
  GANTRY_RETURN_IF_ERROR(Merge(table, path, &config));
  for (const std::string& file : ImportedFiles(table, path)) {
    GANTRY_ASSIGN_OR_RETURN(std::string imported_text, base::ReadFile(file));
    GANTRY_ASSIGN_OR_RETURN(toml::table imported, ParseToml(imported_text, file));
    GANTRY_RETURN_IF_ERROR(Merge(imported, file, &config));
  }
  return config;
}

std::string FormatConfig(const Config& c) {
  std::string out;
  absl::StrAppend(
      &out, "version = 3\nroot = ", Quote(c.root), "\nstate = ", Quote(c.state),
      "\noom_score = ", c.oom_score, "\n\n[grpc]\naddress = ", Quote(c.grpc.address),
      "\nuid = ", c.grpc.uid, "\ngid = ", c.grpc.gid,
      "\nmax_recv_message_size = ", c.grpc.max_recv_message_size,
      "\nmax_send_message_size = ", c.grpc.max_send_message_size,
      "\n\n[ttrpc]\naddress = ", Quote(c.ttrpc_address),
      "\n\n[debug]\nlevel = ", Quote(c.log_level), "\nformat = ", Quote(c.log_format),
      "\n\n[metrics]\naddress = ", Quote(c.metrics_address),
      "\n\n[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = ",
      Quote(absl::FormatDuration(c.gc.startup_delay)),
      "\nschedule_delay = ", Quote(absl::FormatDuration(c.gc.schedule_delay)),
      "\ndeletion_threshold = ", c.gc.deletion_threshold,
      "\nmutation_threshold = ", c.gc.mutation_threshold,
      "\npause_threshold = ", Decimal(c.gc.pause_threshold), "\n",
      "\n\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = ", Quote(c.default_snapshotter),
      "\n\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = ",
      Quote(c.registry_config_path), "\n");
  for (const auto& [name, address] : c.proxy_snapshotters) {
    absl::StrAppend(&out, "\n[proxy_plugins.", Quote(name),
                    "]\ntype = 'snapshot'\naddress = ", Quote(address), "\n");
  }
  absl::StrAppend(&out, "\n[gantry]\nshim = ", Quote(c.shim_path),
                  "\nshim_zygote = ", c.shim_zygote ? "true" : "false", "\n\n[gantry.runtimes]\n");
  for (const auto& [name, path] : c.runtimes)
    absl::StrAppend(&out, Quote(name), " = ", Quote(path), "\n");
  return out;
}

}  // namespace gantry::services
