#include "services/content/blob_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"

namespace gantry::services {
namespace {
constexpr absl::string_view kAlgorithms[] = {"sha256", "sha512"};
}  // namespace

absl::StatusOr<std::unique_ptr<BlobFiles>> BlobFiles::Open(const std::string& dir) {
  GANTRY_RETURN_IF_ERROR(base::EnsurePrivateDir(dir));
  for (absl::string_view algorithm : kAlgorithms)
    GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(dir, "/blobs/", algorithm)));
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(dir, "/ingest")));
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(absl::StrCat(dir, "/trash")));
  return std::unique_ptr<BlobFiles>(new BlobFiles(dir));
}

BlobFiles::BlobFiles(std::string dir)
    : dir_(std::move(dir)), trash_(absl::StrCat(dir_, "/trash")) {}

std::string BlobFiles::BlobPath(const base::Digest& digest) const {
  return absl::StrCat(dir_, "/blobs/", digest.algorithm(), "/", digest.hex());
}

std::optional<int64_t> BlobFiles::FindBlob(const base::Digest& digest) const {
  struct stat st;
  if (lstat(BlobPath(digest).c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return std::nullopt;
  return st.st_size;
}

absl::Status BlobFiles::WalkBlobs(
    absl::FunctionRef<void(const base::Digest&, int64_t)> visit) const {
  for (absl::string_view algorithm : kAlgorithms) {
    GANTRY_ASSIGN_OR_RETURN(auto names, base::ListDir(absl::StrCat(dir_, "/blobs/", algorithm)));
    for (const std::string& name : names) {
      auto digest = base::Digest::Parse(absl::StrCat(algorithm, ":", name));
      if (!digest.ok()) continue;
      if (auto size = FindBlob(*digest)) visit(*digest, *size);
    }
  }
  return absl::OkStatus();
}

std::string BlobFiles::IngestId(absl::string_view ns, absl::string_view ref) {
  base::Hasher hasher;
  hasher.Update(ns);
  hasher.Update(absl::string_view("\0", 1));
  hasher.Update(ref);
  return std::string(hasher.Finish().hex());
}

std::string BlobFiles::IngestDir(absl::string_view id) const {
  return absl::StrCat(dir_, "/ingest/", id);
}
std::string BlobFiles::IngestData(absl::string_view id) const {
  return absl::StrCat(IngestDir(id), "/data");
}

absl::StatusOr<std::vector<std::string>> BlobFiles::ListIngests() const {
  return base::ListDir(absl::StrCat(dir_, "/ingest"));
}

absl::Status BlobFiles::Publish(absl::string_view ingest_id, const base::Digest& digest) {
  std::string from = IngestData(ingest_id);
  std::string to = BlobPath(digest);
  // A rename over an equal blob does no harm, but its readers' page cache would be for nothing.
  if (!FindBlob(digest).has_value()) {
    if (chmod(from.c_str(), 0444) != 0 || rename(from.c_str(), to.c_str()) != 0)
      return base::ErrnoStatus(errno, absl::StrCat("publish ", digest.str()));
    GANTRY_RETURN_IF_ERROR(base::SyncDir(absl::StrCat(dir_, "/blobs/", digest.algorithm())));
  }
  return RemoveIngest(ingest_id);
}

absl::Status BlobFiles::RemoveIngest(absl::string_view id) { return trash_.Add(IngestDir(id)); }

absl::Status BlobFiles::RemoveBlobUnless(const base::Digest& digest,
                                         absl::FunctionRef<absl::StatusOr<bool>()> wanted) {
  std::lock_guard lock(mutex_);
  if (pins_.count(digest) > 0) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(bool keep, wanted());
  if (keep) return absl::OkStatus();
  return trash_.Add(BlobPath(digest));
}

BlobFiles::Pin::Pin(BlobFiles* files, base::Digest digest)
    : files_(files), digest_(std::move(digest)) {
  std::lock_guard lock(files_->mutex_);
  ++files_->pins_[digest_];
}
BlobFiles::Pin::Pin(Pin&& other) noexcept
    : files_(std::exchange(other.files_, nullptr)), digest_(std::move(other.digest_)) {}
BlobFiles::Pin& BlobFiles::Pin::operator=(Pin&& other) noexcept {
  std::swap(files_, other.files_);
  std::swap(digest_, other.digest_);
  return *this;
}
BlobFiles::Pin::~Pin() {
  if (files_ == nullptr) return;
  std::lock_guard lock(files_->mutex_);
  auto it = files_->pins_.find(digest_);
  if (--it->second == 0) files_->pins_.erase(it);
}

}  // namespace gantry::services
