#include "services/maintenance/fsck.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/mount.h"
#include "base/status.h"
#include "containerd/services/content/v1/content.pb.h"
#include "services/content/blob_files.h"
#include "services/metadata/intents.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using gantry::services::maintenance::v1::Finding;

bool IsOlderThan(const std::string& path, absl::Duration age) {
  struct stat st;
  if (lstat(path.c_str(), &st) != 0) return false;  // gone meanwhile
  absl::Time changed = absl::TimeFromTimespec(st.st_ctim);
  return absl::Now() - changed >= age;
}

// A directory that is not there has no entries.
absl::StatusOr<std::vector<std::string>> ListIfThere(const std::string& path) {
  auto names = base::ListDir(path);
  if (!names.ok() && absl::IsNotFound(names.status())) return std::vector<std::string>();
  return names;
}

bool IsListening(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  memcpy(address.sun_path, path.data(), path.size());
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return socket &&
         connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

absl::StatusOr<std::string> HashFile(const std::string& path, const base::Digest& like) {
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd fd, base::Open(path, O_RDONLY));
  base::Hasher hasher(like);
  std::string buffer(1 << 20, '\0');
  while (true) {
    ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("read ", path));
    if (n == 0) return hasher.Finish().str();
    hasher.Update(absl::string_view(buffer.data(), static_cast<size_t>(n)));
  }
}

}  // namespace

// One check: the request, what it found so far.
class Fsck::Run {
 public:
  Run(const FsckDeps& deps, const Request& request)
      : deps_(deps),
        request_(request),
        grace_(request.include_young() ? absl::ZeroDuration() : deps.grace) {}

  absl::StatusOr<Report> Do() {
    GANTRY_RETURN_IF_ERROR(CheckBlobFiles());
    GANTRY_RETURN_IF_ERROR(CheckBlobRecords());
    GANTRY_RETURN_IF_ERROR(CheckUploads());
    for (const std::string& name : deps_.local_snapshotters) {
      GANTRY_RETURN_IF_ERROR(CheckSnapshotter(name));
    }
    for (const KnownShim& shim : deps_.shims()) {
      tasks_.insert({shim.ns, shim.id});
      sockets_.insert(std::string(absl::StripPrefix(shim.address, "unix://")));
    }
    GANTRY_RETURN_IF_ERROR(CheckBundles());
    GANTRY_RETURN_IF_ERROR(CheckWorkDirs());
    GANTRY_RETURN_IF_ERROR(CheckContainerDirs());
    GANTRY_RETURN_IF_ERROR(CheckTemporary());
    GANTRY_RETURN_IF_ERROR(CheckVolumes());
    GANTRY_RETURN_IF_ERROR(CheckMounts());
    GANTRY_RETURN_IF_ERROR(CheckShimSockets());
    GANTRY_RETURN_IF_ERROR(CheckCgroups());
    GANTRY_RETURN_IF_ERROR(CheckIntents());
    GANTRY_RETURN_IF_ERROR(CheckNetworks());
    for (const auto& [kind, seen] : seen_) {
      auto* count = report_.add_counts();
      count->set_kind(kind);
      count->set_seen(seen);
    }
    return std::move(report_);
  }

 private:
  // `repair` runs only if a repair was asked for.
  void Found(absl::string_view kind, absl::string_view object, absl::string_view problem,
             absl::string_view remedy, const std::function<absl::Status()>& repair) {
    Finding* finding = report_.add_findings();
    finding->set_kind(std::string(kind));
    finding->set_object(std::string(object));
    finding->set_problem(std::string(problem));
    finding->set_remedy(std::string(remedy));
    if (!request_.repair() || repair == nullptr) return;
    absl::Status status = repair();
    finding->set_repaired(status.ok());
    finding->set_remedy(status.ok() ? "" : absl::StrCat("the repair failed: ", status.message()));
  }

