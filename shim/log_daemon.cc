#include "shim/log_daemon.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "shim/attach_server.h"
#include "shim/log_file.h"
#include "shim/log_record.h"

namespace gantry::shim {
namespace {

constexpr int kError = 3, kInformational = 6;  // RFC 5424, 6.2.1
constexpr size_t kMaxTag = 1024;

int Severity(const FramedRecord& record) {
  return record.stream == "stderr" ? kError : kInformational;
}

std::string HostName() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

absl::StatusOr<int> ParseFacility(absl::string_view text) {
  constexpr absl::string_view kNames[] = {"kern", "user", "mail", "daemon", "auth",     "syslog",
                                          "lpr",  "news", "uucp", "cron",   "authpriv", "ftp"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (text == kNames[i]) return static_cast<int>(i);
  }
  absl::string_view digits = text;
  bool local = absl::ConsumePrefix(&digits, "local");
  absl::StatusOr<uint64_t> number = base::ParseDecimal(digits, local ? 7 : 23);
  if (!number.ok())
    return absl::InvalidArgumentError(absl::StrCat("invalid syslog facility ", text));
  return static_cast<int>(*number) + (local ? 16 : 0);
}

class SyslogTarget final : public LogTarget {
 public:
  explicit SyslogTarget(SyslogOptions options)
      : options_(std::move(options)), socket_(options_.address), host_(HostName()) {}
  absl::Status Connect() { return socket_.Connect(); }

  void Write(absl::string_view records) override {
    while (auto record = NextFramed(&records)) socket_.Send(Format(*record));
  }

 private:
  std::string Format(const FramedRecord& record) const {
    std::string priority = absl::StrCat("<", options_.facility * 8 + Severity(record), ">");
    if (absl::StartsWith(options_.format, "rfc5424")) {
      // Numbers its fields: PRI VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD MSG.
      const char* format =
          options_.format == "rfc5424micro" ? "%Y-%m-%dT%H:%M:%E6SZ" : "%Y-%m-%dT%H:%M:%SZ";
      return absl::StrCat(
          priority, "1 ", absl::FormatTime(format, record.time, absl::UTCTimeZone()), " ", host_,
          " ", options_.tag, " ", getpid(), " ", options_.tag, " - ", record.text, "\n");
    }
    std::string time = absl::FormatTime("%b %e %H:%M:%S", record.time, absl::LocalTimeZone());
    std::string host = options_.format == "rfc3164" ? absl::StrCat(host_, " ") : "";
    return absl::StrCat(priority, time, " ", host, options_.tag, "[", getpid(), "]: ", record.text,
                        "\n");
  }

  SyslogOptions options_;
  LogSocket socket_;
  std::string host_;
};

// One field; in the binary form when the value needs it.
void AppendField(std::string* to, absl::string_view name, absl::string_view value) {
  if (!absl::StrContains(value, '\n')) {
    absl::StrAppend(to, name, "=", value, "\n");
    return;
  }
  absl::StrAppend(to, name, "\n");
  uint64_t length = value.size();
  for (int i = 0; i < 8; ++i) to->push_back(static_cast<char>(length >> (8 * i)));
  absl::StrAppend(to, value, "\n");
}

// journald takes upper-case letters, digits and '_', and none that begins with '_' or a digit.
std::string FieldName(absl::string_view key) {
  std::string name;
  for (char c : key) {
    c = absl::ascii_toupper(static_cast<unsigned char>(c));
    name.push_back(absl::ascii_isalnum(static_cast<unsigned char>(c)) ? c : '_');
  }
  size_t start = name.find_first_not_of('_');
  name = start == std::string::npos ? "" : name.substr(start);
  if (!name.empty() && absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) name = "N" + name;
  return name.substr(0, 64);
}

class JournaldTarget final : public LogTarget {
 public:
  explicit JournaldTarget(JournaldOptions options) : socket_(options.address) {
    for (const auto& [name, value] : options.fields) AppendField(&fields_, name, value);
  }
  absl::Status Connect() { return socket_.Connect(); }

