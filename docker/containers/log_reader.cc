#include "docker/containers/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::docker {
namespace {

constexpr size_t kReadSize = 512u << 10;
constexpr size_t kPieceSize = 1u << 20;
constexpr size_t kTailBlock = 64u << 10;
// A line is 16 KiB of text, escaped, and attributes; more is no line of ours.
constexpr size_t kMaxLine = 1u << 20;
constexpr int kMaxFiles = 1000;
constexpr size_t kFractionDigits = 9;

int HexValue(absl::string_view digits) {
  int value = 0;
  for (char c : digits) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | c >> 6));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | c >> 12));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | c >> 18));
    out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
  }
}

// A JSON document, taken apart where a general parser would be the slowest part of `docker logs`.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool Take(char c) {
    while (!text_.empty() && absl::ascii_isspace(static_cast<unsigned char>(text_[0]))) {
      text_.remove_prefix(1);
    }
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  bool String(std::string* out) {
    out->clear();
    if (!Take('"')) return false;
    while (true) {
      size_t plain = text_.find_first_of("\"\\");
      if (plain == absl::string_view::npos) return false;
      out->append(text_.data(), plain);
      char stop = text_[plain];
      text_.remove_prefix(plain + 1);
      if (stop == '"') return true;
      if (!Escape(out)) return false;
    }
  }

 private:
  bool Escape(std::string* out) {
    if (text_.empty()) return false;
    char c = text_[0];
    text_.remove_prefix(1);
    constexpr absl::string_view kFrom = "nrtbf\"\\/";
    constexpr absl::string_view kTo = "\n\r\t\b\f\"\\/";
    if (size_t at = kFrom.find(c); at != absl::string_view::npos) {
      out->push_back(kTo[at]);
      return true;
    }
    return c == 'u' && Unicode(out);
  }

  bool Unicode(std::string* out) {
    int high = text_.size() < 4 ? -1 : HexValue(text_.substr(0, 4));
    if (high < 0) return false;
    text_.remove_prefix(4);
    uint32_t c = static_cast<uint32_t>(high);
    if (c >= 0xd800 && c < 0xdc00 && text_.size() >= 6 && absl::StartsWith(text_, "\\u")) {
      int low = HexValue(text_.substr(2, 4));
      if (low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (static_cast<uint32_t>(low) - 0xdc00);
        text_.remove_prefix(6);
      }
    }
    AppendUtf8(c >= 0xd800 && c < 0xe000 ? 0xfffd : c, out);
    return true;
  }

  absl::string_view text_;
};

bool ReadAttributes(Scanner& scanner, LogEntry* entry) {
  if (!scanner.Take('{')) return false;
  if (scanner.Take('}')) return true;
  do {
    std::string key, value;
    if (!scanner.String(&key) || !scanner.Take(':') || !scanner.String(&value)) return false;
    entry->attributes.emplace_back(std::move(key), std::move(value));
  } while (scanner.Take(','));
  return scanner.Take('}');
}

// Always nine digits of a second, as Docker prints them.
std::string FixedTime(absl::string_view time) {
  absl::ConsumeSuffix(&time, "Z");
  size_t dot = time.find('.');
  size_t digits = dot == absl::string_view::npos ? 0 : time.size() - dot - 1;
  return absl::StrCat(time, dot == absl::string_view::npos ? "." : "",
                      std::string(digits < kFractionDigits ? kFractionDigits - digits : 0, '0'),
                      "Z");
}

std::string Details(const LogEntry& entry) {
  std::string text;
  for (const auto& [key, value] : entry.attributes) {
    absl::StrAppend(&text, text.empty() ? "" : ",", key, "=", value);
  }
  return absl::StrCat(text, " ");
}

}  // namespace

bool ParseLogLine(absl::string_view line, LogEntry* entry) {
  Scanner scanner(line);
  entry->text.clear();
  entry->stream.clear();
  entry->time.clear();
  entry->attributes.clear();
  if (!scanner.Take('{')) return false;
  std::string key, other;
  do {
    if (!scanner.String(&key) || !scanner.Take(':')) return false;
    if (key == "attrs") {
      if (!ReadAttributes(scanner, entry)) return false;
      continue;
    }
    std::string* to = key == "log"      ? &entry->text
                      : key == "stream" ? &entry->stream
                      : key == "time"   ? &entry->time
                                        : &other;
    if (!scanner.String(to)) return false;
  } while (scanner.Take(','));
  return scanner.Take('}');
}

LogReader::LogReader(std::string path, const LogOptions& options)
    : path_(std::move(path)), options_(options) {}

void LogReader::OpenParts() {
  opened_ = true;
  if (path_.empty()) return;
  // From the newest to the oldest, so that a rotation meanwhile loses none.
  for (int i = 0; i < kMaxFiles; ++i) {
    auto fd = base::Open(i == 0 ? path_ : absl::StrCat(path_, ".", i), O_RDONLY | O_NOFOLLOW);
    if (!fd.ok()) {
      if (i == 0) continue;
      break;
    }
    parts_.push_front({*std::move(fd), 0});
  }
  if (options_.tail >= 0 && !parts_.empty()) SeekTail();
}

