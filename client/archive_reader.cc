#include "client/archive_reader.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/ids.h"
#include "base/status.h"

namespace gantry::client {
namespace {

constexpr int64_t kMaxDocument = 8 << 20;
constexpr size_t kMaxDocuments = 64 << 20;
constexpr int kMaxLinks = 8;

// What the name says the content's digest is: blobs/sha256/<hex>. Empty otherwise.
std::string DigestOfName(absl::string_view name) {
  std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  if (parts.size() != 3 || parts[0] != "blobs") return "";
  auto digest = base::Digest::Parse(absl::StrCat(parts[1], ":", parts[2]));
  return digest.ok() ? digest->str() : "";
}

bool IsDocument(const std::string& name, int64_t size) {
  return size <= kMaxDocument && (absl::EndsWith(name, ".json") || name == "oci-layout");
}

std::string Resolve(const std::string& from, absl::string_view target) {
  std::vector<std::string> parts = absl::StrSplit(from, '/');
  parts.pop_back();
  for (absl::string_view part : absl::StrSplit(target, '/', absl::SkipEmpty())) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (part != ".") {
      parts.emplace_back(part);
    }
  }
  return absl::StrJoin(parts, "/");
}

}  // namespace

std::string CleanMemberName(absl::string_view name) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part != ".") parts.push_back(part);
  }
  return absl::StrJoin(parts, "/");
}

const ArchiveReader::Stored* ArchiveReader::FindStored(const std::string& name) const {
  std::string current = CleanMemberName(name);
  for (int i = 0; i < kMaxLinks; ++i) {
    auto found = stored_.find(current);
    if (found != stored_.end()) return &found->second;
    auto link = links_.find(current);
    if (link == links_.end()) return nullptr;
    current = link->second;
  }
  return nullptr;
}

absl::Status ArchiveReader::OnEntry(const archive::TarEntry& entry) {
  name_ = CleanMemberName(entry.name);
  document_ = nullptr;
  storing_ = false;
  if (entry.type == archive::TarType::kSymlink) links_[name_] = Resolve(name_, entry.link_name);
  if (entry.type == archive::TarType::kHardLink) links_[name_] = CleanMemberName(entry.link_name);
  if (entry.type != archive::TarType::kRegular) return absl::OkStatus();
  return base::Annotate(Begin(entry), absl::StrCat("archive member ", name_));
}

absl::Status ArchiveReader::Begin(const archive::TarEntry& entry) {
  size_ = entry.size;
  if (IsDocument(name_, entry.size)) {
    document_bytes_ += static_cast<size_t>(entry.size);
    if (document_bytes_ > kMaxDocuments) {
      return absl::ResourceExhaustedError("the archive holds too many documents");
    }
    document_ = &documents_[name_];
    document_->clear();
    // A docker-archive's configuration is a blob as well.
    if (name_ == "manifest.json" || name_ == "index.json") return absl::OkStatus();
  }
  expected_ = DigestOfName(name_);
  bool layer = absl::EndsWith(name_, ".tar") || absl::EndsWith(name_, ".tar.gz");
  if (expected_.empty() && document_ == nullptr && !layer) return absl::OkStatus();
  storing_ = true;
  head_.clear();
  hasher_.emplace();
  std::string ref = absl::StrCat("gantryctl-import-", base::RandomHex(8));
  auto writer = BlobWriter::Open(connection_, ref, entry.size, expected_);
  if (writer.ok()) {
    writer_.emplace(*std::move(writer));
  } else if (!absl::IsAlreadyExists(writer.status())) {
    return writer.status();
  }
  return absl::OkStatus();
}

absl::Status ArchiveReader::OnData(int64_t offset, absl::string_view data) {
  if (document_ != nullptr) document_->append(data.data(), data.size());
  if (!storing_) return absl::OkStatus();
  if (writer_ && offset != writer_->offset()) {
    return absl::InvalidArgumentError("a sparse member in an image archive");
  }
  if (head_.size() < archive::kMagicBytes) {
    head_.append(data.data(), std::min(data.size(), archive::kMagicBytes - head_.size()));
  }
  // What the daemon has already is not sent; a digest from the name is the daemon's to verify.
  if (expected_.empty()) hasher_->Update(data);
  return writer_ ? writer_->Append(data) : absl::OkStatus();
}

absl::Status ArchiveReader::OnEntryEnd() {
  if (!storing_) return absl::OkStatus();
  storing_ = false;
  absl::Status status;
  if (writer_) {
    status = writer_->Commit();
    writer_.reset();
  }
  if (!status.ok() && !absl::IsAlreadyExists(status)) {
    return base::Annotate(status, absl::StrCat("archive member ", name_));
  }
  Stored stored;
  stored.size = size_;
  stored.compression = archive::DetectCompression(head_);
  if (expected_.empty()) {
    stored.digest = hasher_->Finish();
  } else {
    GANTRY_ASSIGN_OR_RETURN(stored.digest, base::Digest::Parse(expected_));
  }
  stored_[name_] = stored;
  return absl::OkStatus();
}

}  // namespace gantry::client
