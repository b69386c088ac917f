#include "services/tasks/shim_log.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace gantry::services {
namespace {

constexpr size_t kMaxLine = 4096;

struct Source {
  std::string id;
  base::UniqueFd fd;
  std::string rest;  // an unfinished line
};

base::LogLevel LevelOf(absl::string_view line) {
  if (absl::StrContains(line, "level=error") || absl::StrContains(line, "level=fatal")) {
    return base::LogLevel::kError;
  }
  if (absl::StrContains(line, "level=warn")) return base::LogLevel::kWarn;
  if (absl::StrContains(line, "level=debug")) return base::LogLevel::kDebug;
  return base::LogLevel::kInfo;
}

void LogLine(const std::string& id, absl::string_view line) {
  if (line.empty()) return;
  base::Log(LevelOf(line), "shim log", {{"id", id}, {"line", line}});
}

void Drain(Source& source) {
  char buffer[16384];
  // Bounded, so that one that never stops leaves time for the others.
  for (int round = 0; round < 64; ++round) {
    ssize_t n = read(source.fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    source.rest.append(buffer, static_cast<size_t>(n));
    size_t end;
    while ((end = source.rest.find('\n')) != std::string::npos) {
      LogLine(source.id, absl::string_view(source.rest).substr(0, std::min(end, kMaxLine)));
      source.rest.erase(0, end + 1);
    }
    if (source.rest.size() > kMaxLine) {
      LogLine(source.id, absl::string_view(source.rest).substr(0, kMaxLine));
      source.rest.clear();
    }
  }
}

}  // namespace

struct ShimLogs::Impl {
  base::EventLoop loop;
  std::thread thread;
  std::map<std::pair<std::string, std::string>, Source> sources;  // loop's thread only

  void Drop(const std::pair<std::string, std::string>& key) {
    auto found = sources.find(key);
    if (found == sources.end()) return;
    Drain(found->second);
    LogLine(found->second.id, found->second.rest);
    loop.Remove(found->second.fd.get());
    sources.erase(found);
  }
};

ShimLogs::ShimLogs() : impl_(std::make_unique<Impl>()) {
  impl_->thread = std::thread([impl = impl_.get()] {
    absl::Status status = impl->loop.Run();
    if (!status.ok()) base::LogError("shim logs stopped", {{"error", status.message()}});
  });
}

ShimLogs::~ShimLogs() {
  impl_->loop.Stop();
  impl_->thread.join();
}

absl::Status ShimLogs::Add(const std::string& ns, const std::string& id, const std::string& path) {
  if (mkfifo(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return base::ErrnoStatus(errno, absl::StrCat("create fifo ", path));
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW));
  // A regular file instead of the fifo would keep the loop busy for ever.
  struct stat stat;
  if (fstat(fd.get(), &stat) != 0 || !S_ISFIFO(stat.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a fifo"));
  }
  auto shared = std::make_shared<base::UniqueFd>(std::move(fd));
  impl_->loop.Post([impl = impl_.get(), key = std::make_pair(ns, id), shared] {
    impl->Drop(key);
    Source& source = impl->sources[key];
    source.id = key.second;
    source.fd = std::move(*shared);
    absl::Status added =
        impl->loop.Add(source.fd.get(), EPOLLIN, [&source](uint32_t) { Drain(source); });
    if (!added.ok()) base::LogWarn("read the log of a shim", {{"error", added.message()}});
  });
  return absl::OkStatus();
}

void ShimLogs::Remove(const std::string& ns, const std::string& id) {
  impl_->loop.Post([impl = impl_.get(), key = std::make_pair(ns, id)] { impl->Drop(key); });
}

}  // namespace gantry::services
