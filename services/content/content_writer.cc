#include "services/content/content_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/crash_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "services/metadata/lease_store.h"

namespace gantry::services {
namespace {

// So much is handed to the disk at a time while the upload goes on, so that the sync at its end has
// little left to do.
constexpr int64_t kFlushBytes = 8 << 20;
constexpr size_t kBufferBytes = 1 << 20;

std::string Quote(absl::string_view text) { return absl::StrCat("\"", absl::CEscape(text), "\""); }

}  // namespace

LocalContentWriter::LocalContentWriter(LocalContentStore* store, Context ctx, RefLock lock,
                                       IngestStatus status, base::Hasher::Algorithm algorithm)
    : store_(store),
      ctx_(std::move(ctx)),
      lock_(std::move(lock)),
      status_(std::move(status)),
      algorithm_(algorithm),
      hasher_(std::in_place, algorithm) {}

LocalContentWriter::~LocalContentWriter() {
  if (!pin_.has_value()) return;
  pin_.reset();
  // Its last record may have been deleted while we held it.
  if (!done_) store_->ReclaimBlob(shared_);
}

void LocalContentWriter::BeginShared(const base::Digest& digest, int64_t size, BlobFiles::Pin pin) {
  shared_ = digest;
  pin_ = std::move(pin);
  status_.offset = size;
  status_.total = size;
}

absl::Status LocalContentWriter::BeginFile(bool fresh) {
  BlobFiles* files = store_->files();
  GANTRY_RETURN_IF_ERROR(base::MakeDirs(files->IngestDir(lock_->id())));
  int flags = O_RDWR | O_CREAT | (fresh ? O_TRUNC : 0);
  GANTRY_ASSIGN_OR_RETURN(fd_, base::Open(files->IngestData(lock_->id()), flags, 0600));
  if (fresh) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(HashFile(&*hasher_));
  off_t end = lseek(fd_.get(), 0, SEEK_END);
  if (end < 0) return base::ErrnoStatus(errno, "seek in upload");
  status_.offset = flushed_ = end;
  resumed_ = end > 0;
  return absl::OkStatus();
}

absl::Status LocalContentWriter::HashFile(base::Hasher* hasher) const {
  std::vector<char> buffer(kBufferBytes);
  off_t offset = 0;
  while (true) {
    ssize_t n = pread(fd_.get(), buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read upload");
    if (n == 0) return absl::OkStatus();
    hasher->Update(absl::string_view(buffer.data(), static_cast<size_t>(n)));
    offset += n;
  }
}

base::Digest LocalContentWriter::Digest() {
  if (!shared_.empty()) return shared_;
  return hasher_.has_value() ? hasher_->Current() : adopted_;
}

absl::Status LocalContentWriter::CopyShared() {
  base::Digest from = std::exchange(shared_, base::Digest());
  status_.offset = 0;
  GANTRY_RETURN_IF_ERROR(BeginFile(true));
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd blob,
                          base::Open(store_->files()->BlobPath(from), O_RDONLY));
  std::vector<char> buffer(kBufferBytes);
  while (true) {
    ssize_t n = read(blob.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, absl::StrCat("read ", from.str()));
    if (n == 0) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(Write(absl::string_view(buffer.data(), static_cast<size_t>(n))));
  }
}

absl::Status LocalContentWriter::Write(absl::string_view data) {
  if (data.empty()) return absl::OkStatus();
  if (done_) return absl::FailedPreconditionError("write to a committed upload");
  if (!shared_.empty()) GANTRY_RETURN_IF_ERROR(CopyShared());
  absl::Status written = base::WriteAll(fd_.get(), data);
  if (!written.ok()) {
    // What was written of the piece is not hashed: back to where file and hash agree.
    if (ftruncate(fd_.get(), status_.offset) != 0 ||
        lseek(fd_.get(), status_.offset, SEEK_SET) < 0) {
      base::LogWarn("cut off a failed write", {{"ref", status_.ref}});
    }
    return base::Annotate(written, absl::StrCat("upload ", Quote(status_.ref)));
  }
  if (hasher_.has_value()) hasher_->Update(data);
  status_.offset += static_cast<int64_t>(data.size());
  status_.updated_at = absl::Now();
  if (status_.offset - flushed_ >= kFlushBytes) {
    // Only begins the writing; errors show up in fdatasync(2).
    (void)sync_file_range(fd_.get(), flushed_, status_.offset - flushed_, SYNC_FILE_RANGE_WRITE);
    flushed_ = status_.offset;
  }
  return absl::OkStatus();
}

absl::Status LocalContentWriter::Truncate(int64_t size) {
  if (size != 0) return absl::UnimplementedError("Truncate: unsupported size");
  hasher_.emplace(algorithm_);
  resumed_ = false;
  flushed_ = status_.offset = 0;
  if (!shared_.empty()) {
    shared_ = base::Digest();
    return BeginFile(true);
  }
  if (ftruncate(fd_.get(), 0) != 0 || lseek(fd_.get(), 0, SEEK_SET) < 0)
    return base::ErrnoStatus(errno, absl::StrCat("truncate upload ", Quote(status_.ref)));
  return absl::OkStatus();
}

absl::Status LocalContentWriter::SkipHashing() {
  if (status_.offset != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("upload ", Quote(status_.ref), " has begun with hashing"));
  }
  hasher_.reset();
  return absl::OkStatus();
}