  absl::StatusOr<bool> AnyRecord(const std::string& prefix) const {
    bool any = false;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) -> absl::Status {
      GANTRY_ASSIGN_OR_RETURN(any, view.AnyWith(prefix));
      return absl::OkStatus();
    }));
    return any;
  }

  std::string BlobPath(const base::Digest& digest) const {
    return absl::StrCat(deps_.root, "/io.containerd.content.v1.content/blobs/", digest.algorithm(),
                        "/", digest.hex());
  }

  absl::Status CheckBlobFiles() {
    for (absl::string_view algorithm : {"sha256", "sha512"}) {
      std::string dir =
          absl::StrCat(deps_.root, "/io.containerd.content.v1.content/blobs/", algorithm);
      GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListIfThere(dir));
      for (const std::string& name : names) {
        ++seen_["blob"];
        std::string path = absl::StrCat(dir, "/", name);
        std::string digest = absl::StrCat(algorithm, ":", name);
        GANTRY_ASSIGN_OR_RETURN(bool wanted, AnyRecord(KeyPrefix({kTableBlobReferences, digest})));
        if (wanted || !IsOlderThan(path, grace_)) continue;
        Found("blob", digest, "a file that no namespace has a record of", "remove it",
              [&path] { return base::RemoveTree(path); });
      }
    }
    return absl::OkStatus();
  }

  // Read first, looked at afterwards: the disk is not to be touched inside of a View.
  absl::Status CheckBlobRecords() {
    struct Row {
      std::string ns, digest;
      int64_t size;
    };
    std::vector<Row> rows;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) {
      return view.ScanProto<containerd::services::content::v1::Info>(
          KeyPrefix({kTableBlobs}),
          [&rows](absl::string_view rest, const containerd::services::content::v1::Info& info) {
            std::vector<absl::string_view> parts = SplitKey(rest);
            rows.push_back({std::string(parts[0]), info.digest(), info.size()});
            return true;
          });
    }));
    for (const Row& row : rows) {
      auto digest = base::Digest::Parse(row.digest);
      std::string problem =
          digest.ok() ? BlobProblem(*digest, row.size) : std::string(digest.status().message());
      if (problem.empty()) continue;
      // Another look: the record may have gone while we were at it.
      GANTRY_ASSIGN_OR_RETURN(bool there, AnyRecord(Key({kTableBlobs, row.ns, row.digest})));
      if (!there) continue;
      Found("blob", absl::StrCat(row.ns, "/", row.digest), problem,
            "remove the record, then pull the image again: only this blob is fetched",
            [this, &row, &digest] {
              return ForgetBlob(row.ns, row.digest, digest.ok() ? BlobPath(*digest) : "");
            });
    }
    return absl::OkStatus();
  }

  std::string BlobProblem(const base::Digest& digest, int64_t size) const {
    struct stat st;
    std::string path = BlobPath(digest);
    if (lstat(path.c_str(), &st) != 0) return "its file is missing";
    if (st.st_size != size) {
      return absl::StrCat("its file has ", st.st_size, " bytes instead of ", size);
    }
    if (!request_.verify_content()) return "";
    auto actual = HashFile(path, digest);
    if (!actual.ok()) return std::string(actual.status().message());
    return *actual == digest.str() ? ""
                                   : absl::StrCat("its content is damaged: it hashes to ", *actual);
  }

  absl::Status ForgetBlob(const std::string& ns, const std::string& digest,
                          const std::string& path) {
    GANTRY_RETURN_IF_ERROR(deps_.db->Update(Durability::kSync, [&](Tx& tx) {
      tx.Delete(Key({kTableBlobs, ns, digest}));
      tx.Delete(Key({kTableBlobReferences, digest, ns}));
      tx.MarkDirty();
      return absl::OkStatus();
    }));
    return path.empty() ? absl::OkStatus() : base::RemoveTree(path);
  }

  absl::Status CheckUploads() {
    std::set<std::string> wanted;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) {
      return view.Scan(KeyPrefix({kTableIngests}), [&](absl::string_view rest, absl::string_view) {
        std::vector<absl::string_view> parts = SplitKey(rest);
        wanted.insert(BlobFiles::IngestId(parts[0], parts[1]));
        return true;
      });
    }));
    std::string dir = absl::StrCat(deps_.root, "/io.containerd.content.v1.content/ingest");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, ListIfThere(dir));
    for (const std::string& id : ids) {
      ++seen_["upload"];
      std::string path = absl::StrCat(dir, "/", id);
      if (wanted.contains(id) || !IsOlderThan(path, grace_)) continue;
      Found("upload", path, "no record knows it", "remove it",
            [&path] { return base::RemoveTree(path); });
    }
    return absl::OkStatus();
  }

  absl::Status CheckSnapshotter(const std::string& name) {
    std::string dir =
        absl::StrCat(deps_.root, "/io.containerd.snapshotter.v1.", name, "/snapshots");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> ids, ListIfThere(dir));
    std::set<std::string> present(ids.begin(), ids.end());
    for (const std::string& id : ids) {
      ++seen_["snapshot"];
      std::string path = absl::StrCat(dir, "/", id);
      GANTRY_ASSIGN_OR_RETURN(bool used, AnyRecord(KeyPrefix({"snpref", name, id})));
      GANTRY_ASSIGN_OR_RETURN(bool leaving, AnyRecord(Key({"snpdel", name, id})));
      if (used || leaving || !IsOlderThan(path, grace_)) continue;
      Found("snapshot", path, "a directory that no record knows", "remove it",
            [&path] { return base::RemoveTree(path); });
    }
    std::set<std::string> missing;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) {
      return view.Scan(KeyPrefix({"snpref", name}), [&](absl::string_view rest, absl::string_view) {
        std::string id(SplitKey(rest)[0]);
        if (!present.contains(id)) missing.insert(std::string(rest));
        return true;
      });
    }));
    for (const std::string& rest : missing) {
      std::vector<absl::string_view> parts = SplitKey(rest);  // id, namespace, key
      GANTRY_ASSIGN_OR_RETURN(bool there,
                              AnyRecord(absl::StrCat(KeyPrefix({"snpref", name}), rest)));
      if (!there || base::Exists(absl::StrCat(dir, "/", parts[0]))) continue;
      Found("snapshot", absl::StrCat(parts[1], "/", parts[2]), "its directory is missing",
            "remove the snapshot (or the image) and unpack it again", nullptr);
    }
    return absl::OkStatus();
  }

  std::string BundleDir() const {
    return absl::StrCat(deps_.state, "/io.containerd.runtime.v2.task");
  }

  absl::Status CheckBundles() {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, ListIfThere(BundleDir()));
    for (const std::string& ns : namespaces) {
      auto ids = base::ListDir(absl::StrCat(BundleDir(), "/", ns));
      if (!ids.ok()) continue;
      for (const std::string& id : *ids) {
        ++seen_["bundle"];
        std::string path = absl::StrCat(BundleDir(), "/", ns, "/", id);
        if (tasks_.contains({ns, id}) || !IsOlderThan(path, grace_)) continue;
        Found("bundle", path, "no task belongs to it", "unmount and remove it", [&path] {
          GANTRY_RETURN_IF_ERROR(base::UnmountAll(absl::StrCat(path, "/rootfs")));
          return base::RemoveTree(path);
        });
      }
    }
    return absl::OkStatus();
  }

  // The persistent halves of bundles.
  absl::Status CheckWorkDirs() {
    std::string root = absl::StrCat(deps_.root, "/io.containerd.runtime.v2.task");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, ListIfThere(root));
    for (const std::string& ns : namespaces) {
      auto ids = base::ListDir(absl::StrCat(root, "/", ns));
      for (const std::string& id : ids.ok() ? *ids : std::vector<std::string>()) {
        ++seen_["work dir"];
        std::string path = absl::StrCat(root, "/", ns, "/", id);
        if (tasks_.contains({ns, id}) || !IsOlderThan(path, grace_)) continue;
        Found("work dir", path, "no task belongs to it", "remove it",
              [&path] { return base::RemoveTree(path); });
      }
    }
    return absl::OkStatus();
  }

  // What the life cycle of containers keeps for each of them.
  absl::Status CheckContainerDirs() {
    std::string root = absl::StrCat(deps_.root, "/containers");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, ListIfThere(root));
    for (const std::string& ns : namespaces) {
      auto ids = base::ListDir(absl::StrCat(root, "/", ns));
      for (const std::string& id : ids.ok() ? *ids : std::vector<std::string>()) {
        ++seen_["container dir"];
        std::string path = absl::StrCat(root, "/", ns, "/", id);
        GANTRY_ASSIGN_OR_RETURN(bool known, AnyRecord(Key({"lif", ns, id})));
        if (known || !IsOlderThan(path, grace_)) continue;
        Found("container dir", path, "no container belongs to it", "remove it",
              [&path] { return base::RemoveTree(path); });
      }
    }
    return absl::OkStatus();
  }

  // What diffs and unpackings make for a moment. A long one is younger than an hour's grace.
  absl::Status CheckTemporary() {
    std::string dir = absl::StrCat(deps_.state, "/tmp");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListIfThere(dir));
    for (const std::string& name : names) {
      ++seen_["temporary mount"];
      std::string path = absl::StrCat(dir, "/", name);
      if (!IsOlderThan(path, 60 * grace_)) continue;
      Found("temporary mount", path, "nobody uses it any more", "unmount and remove it", [&path] {
        GANTRY_RETURN_IF_ERROR(base::UnmountAll(path));
        return base::RemoveTree(path);
      });
    }
    return absl::OkStatus();
  }

  // Names of volumes by namespace, and those that running containers use.
  absl::Status ReadVolumes(std::set<std::pair<std::string, std::string>>* volumes) {
    return deps_.db->View([&](const ReadView& view) -> absl::Status {
      GANTRY_RETURN_IF_ERROR(
          view.Scan(KeyPrefix({"vol"}), [&](absl::string_view rest, absl::string_view) {
            std::vector<absl::string_view> parts = SplitKey(rest);
            volumes->emplace(parts[0], parts[1]);
            return true;
          }));
      return view.Scan(KeyPrefix({"vlu"}), [&](absl::string_view rest, absl::string_view value) {
        std::vector<absl::string_view> parts = SplitKey(rest);
        if (value == "m") mounted_volumes_.emplace(parts[0], parts[1]);
        return true;
      });
    });
  }

  // A directory without a record is reported and never removed: it may be all that is left of
  // somebody's data.
  absl::Status CheckVolumes() {
    std::set<std::pair<std::string, std::string>> volumes;
    GANTRY_RETURN_IF_ERROR(ReadVolumes(&volumes));
    std::string root = absl::StrCat(deps_.root, "/volumes");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> namespaces, ListIfThere(root));
    for (const std::string& ns : namespaces) {
      if (ns == ".trash") continue;
      auto names = base::ListDir(absl::StrCat(root, "/", ns));
      for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
        ++seen_["volume"];
        std::string path = absl::StrCat(root, "/", ns, "/", name);
        if (volumes.erase({ns, name}) > 0 || !IsOlderThan(path, grace_)) continue;
        GANTRY_ASSIGN_OR_RETURN(bool made, AnyRecord(Key({"vol", ns, name})));
        if (made) continue;
        Found("volume", path, "a directory that no record knows",
              "look at what it holds, then remove it by hand", nullptr);
      }
    }
    for (const auto& [ns, name] : volumes) {
      GANTRY_ASSIGN_OR_RETURN(bool there, AnyRecord(Key({"vol", ns, name})));
      if (!there || base::Exists(absl::StrCat(root, "/", ns, "/", name))) continue;
      Found("volume", absl::StrCat(ns, "/", name), "its directory is missing",
            "restart gantryd: it makes an empty one", nullptr);
    }
    return absl::OkStatus();
  }

  // Whether `target` is, or lies in, a volume that a running container uses.
  bool IsVolumeInUse(absl::string_view target) const {
    if (!absl::ConsumePrefix(&target, absl::StrCat(deps_.root, "/volumes/"))) return false;
    std::vector<std::string> parts = absl::StrSplit(target, '/');
    return parts.size() >= 3 && mounted_volumes_.contains({parts[0], parts[1]});
  }

  // Mounts below our directories that no bundle explains.
  absl::Status CheckMounts() {
    GANTRY_ASSIGN_OR_RETURN(std::string table, base::ReadFile("/proc/self/mountinfo", 64 << 20));
    for (absl::string_view line : absl::StrSplit(table, '\n', absl::SkipEmpty())) {
      std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
      if (fields.size() < 5) continue;
      std::string target(fields[4]);
      bool ours =
          absl::StartsWith(target, deps_.state + "/") || absl::StartsWith(target, deps_.root + "/");
      if (!ours) continue;
      ++seen_["mount"];
      // Goes with its directory.
      if (absl::StartsWith(target, absl::StrCat(deps_.state, "/tmp/"))) continue;
      if (IsVolumeInUse(target)) continue;
      // Counted as network namespaces.
      if (absl::StartsWith(target, absl::StrCat(deps_.state, "/netns/"))) continue;
      absl::string_view rest = target;
      if (absl::ConsumePrefix(&rest, BundleDir() + "/")) {
        std::vector<std::string> parts = absl::StrSplit(rest, '/');
        if (parts.size() >= 2 && tasks_.contains({parts[0], parts[1]})) continue;
        if (parts.size() >= 2 &&
            !IsOlderThan(absl::StrCat(BundleDir(), "/", parts[0], "/", parts[1]), grace_))
          continue;
      } else if (!IsOlderThan(target, grace_)) {
        continue;
      }
      Found("mount", target, "nobody uses it", "unmount it",
            [&target] { return base::UnmountAll(target); });
    }
    return absl::OkStatus();
  }

  absl::Status CheckShimSockets() {
    std::string dir = absl::StrCat(deps_.state, "/s");
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> names, ListIfThere(dir));
    for (const std::string& name : names) {
      ++seen_["shim"];
      std::string path = absl::StrCat(dir, "/", name);
      if (sockets_.contains(path) || !IsOlderThan(path, grace_)) continue;
      if (IsListening(path)) {
        Found("shim", path, "a shim listens there that gantryd does not know",
              "restart gantryd: it takes running shims back, or ends those without a task",
              nullptr);
      } else {
        Found("shim", path, "the socket of a shim that is gone", "remove it",
              [&path] { return base::RemoveTree(path); });
      }
    }
    return absl::OkStatus();
  }

  // Groups of the form /NAMESPACE/ID, which is where containers live unless their spec says
  // otherwise. Those with processes may be another runtime's; an orphan of ours shows as a shim.
  absl::Status CheckCgroups() {
    std::set<std::string> namespaces;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) {
      return view.Scan(KeyPrefix({kTableNamespaces}),
                       [&](absl::string_view rest, absl::string_view) {
                         namespaces.insert(std::string(rest));
                         return true;
                       });
    }));
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> controllers, ListIfThere(deps_.cgroup_root));
    controllers.push_back("");  // the root itself, where it is the unified hierarchy
    for (const std::string& controller : controllers) {
      for (const std::string& ns : namespaces) {
        std::string dir = absl::StrCat(deps_.cgroup_root, "/", controller, "/", ns);
        auto ids = base::ListDir(dir);
        for (const std::string& id : ids.ok() ? *ids : std::vector<std::string>()) {
          std::string path = absl::StrCat(dir, "/", id);
          struct stat st;
          if (lstat(path.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) continue;
          ++seen_["cgroup"];
          if (tasks_.contains({ns, id}) || !IsOlderThan(path, grace_)) continue;
          auto processes = base::ReadFile(absl::StrCat(path, "/cgroup.procs"));
          if (processes.ok() && !processes->empty()) continue;
          Found("cgroup", path, "no task belongs to it", "remove it if it is empty", [&path] {
            return rmdir(path.c_str()) == 0
                       ? absl::OkStatus()
                       : base::ErrnoStatus(errno, absl::StrCat("rmdir ", path));
          });
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckIntents() {
    std::vector<Intent> pending;
    GANTRY_RETURN_IF_ERROR(deps_.db->View([&](const ReadView& view) -> absl::Status {
      GANTRY_ASSIGN_OR_RETURN(pending, PendingIntents(view, ""));
      return absl::OkStatus();
    }));
    for (const Intent& intent : pending) {
      ++seen_["intent"];
      absl::Time begun = absl::FromUnixSeconds(intent.begun_at().seconds());
      // Pulls take their time.
      if (absl::Now() - begun < (grace_ == absl::ZeroDuration() ? grace_ : absl::Hours(24)))
        continue;
      Found("intent", absl::StrCat(intent.kind(), "/", intent.id()), "begun and not ended",
            "restart gantryd: it undoes or finishes it", nullptr);
    }
    return absl::OkStatus();
  }

  // Looked at twice: what somebody is about to make or to give back has an owner, or is gone, the
  // second time.
  absl::Status CheckNetworks() {
    if (deps_.networks == nullptr) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(std::vector<NetworkFinding> first, deps_.networks());
    std::set<std::string> suspicious;
    for (const NetworkFinding& object : first) {
      if (!object.problem.empty()) suspicious.insert(absl::StrCat(object.kind, " ", object.name));
    }
    std::vector<NetworkFinding> second = first;
    if (!suspicious.empty()) {
      absl::SleepFor(std::min(grace_, absl::Seconds(2)));
      GANTRY_ASSIGN_OR_RETURN(second, deps_.networks());
    }
    for (const NetworkFinding& object : second) {
      ++seen_[object.kind];
      if (object.problem.empty()) continue;
      if (!suspicious.contains(absl::StrCat(object.kind, " ", object.name))) continue;
      Found(object.kind, object.name, object.problem, "remove it, or make it anew", object.repair);
    }
    return absl::OkStatus();
  }

  const FsckDeps& deps_;
  const Request& request_;
  const absl::Duration grace_;
  std::set<std::pair<std::string, std::string>> tasks_;
  std::set<std::string> sockets_;
  std::set<std::pair<std::string, std::string>> mounted_volumes_;
  std::map<std::string, int64_t> seen_ = {
      {"blob", 0},     {"snapshot", 0},        {"bundle", 0},        {"mount", 0},
      {"shim", 0},     {"cgroup", 0},          {"intent", 0},        {"upload", 0},
      {"work dir", 0}, {"temporary mount", 0}, {"container dir", 0}, {"volume", 0}};
  Report report_;
};

absl::StatusOr<Fsck::Report> Fsck::Check(const Request& request) const {
  return Run(deps_, request).Do();
}

}  // namespace gantry::services
