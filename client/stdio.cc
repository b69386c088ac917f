#include "client/stdio.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::client {
namespace {

constexpr size_t kBuffer = 64 << 10;

constexpr absl::string_view kInSuffix = ".stdin";
constexpr absl::string_view kOutSuffix = ".stdout";
constexpr absl::string_view kErrSuffix = ".stderr";

absl::StatusOr<base::UniqueFd> MakeFifo(const std::string& path, int flags) {
  if (mkfifo(path.c_str(), 0600) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("make fifo ", path));
  }
  return base::Open(path, flags | O_NONBLOCK);
}

}  // namespace

absl::StatusOr<Fifos> Fifos::Create(const std::string& base_dir, bool with_stdin, bool terminal) {
  std::string stem = absl::StrCat(base_dir, "/", base::RandomHex(8));
  Fifos fifos;
  fifos.owned_ = true;
  fifos.out_path_ = absl::StrCat(stem, kOutSuffix);
  auto out = MakeFifo(fifos.out_path_, O_RDONLY);
  if (base::ErrnoOf(out.status()) == ENOENT) {  // the first on this machine
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(base_dir, 0700));
    out = MakeFifo(fifos.out_path_, O_RDONLY);
  }
  GANTRY_RETURN_IF_ERROR(out.status());
  fifos.out = *std::move(out);
  if (with_stdin) {
    fifos.in_path_ = absl::StrCat(stem, kInSuffix);
    // Read-write: write-only would fail until the shim has opened its end.
    GANTRY_ASSIGN_OR_RETURN(fifos.in, MakeFifo(fifos.in_path_, O_RDWR));
  }
  if (!terminal) {
    fifos.err_path_ = absl::StrCat(stem, kErrSuffix);
    GANTRY_ASSIGN_OR_RETURN(fifos.err, MakeFifo(fifos.err_path_, O_RDONLY));
  }
  return fifos;
}

absl::StatusOr<Fifos> Fifos::Open(const std::string& in, const std::string& out,
                                  const std::string& err) {
  Fifos fifos;
  if (!in.empty()) {
    GANTRY_ASSIGN_OR_RETURN(fifos.in, base::Open(in, O_RDWR | O_NONBLOCK));
  }
  if (!out.empty()) {
    GANTRY_ASSIGN_OR_RETURN(fifos.out, base::Open(out, O_RDONLY | O_NONBLOCK));
  }
  if (!err.empty()) {
    GANTRY_ASSIGN_OR_RETURN(fifos.err, base::Open(err, O_RDONLY | O_NONBLOCK));
  }
  fifos.in_path_ = in;
  fifos.out_path_ = out;
  fifos.err_path_ = err;
  return fifos;
}

Fifos::Fifos(Fifos&& other) noexcept
    : in(std::move(other.in)),
      out(std::move(other.out)),
      err(std::move(other.err)),
      owned_(std::exchange(other.owned_, false)),
      in_path_(std::move(other.in_path_)),
      out_path_(std::move(other.out_path_)),
      err_path_(std::move(other.err_path_)) {}

Fifos::~Fifos() {
  if (!owned_) return;
  for (const std::string* path : {&in_path_, &out_path_, &err_path_}) {
    if (!path->empty()) unlink(path->c_str());
  }
}

void Fifos::Remove(const std::string& base_dir, const std::string& path) {
  absl::string_view stem = path;
  if (!absl::ConsumePrefix(&stem, absl::StrCat(base_dir, "/"))) return;
  if (!absl::ConsumeSuffix(&stem, kOutSuffix) && !absl::ConsumeSuffix(&stem, kInSuffix)) return;
  // Nothing but a name of ours: a task's paths may be anybody's.
  if (stem.empty() || absl::StrContains(stem, '/') || stem[0] == '.') return;
  for (absl::string_view suffix : {kInSuffix, kOutSuffix, kErrSuffix}) {
    unlink(absl::StrCat(base_dir, "/", stem, suffix).c_str());
  }
}

void StdioPump::Run(const std::vector<Watch>& watches, const std::function<bool()>& done) {
  while (!done()) Step(watches, -1);
}