// Sets the offsets so that the last entries are left.
void LogReader::SeekTail() {
  if (options_.tail == 0) {
    parts_.erase(parts_.begin(), parts_.end() - 1);
    struct stat info {};
    fstat(parts_[0].fd.get(), &info);
    parts_[0].offset = static_cast<uint64_t>(info.st_size);
    return;
  }
  int64_t wanted = options_.tail;
  std::string block(kTailBlock, '\0');
  for (size_t i = parts_.size(); i-- > 0;) {
    struct stat info {};
    fstat(parts_[i].fd.get(), &info);
    int64_t end = info.st_size;
    bool last_byte = true;  // the newline of the last entry begins none
    while (end > 0) {
      int64_t begin = std::max<int64_t>(0, end - static_cast<int64_t>(kTailBlock));
      ssize_t n = pread(parts_[i].fd.get(), block.data(), static_cast<size_t>(end - begin), begin);
      if (n <= 0) break;
      for (ssize_t at = n; at-- > 0;) {
        if (block[at] == '\n' && !std::exchange(last_byte, false) && --wanted <= 0) {
          parts_[i].offset = static_cast<uint64_t>(begin + at + 1);
          parts_.erase(parts_.begin(), parts_.begin() + static_cast<ptrdiff_t>(i));
          return;
        }
        last_byte = false;
      }
      end = begin;
    }
    // The first entry of the file has no newline before it.
    if (info.st_size > 0 && --wanted <= 0 && i > 0) {
      parts_.erase(parts_.begin(), parts_.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
}

// At the end of PATH as we have it: whether there is another one by now.
bool LogReader::ReopenIfRotated() {
  auto fd = base::Open(path_, O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) return false;
  struct stat now {
  }, ours{};
  if (fstat(fd->get(), &now) != 0) return false;
  if (!parts_.empty()) {
    if (fstat(parts_.front().fd.get(), &ours) != 0) return false;
    if (now.st_ino == ours.st_ino && now.st_dev == ours.st_dev) {
      // Emptied in place: max-file is 1.
      if (static_cast<uint64_t>(now.st_size) >= parts_.front().offset) return false;
      parts_.front().offset = 0;
      pending_.clear();
      return true;
    }
    parts_.pop_front();
    pending_.clear();  // the beginning of a line that was never finished
  }
  parts_.push_back({*std::move(fd), 0});
  return true;
}

absl::StatusOr<bool> LogReader::Fill() {
  if (at_ > 0) {
    pending_.erase(0, at_);
    at_ = 0;
  }
  if (pending_.size() > kMaxLine) pending_.clear();
  while (true) {
    if (!parts_.empty()) {
      Part& part = parts_.front();
      size_t had = pending_.size();
      pending_.resize(had + kReadSize);
      ssize_t n =
          pread(part.fd.get(), pending_.data() + had, kReadSize, static_cast<off_t>(part.offset));
      int error = errno;
      pending_.resize(had + (n > 0 ? static_cast<size_t>(n) : 0));
      if (n < 0) return base::ErrnoStatus(error, absl::StrCat("read ", path_));
      if (n > 0) {
        part.offset += static_cast<uint64_t>(n);
        return true;
      }
      if (parts_.size() > 1) {
        pending_.clear();  // the beginning of a line that was never finished
        parts_.pop_front();
        continue;
      }
    }
    if (!ReopenIfRotated()) return false;
  }
}

void LogReader::Format(absl::string_view line, std::string* out) {
  LogEntry& entry = entry_;
  if (!ParseLogLine(line, &entry)) return;
  bool err = entry.stream == "stderr";
  if (err ? !options_.err : !options_.out) return;
  if (options_.since != absl::InfinitePast() || options_.until != absl::InfiniteFuture()) {
    auto time = base::ParseRfc3339(entry.time);
    if (time.ok() && *time < options_.since) return;
    if (time.ok() && *time > options_.until) {
      past_end_ = true;
      return;
    }
  }
  size_t begin = out->size();
  if (options_.frames) out->append(8, '\0');
  if (options_.timestamps) absl::StrAppend(out, FixedTime(entry.time), " ");
  if (options_.details) absl::StrAppend(out, Details(entry));
  out->append(entry.text);
  if (!options_.frames) return;
  size_t size = out->size() - begin - 8;
  (*out)[begin] = err ? 2 : 1;
  for (int i = 0; i < 4; ++i) (*out)[begin + 4 + i] = static_cast<char>(size >> (24 - 8 * i));
}

absl::StatusOr<std::string> LogReader::Next() {
  if (!opened_) OpenParts();
  std::string out;
  while (!past_end_) {
    const char* begin = pending_.data() + at_;
    const void* newline = memchr(begin, '\n', pending_.size() - at_);
    if (newline != nullptr) {
      size_t length = static_cast<size_t>(static_cast<const char*>(newline) - begin);
      Format(absl::string_view(begin, length), &out);
      at_ += length + 1;
      if (out.size() >= kPieceSize) break;  // not return: GCC 12 warns of the move
      continue;
    }
    GANTRY_ASSIGN_OR_RETURN(bool more, Fill());
    if (!more) break;
  }
  return out;
}

}  // namespace gantry::docker
