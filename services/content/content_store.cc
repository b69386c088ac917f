#include "services/content/content_store.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "services/content/local_content_store.h"

namespace gantry::services {

absl::StatusOr<std::unique_ptr<ContentStore>> ContentStore::Open(const std::string& root, Db* db) {
  GANTRY_ASSIGN_OR_RETURN(auto files,
                          BlobFiles::Open(absl::StrCat(root, "/io.containerd.content.v1.content")));
  auto store = std::make_unique<LocalContentStore>(db, std::move(files));
  GANTRY_RETURN_IF_ERROR(base::Annotate(store->Reconcile(), "open content store"));
  return std::unique_ptr<ContentStore>(std::move(store));
}

absl::StatusOr<std::string> ContentStore::ReadBlob(const Context& ctx, const base::Digest& digest,
                                                   int64_t limit) {
  GANTRY_ASSIGN_OR_RETURN(BlobReader reader, OpenReader(ctx, digest));
  if (reader.size > limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("content ", digest.str(), " has ", reader.size, " bytes, more than ", limit));
  }
  auto data = base::ReadFd(reader.fd.get(), static_cast<size_t>(limit));
  if (!data.ok()) return base::Annotate(data.status(), digest.str());
  return data;
}

absl::Status ContentStore::WriteBlob(const Context& ctx, const std::string& ref,
                                     absl::string_view data, const base::Digest& expected,
                                     const Labels& labels) {
  int64_t size = static_cast<int64_t>(data.size());
  auto write = [&]() -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(auto writer, OpenWriter(ctx, {ref, size, expected}));
    if (writer->offset() != size || writer->Digest() != expected) {
      if (writer->offset() != 0) GANTRY_RETURN_IF_ERROR(writer->Truncate(0));
      GANTRY_RETURN_IF_ERROR(writer->Write(data));
    }
    return writer->Commit(size, expected, labels).status();
  };
  absl::Status written = write();
  if (!absl::IsAlreadyExists(written) || labels.empty()) {
    return absl::IsAlreadyExists(written) ? absl::OkStatus() : written;
  }
  ContentInfo info;
  info.digest = expected;
  info.labels = labels;
  std::vector<std::string> paths;
  for (const auto& [key, value] : labels) paths.push_back(absl::StrCat("labels.", key));
  return UpdateInfo(ctx, info, paths).status();
}

}  // namespace gantry::services