void StdioPump::Finish(absl::Duration grace) {
  input_open_ = false;
  pending_.clear();
  int timeout_ms = static_cast<int>(absl::ToInt64Milliseconds(grace));
  while ((fifos_.out.valid() || fifos_.err.valid()) && Step({}, timeout_ms)) {
  }
}

bool StdioPump::Copy(int from, int to) {
  char buffer[kBuffer];
  ssize_t n = read(from, buffer, sizeof(buffer));
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  // A closed pipe on our side must not end the container: its output is dropped from then on.
  (void)base::WriteAll(to, absl::string_view(buffer, static_cast<size_t>(n)));
  return true;
}

bool StdioPump::ScanDetach(const char* data, size_t size) {
  const std::string& keys = options_.detach_keys;
  for (size_t i = 0; i < size; ++i) {
    if (!keys.empty() && data[i] == keys[matched_]) {
      if (++matched_ == keys.size()) return true;
      continue;
    }
    pending_.append(keys, 0, matched_);
    matched_ = 0;
    if (!keys.empty() && data[i] == keys[0]) {
      matched_ = 1;
    } else {
      pending_.push_back(data[i]);
    }
  }
  return false;
}

void StdioPump::ReadInput() {
  char buffer[kBuffer];
  ssize_t n = read(options_.in, buffer, sizeof(buffer));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    pending_.append(options_.detach_keys, 0, matched_);
    input_open_ = false;
    if (pending_.empty()) CloseInput();
  } else if (ScanDetach(buffer, static_cast<size_t>(n)) && options_.on_detach) {
    // What was typed before the keys, in the same read.
    if (!pending_.empty()) WriteInput();
    options_.on_detach();
  }
}

void StdioPump::WriteInput() {
  ssize_t n = write(fifos_.in.get(), pending_.data(), pending_.size());
  if (n > 0) pending_.erase(0, static_cast<size_t>(n));
  if (pending_.empty() && !input_open_) CloseInput();
}

void StdioPump::CloseInput() {
  fifos_.in.Reset();
  if (options_.on_stdin_end) options_.on_stdin_end();
}

bool StdioPump::Step(const std::vector<Watch>& watches, int timeout_ms) {
  enum { kIn, kInFifo, kOut, kErr, kCount };
  std::vector<pollfd> fds(kCount);
  fds[kIn] = {input_open_ && pending_.empty() ? options_.in : -1, POLLIN, 0};
  fds[kInFifo] = {pending_.empty() ? -1 : fifos_.in.get(), POLLOUT, 0};
  fds[kOut] = {fifos_.out.valid() ? fifos_.out.get() : -1, POLLIN, 0};
  fds[kErr] = {fifos_.err.valid() ? fifos_.err.get() : -1, POLLIN, 0};
  for (const Watch& watch : watches) fds.push_back(watch.descriptor());
  int ready = poll(fds.data(), fds.size(), timeout_ms);
  if (ready <= 0) return ready < 0;  // a signal
  for (size_t i = 0; i < watches.size(); ++i) {
    if (fds[kCount + i].revents != 0) watches[i].on_ready();
  }
  if (fds[kOut].revents != 0 && !Copy(fifos_.out.get(), options_.out)) fifos_.out.Reset();
  if (fds[kErr].revents != 0 && !Copy(fifos_.err.get(), options_.err)) fifos_.err.Reset();
  if (fds[kInFifo].revents != 0) WriteInput();
  if (fds[kIn].revents != 0) ReadInput();
  return true;
}

absl::StatusOr<std::string> ParseDetachKeys(absl::string_view text) {
  std::string keys;
  if (text.empty()) return keys;
  for (absl::string_view key : absl::StrSplit(text, ',')) {
    if (key.size() == 1) {
      keys.push_back(key[0]);
      continue;
    }
    char letter = key.size() == 6 && absl::StartsWith(key, "ctrl-") ? key[5] : '\0';
    if (letter >= 'a' && letter <= 'z') {
      keys.push_back(static_cast<char>(letter - 'a' + 1));
    } else if (letter == '@' || (letter >= '[' && letter <= '_')) {
      keys.push_back(static_cast<char>(letter - '@'));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("detach key \"", key, "\" is neither a character nor ctrl-X"));
    }
  }
  return keys;
}

}  // namespace gantry::client
