#include "docker/archive/routes.h"

#include <fcntl.h>

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/archive/tar_reader.h"
#include "base/file.h"
#include "base/status.h"
#include "client/gunzip.h"
#include "client/spec/user.h"
#include "docker/archive/changes.h"
#include "docker/archive/container_root.h"
#include "docker/archive/extractor.h"
#include "docker/archive/path_stat.h"
#include "docker/archive/tree_reader.h"
#include "docker/containers/lookup.h"
#include "docker/system/publish.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;
using ExchangePtr = std::shared_ptr<Exchange>;

constexpr size_t kSendSize = 64u << 10;
constexpr char kStatHeader[] = "X-Docker-Container-Path-Stat";

absl::StatusOr<std::string> PathOf(const Exchange& exchange) {
  const std::string& path = exchange.query().Get("path");
  if (path.empty()) {
    return absl::InvalidArgumentError("bad parameter: 'path' cannot be empty");
  }
  if (path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("bad parameter: 'path' contains a NUL byte");
  }
  return absl::StartsWith(path, "/") ? path : absl::StrCat("/", path);
}

// Docker's words for a path that leads nowhere.
absl::Status FileError(const absl::Status& status, const std::string& path,
                       const std::string& container) {
  const int error = base::ErrnoOf(status);
  if (error == ENOENT || error == ENOTDIR) {
    return absl::NotFoundError(
        absl::StrCat("Could not find the file ", path, " in container ", container));
  }
  return status;
}

void Publish(const Context& context, const FoundContainer& container, const std::string& action) {
  PublishEvent(context.gantryd, "container", action, container.id(),
               {{"name", container.name()}, {"image", container.document.config.image}});
}

// Sends what `write` makes in pieces that are worth a chunk. A failure cuts the answer off.
absl::Status StreamTar(const ExchangePtr& exchange,
                       const std::function<absl::Status(const archive::ByteSink&)>& write) {
  auto stream = exchange->StartStream(200, "application/x-tar");
  if (stream == nullptr) return absl::OkStatus();
  std::string pending;
  absl::Status status = write([&](absl::string_view data) {
    pending.append(data.data(), data.size());
    if (pending.size() < kSendSize) return absl::OkStatus();
    return stream->Write(std::exchange(pending, {})) ? absl::OkStatus()
                                                     : absl::CancelledError("the client is gone");
  });
  if (status.ok() && stream->Write(std::move(pending))) stream->Finish();
  return absl::OkStatus();
}

absl::Status Stat(const Context& context, const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  GANTRY_ASSIGN_OR_RETURN(std::string path, PathOf(*exchange));
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(context, name));
  return WithContainerRoot(context, container, {}, [&](int root) {
    auto opened = OpenPath(root, path);
    if (!opened.ok()) return FileError(opened.status(), path, name);
    exchange->SetHeader(kStatHeader, PathStatHeader(opened->stat));
    exchange->ReplyEmpty(200);
    return absl::OkStatus();
  });
}

absl::Status Get(const Context& context, const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  GANTRY_ASSIGN_OR_RETURN(std::string path, PathOf(*exchange));
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(context, name));
  return WithContainerRoot(context, container, {}, [&](int root) {
    auto opened = OpenPath(root, path);
    if (!opened.ok()) return FileError(opened.status(), path, name);
    exchange->SetHeader(kStatHeader, PathStatHeader(opened->stat));
    Publish(context, container, "archive-path");
    return StreamTar(exchange, [&](const archive::ByteSink& sink) {
      return WriteTree(opened->fd.get(), {.name = opened->stat.name}, sink);
    });
  });
}

absl::StatusOr<ExtractOptions> ExtractOptionsOf(const Exchange& exchange, int root,
                                                const FoundContainer& container) {
  ExtractOptions options;
  options.no_overwrite_dir_non_dir = exchange.query().Bool("noOverwriteDirNonDir");
  const std::string& user = container.document.config.user;
  if (!exchange.query().Bool("copyUIDGID") || user.empty()) return options;
  GANTRY_ASSIGN_OR_RETURN(client::UserRequest request, client::ParseUser(user));
  GANTRY_ASSIGN_OR_RETURN(client::ResolvedUser resolved, client::ResolveUser(root, request));
  options.owner = std::make_pair(resolved.uid, resolved.gid);
  return options;
}

