#include "shim/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "shim/attach_server.h"

namespace gantry::shim {
namespace {

constexpr uint64_t kMaxFiles = 1000;
constexpr uint64_t kMaxBuffer = 1u << 30;
constexpr size_t kMaxAttributes = 16 * 1024;

}  // namespace

absl::StatusOr<LogMode> LogMode::Parse(const StdioUri& uri) {
  LogMode mode;
  for (const auto& [key, value] : uri.query) {
    if (key == "mode") {
      if (value != "blocking" && value != "non-blocking")
        return absl::InvalidArgumentError(absl::StrCat("logging mode \"", value, "\" is unknown"));
      mode.non_blocking = value == "non-blocking";
    } else if (key == "max-buffer-size") {
      GANTRY_ASSIGN_OR_RETURN(mode.max_buffer_size, ParseSize(value));
      if (mode.max_buffer_size == 0 || mode.max_buffer_size > kMaxBuffer)
        return absl::InvalidArgumentError("max-buffer-size must be between 1 byte and 1 GiB");
    }
  }
  if (mode.max_buffer_size > 0 && !mode.non_blocking)
    return absl::InvalidArgumentError(
        "log option max-buffer-size is only supported with mode=non-blocking");
  return mode;
}

absl::StatusOr<LogFile::Options> LogFile::ParseOptions(const StdioUri& uri) {
  Options options;
  options.path = uri.path;
  if (uri.scheme == "file") return options;  // containerd ignores a query here
  options.format = uri.scheme == "cri" ? LogFormat::kCri : LogFormat::kJson;
  std::vector<std::pair<std::string, std::string>> attributes;
  for (const auto& [key, value] : uri.query) {
    absl::string_view name = key;
    if (key == "max-size") {
      GANTRY_ASSIGN_OR_RETURN(options.max_size, ParseSize(value));
    } else if (key == "max-file") {
      GANTRY_ASSIGN_OR_RETURN(uint64_t count, base::ParseDecimal(value, kMaxFiles));
      if (count == 0) return absl::InvalidArgumentError("max-file must be at least 1");
      options.max_file = static_cast<int>(count);
    } else if (uri.scheme == "json-file" && absl::ConsumePrefix(&name, "attr.")) {
      attributes.emplace_back(name, value);
    } else if (!AttachOptions::IsKey(key) && !LogMode::IsKey(key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown log option ", key, "=", value, " for ", uri.scheme));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(options.mode, LogMode::Parse(uri));
  options.attributes = JsonAttributes(std::move(attributes));
  if (options.attributes.size() > kMaxAttributes)
    return absl::InvalidArgumentError("the attributes of a log are longer than 16 KiB");
  return options;
}

absl::StatusOr<std::unique_ptr<LogFile>> LogFile::Open(Options options) {
  std::string parent = options.path.substr(0, options.path.rfind('/'));
  if (!parent.empty()) GANTRY_RETURN_IF_ERROR(base::MakeDirs(parent, 0755));
  std::unique_ptr<LogFile> file(new LogFile(std::move(options)));
  GANTRY_RETURN_IF_ERROR(file->Reopen());
  return file;
}

absl::Status LogFile::Reopen() {
  mode_t mode = options_.format == LogFormat::kRaw ? 0644 : 0640;
  // Non-blocking for a fifo in the wrong place only; it has no effect on files.
  GANTRY_ASSIGN_OR_RETURN(
      fd_, base::Open(options_.path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, mode));
  struct stat st {};
  if (fstat(fd_.get(), &st) != 0)
    return base::ErrnoStatus(errno, absl::StrCat("stat ", options_.path));
  size_ = static_cast<uint64_t>(st.st_size);
  device_ = st.st_dev;
  inode_ = st.st_ino;
  return absl::OkStatus();
}

absl::Status LogFile::Rotate() {
  const std::string& path = options_.path;
  if (options_.max_file == 1) {
    if (ftruncate(fd_.get(), 0) != 0)
      return base::ErrnoStatus(errno, absl::StrCat("truncate ", path));
    size_ = 0;
    return absl::OkStatus();
  }
  for (int i = options_.max_file - 1; i >= 1; --i) {
    std::string from = i == 1 ? path : absl::StrCat(path, ".", i - 1);
    std::string to = absl::StrCat(path, ".", i);
    if (rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
      return base::ErrnoStatus(errno, absl::StrCat("rename ", from, " to ", to));
  }
  return Reopen();
}

void LogFile::NoticeRename() {
  absl::Time now = absl::Now();
  if (now - checked_ < absl::Seconds(1) && now >= checked_) return;
  checked_ = now;
  struct stat st {};
  bool same = stat(options_.path.c_str(), &st) == 0 && st.st_dev == device_ && st.st_ino == inode_;
  if (same) {
    size_ = static_cast<uint64_t>(st.st_size);  // somebody may have emptied it
  } else if (absl::Status opened = Reopen(); !opened.ok()) {
    base::LogWarn("log file was renamed and cannot be made again", {{"error", opened.ToString()}});
  }
}

// As many whole records as fit into the file that is open, at least one.
size_t LogFile::Fitting(absl::string_view records) const {
  if (options_.max_size == 0 || size_ + records.size() <= options_.max_size) return records.size();
  size_t room = options_.max_size - std::min(size_, options_.max_size);
  size_t end = room == 0 ? absl::string_view::npos : records.rfind('\n', room - 1);
  if (end == absl::string_view::npos) end = records.find('\n');
  return end == absl::string_view::npos ? records.size() : end + 1;
}

void LogFile::Write(absl::string_view records) {
  NoticeRename();
  absl::Status written;
  while (!records.empty() && written.ok()) {
    absl::string_view now = records.substr(0, Fitting(records));
    records.remove_prefix(now.size());
    if (options_.max_size > 0 && size_ > 0 && size_ + now.size() > options_.max_size)
      written = Rotate();
    if (written.ok()) written = base::WriteAll(fd_.get(), now);
    if (written.ok()) size_ += now.size();
  }
  if (!written.ok() && !failing_)
    base::LogError("log lines are lost", {{"path", options_.path}, {"error", written.ToString()}});
  failing_ = !written.ok();
}

}  // namespace gantry::shim