absl::Status LocalContentWriter::CheckSize(int64_t size) const {
  if (size == 0 || size == status_.offset) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(Quote(status_.ref),
                                                    " failed size validation: ", status_.offset,
                                                    " != ", size, ": failed precondition"));
}

absl::StatusOr<base::Digest> LocalContentWriter::FinalDigest(const base::Digest& expected) {
  if (!shared_.empty()) return shared_;
  if (!hasher_.has_value()) {
    if (adopted_.empty()) return absl::FailedPreconditionError("upload without a digest");
    return adopted_;
  }
  base::Digest digest = hasher_->Current();
  if (expected.empty() || expected.algorithm() == digest.algorithm()) return digest;
  base::Hasher other(expected);
  GANTRY_RETURN_IF_ERROR(HashFile(&other));
  return other.Finish();
}

absl::StatusOr<base::Digest> LocalContentWriter::Commit(int64_t size, const base::Digest& expected,
                                                        const Labels& labels) {
  if (done_) return absl::FailedPreconditionError("cannot commit on closed writer");
  GANTRY_RETURN_IF_ERROR(CheckLabels(labels));
  GANTRY_RETURN_IF_ERROR(CheckSize(size));
  GANTRY_ASSIGN_OR_RETURN(base::Digest digest, FinalDigest(expected));
  if (!expected.empty() && expected != digest) {
    // Bytes that an earlier writer left may be damaged; resuming from them again would never end.
    if (resumed_) GANTRY_RETURN_IF_ERROR(Truncate(0));
    return absl::FailedPreconditionError(absl::StrCat("unexpected commit digest ", digest.str(),
                                                      ", expected ", expected.str(),
                                                      ": failed precondition"));
  }
  if (!pin_.has_value()) pin_.emplace(store_->files(), digest);
  if (shared_.empty()) {
    GANTRY_RETURN_IF_ERROR(base::Annotate(base::SyncFd(fd_.get()), digest.str()));
    absl::Status published = store_->files()->Publish(lock_->id(), digest);
    shared_ = digest;  // whose file a failure below leaves to nobody, see the destructor
    GANTRY_RETURN_IF_ERROR(published);
  }
  absl::Status recorded = Record(digest, labels);
  if (!recorded.ok() && !absl::IsAlreadyExists(recorded)) return recorded;
  done_ = true;
  pin_.reset();
  fd_.Reset();
  lock_.reset();
  if (!recorded.ok()) return recorded;
  return digest;
}

absl::Status LocalContentWriter::Record(const base::Digest& digest, const Labels& labels) {
  ContentInfo info{digest, status_.offset, absl::Now(), absl::Now(), labels};
  bool exists = false;
  base::CrashPoint("content.published");
  GANTRY_RETURN_IF_ERROR(store_->db()->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    GANTRY_RETURN_IF_ERROR(DeleteIngestRecord(tx, ctx_, status_.ref));
    GANTRY_ASSIGN_OR_RETURN(exists, tx.Exists(BlobKey(ctx_.ns, digest.str())));
    if (exists) return LinkToLease(tx, ctx_, kLeaseContent, digest.str());
    return PutBlobRecord(tx, ctx_, info);
  }));
  return exists ? ContentExists(digest) : absl::OkStatus();
}

}  // namespace gantry::services