absl::Status ExtractBody(const ExchangePtr& exchange, int root, const std::string& directory,
                         const ExtractOptions& options) {
  Extractor extractor(root, directory, options);
  archive::TarReader tar(&extractor);
  client::MaybeGunzip plain([&](absl::string_view data) { return tar.Write(data); });
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(std::string data, exchange->ReadBodySome());
    if (data.empty()) break;
    GANTRY_RETURN_IF_ERROR(plain.Write(data));
  }
  GANTRY_RETURN_IF_ERROR(plain.Finish());
  GANTRY_RETURN_IF_ERROR(tar.Finish());
  return extractor.Finish();
}

absl::Status Put(const Context& context, const ExchangePtr& exchange) {
  const std::string& name = exchange->Var("name");
  GANTRY_ASSIGN_OR_RETURN(std::string path, PathOf(*exchange));
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(context, name));
  return WithContainerRoot(context, container, {}, [&](int root) -> absl::Status {
    const std::string directory = ResolveLinks(root, path);
    auto target = base::OpenUnder(root, directory, O_PATH);
    if (!target.ok()) return FileError(target.status(), path, name);
    struct stat st = {};
    if (fstatat(target->get(), "", &st, AT_EMPTY_PATH) != 0) {
      return base::ErrnoStatus(errno, path);
    }
    if (!S_ISDIR(st.st_mode)) {
      return absl::InvalidArgumentError("extraction point is not a directory");
    }
    GANTRY_ASSIGN_OR_RETURN(ExtractOptions options, ExtractOptionsOf(*exchange, root, container));
    GANTRY_RETURN_IF_ERROR(ExtractBody(exchange, root, directory, options));
    Publish(context, container, "extract-to-dir");
    exchange->ReplyEmpty(200);
    return absl::OkStatus();
  });
}

absl::Status Export(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(context, exchange->Var("name")));
  return WithContainerRoot(context, container, {.with_volumes = false}, [&](int root) {
    Publish(context, container, "export");
    return StreamTar(exchange, [&](const archive::ByteSink& sink) {
      return WriteTree(root, {.name = "", .cross_mounts = false}, sink);
    });
  });
}

// Where the specification mounts something.
std::set<std::string> MountPoints(const FoundContainer& container) {
  std::set<std::string> points = {"/.dockerenv", "/dev/console", "/etc/mtab"};
  auto spec = base::ParseJson(container.spec);
  if (!spec.ok()) return points;
  for (const base::Json& mount : base::JsonAt(*spec, "mounts")) {
    points.insert(CleanPath(base::JsonString(mount, "destination")));
  }
  return points;
}

absl::Status Changes(const Context& context, const ExchangePtr& exchange) {
  GANTRY_ASSIGN_OR_RETURN(FoundContainer container, FindContainer(context, exchange->Var("name")));
  GANTRY_ASSIGN_OR_RETURN(std::vector<base::Mount> mounts, SnapshotMounts(context, container));
  GANTRY_ASSIGN_OR_RETURN(std::vector<FileChange> changes,
                          OverlayChanges(mounts, MountPoints(container)));
  OrderedJson out;
  for (const FileChange& change : changes) {
    out.push_back({{"Path", change.path}, {"Kind", static_cast<int>(change.kind)}});
  }
  exchange->ReplyJson(200, out);
  return absl::OkStatus();
}

}  // namespace

void AddArchiveRoutes(http::Router& router, const Context& context) {
  using Function = absl::Status (*)(const Context&, const ExchangePtr&);
  auto add = [&](const char* method, const char* pattern, Function function) {
    router.Add(method, pattern, [&context, function](const ExchangePtr& exchange) {
      return function(context, exchange);
    });
  };
  add("HEAD", "/containers/{name:.*}/archive", Stat);
  add("GET", "/containers/{name:.*}/archive", Get);
  add("PUT", "/containers/{name:.*}/archive", Put);
  add("GET", "/containers/{name:.*}/export", Export);
  add("GET", "/containers/{name:.*}/changes", Changes);
}

}  // namespace gantry::docker
