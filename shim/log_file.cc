#include "shim/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxLine = 16 * 1024;
constexpr uint64_t kMaxFiles = 1000;

// Length of the valid UTF-8 sequence at the start of `text`, 0 if there is none.
size_t Utf8Length(absl::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto tail = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead < 0xf0) {
    if (!tail(1) || !tail(2)) return 0;
    if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0)) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead < 0xf5) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if ((lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

// As Docker's encoder: bytes that are no UTF-8 become U+FFFD, and <, >, & and U+2028/9 are escaped.
void AppendJsonString(std::string* out, absl::string_view text) {
  out->push_back('"');
  while (!text.empty()) {
    size_t length = Utf8Length(text);
    unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) {
      out->append("\\ufffd");
      length = 1;
    } else if (length > 1) {
      absl::string_view rune = text.substr(0, length);
      if (rune == "\xe2\x80\xa8") {
        out->append("\\u2028");
      } else if (rune == "\xe2\x80\xa9") {
        out->append("\\u2029");
      } else {
        out->append(rune.data(), rune.size());
      }
    } else if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (c < ' ' || c == '<' || c == '>' || c == '&' || c == 0x7f) {
      if (c == 0x7f) {
        out->push_back('\x7f');
      } else {
        absl::StrAppend(out, "\\u", absl::Hex(c, absl::kZeroPad4));
      }
    } else {
      out->push_back(static_cast<char>(c));
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

class RawStream final : public Sink {
 public:
  explicit RawStream(std::shared_ptr<LogFile> file) : file_(std::move(file)) {}
  void Write(absl::string_view data) override { file_->WriteRaw(data); }
  void Finish() override { file_.reset(); }

 private:
  std::shared_ptr<LogFile> file_;
};

class LineStream final : public Sink {
 public:
  LineStream(std::shared_ptr<LogFile> file, std::string name)
      : file_(std::move(file)), name_(std::move(name)) {}

  void Write(absl::string_view data) override {
    while (!data.empty()) {
      size_t newline = data.find('\n');
      absl::string_view piece = data.substr(0, newline);
      size_t room = kMaxLine - partial_.size();
      if (piece.size() > room) {
        partial_.append(piece.data(), room);
        data.remove_prefix(room);
        Emit(/*partial=*/true);
        continue;
      }
      partial_.append(piece.data(), piece.size());
      data.remove_prefix(std::min(data.size(), piece.size() + 1));
      if (newline != absl::string_view::npos) Emit(/*partial=*/false);
    }
  }

  void Finish() override {
    if (!partial_.empty()) Emit(/*partial=*/true);
    file_.reset();
  }

 private:
  void Emit(bool partial) {
    file_->WriteLine(name_, partial_, partial);
    std::string().swap(partial_);
  }

  std::shared_ptr<LogFile> file_;
  std::string name_;
  std::string partial_;
};

}  // namespace

absl::StatusOr<LogFile::Options> LogFile::ParseOptions(const StdioUri& uri) {
  Options options;
  options.path = uri.path;
  if (uri.scheme == "file") return options;  // containerd ignores a query here
  options.format = uri.scheme == "cri" ? Format::kCri : Format::kJson;
  for (const auto& [key, value] : uri.query) {
    if (key == "max-size") {
      GANTRY_ASSIGN_OR_RETURN(options.max_size, ParseSize(value));
    } else if (key == "max-file") {
      GANTRY_ASSIGN_OR_RETURN(uint64_t count, base::ParseDecimal(value, kMaxFiles));
      if (count == 0) return absl::InvalidArgumentError("max-file must be at least 1");
      options.max_file = static_cast<int>(count);
    } else if (key == "mode" && value == "blocking") {
      continue;
    } else if (key == "mode" && value == "non-blocking") {
      return absl::UnimplementedError("log option mode=non-blocking is not supported yet");
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown log option ", key, "=", value, " for ", uri.scheme));
    }
  }
  return options;
}

absl::StatusOr<std::shared_ptr<LogFile>> LogFile::Open(Options options) {
  std::string parent = options.path.substr(0, options.path.rfind('/'));
  if (!parent.empty()) GANTRY_RETURN_IF_ERROR(base::MakeDirs(parent, 0755));
  std::shared_ptr<LogFile> file(new LogFile(std::move(options)));
  GANTRY_RETURN_IF_ERROR(file->Reopen());
  return file;
}

std::shared_ptr<Sink> LogFile::Stream(std::shared_ptr<LogFile> file, std::string name) {
  if (file->format() == Format::kRaw) return std::make_shared<RawStream>(std::move(file));
  return std::make_shared<LineStream>(std::move(file), std::move(name));
}

absl::Status LogFile::Reopen() {
  mode_t mode = options_.format == Format::kRaw ? 0644 : 0640;
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

void LogFile::WriteRaw(absl::string_view data) {
  NoticeRename();
  absl::Status written;
  if (options_.max_size > 0 && size_ > 0 && size_ + data.size() > options_.max_size)
    written = Rotate();
  if (written.ok()) written = base::WriteAll(fd_.get(), data);
  if (written.ok()) size_ += data.size();
  if (!written.ok() && !failing_)
    base::LogError("log lines are lost", {{"path", options_.path}, {"error", written.ToString()}});
  failing_ = !written.ok();
}

void LogFile::WriteLine(absl::string_view stream, absl::string_view text, bool partial) {
  absl::Time now = absl::Now();
  std::string record;
  record.reserve(text.size() + 96);
  if (options_.format == Format::kCri) {
    absl::StrAppend(&record, base::FormatRfc3339Fixed(now, 9), " ", stream, partial ? " P " : " F ",
                    text, "\n");
  } else {
    record.append("{\"log\":");
    AppendJsonString(&record, partial ? std::string(text) : absl::StrCat(text, "\n"));
    absl::StrAppend(&record, ",\"stream\":\"", stream, "\",\"time\":\"", base::FormatRfc3339(now),
                    "\"}\n");
  }
  WriteRaw(record);
}

}  // namespace gantry::shim