  void Write(absl::string_view records) override {
    while (auto record = NextFramed(&records)) {
      std::string message = fields_;
      AppendField(&message, "PRIORITY", absl::StrCat(Severity(*record)));
      if (record->partial) AppendField(&message, "CONTAINER_PARTIAL_MESSAGE", "true");
      AppendField(&message, "SYSLOG_TIMESTAMP",
                  absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", record->time, absl::UTCTimeZone()));
      AppendField(&message, "MESSAGE", record->text);
      socket_.Send(message);
    }
  }

 private:
  std::string fields_;
  LogSocket socket_;
};

// What is neither the driver's nor everybody's.
absl::Status UnknownOption(const StdioUri& uri, absl::string_view key) {
  return absl::InvalidArgumentError(absl::StrCat("unknown log option ", key, " for ", uri.scheme));
}

bool IsCommonOption(absl::string_view key) {
  return AttachOptions::IsKey(key) || key == "mode" || key == "max-buffer-size";
}

}  // namespace

absl::StatusOr<SyslogOptions> ParseSyslogOptions(const StdioUri& uri,
                                                 const std::string& container_id) {
  SyslogOptions options;
  std::string address = "unix:///dev/log";
  options.tag = container_id.substr(0, 12);
  if (uri.path != "/") return absl::InvalidArgumentError("syslog has no path but its address");
  for (const auto& [key, value] : uri.query) {
    if (key == "syslog-address") {
      address = value;
    } else if (key == "syslog-facility") {
      GANTRY_ASSIGN_OR_RETURN(options.facility, ParseFacility(value));
    } else if (key == "syslog-format" && (value.empty() || value == "rfc3164" ||
                                          value == "rfc5424" || value == "rfc5424micro")) {
      options.format = value;
    } else if (key == "tag") {
      options.tag = value;
    } else if (!IsCommonOption(key)) {
      return UnknownOption(uri, absl::StrCat(key, "=", value));
    }
  }
  if (options.tag.size() > kMaxTag || options.tag.find_first_of("\n\r ") != std::string::npos)
    return absl::InvalidArgumentError("the tag of a syslog must be one word of at most 1024 bytes");
  GANTRY_ASSIGN_OR_RETURN(options.address, LogAddress::Parse(address));
  return options;
}

absl::StatusOr<JournaldOptions> ParseJournaldOptions(const StdioUri& uri,
                                                     const std::string& container_id) {
  JournaldOptions options;
  std::string id = container_id, name, image, tag;
  bool has_tag = false;
  std::vector<std::pair<std::string, std::string>> extra;
  for (const auto& [key, value] : uri.query) {
    if (value.size() > kMaxTag * 16)
      return absl::InvalidArgumentError(absl::StrCat("log option ", key, " is too long"));
    absl::string_view attribute = key;
    if (key == "container-id") {
      id = value;
    } else if (key == "container-name") {
      name = value;
    } else if (key == "image-name") {
      image = value;
    } else if (key == "tag") {
      tag = value;
      has_tag = true;
    } else if (absl::ConsumePrefix(&attribute, "attr.")) {
      std::string field = FieldName(attribute);
      if (!field.empty()) extra.emplace_back(std::move(field), value);
    } else if (!IsCommonOption(key)) {
      return UnknownOption(uri, absl::StrCat(key, "=", value));
    }
  }
  if (!has_tag) tag = id.substr(0, 12);
  options.fields = {{"CONTAINER_ID", id.substr(0, 12)},
                    {"CONTAINER_ID_FULL", id},
                    {"CONTAINER_NAME", name},
                    {"CONTAINER_TAG", tag},
                    {"IMAGE_NAME", image},
                    {"SYSLOG_IDENTIFIER", tag}};
  for (auto& field : extra) options.fields.push_back(std::move(field));
  std::string path = uri.path == "/" ? "/run/systemd/journal/socket" : uri.path;
  GANTRY_ASSIGN_OR_RETURN(options.address, LogAddress::Parse("unixgram://" + path));
  return options;
}

absl::StatusOr<std::unique_ptr<LogTarget>> OpenSyslog(SyslogOptions options) {
  auto target = std::make_unique<SyslogTarget>(std::move(options));
  GANTRY_RETURN_IF_ERROR(base::Annotate(target->Connect(), "syslog"));
  return std::unique_ptr<LogTarget>(std::move(target));
}

absl::StatusOr<std::unique_ptr<LogTarget>> OpenJournald(JournaldOptions options) {
  auto target = std::make_unique<JournaldTarget>(std::move(options));
  GANTRY_RETURN_IF_ERROR(base::Annotate(target->Connect(), "journald"));
  return std::unique_ptr<LogTarget>(std::move(target));
}

}  // namespace gantry::shim
