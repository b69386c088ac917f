#ifndef GANTRY_BASE_ARCHIVE_COLLECTING_SINK_H_
#define GANTRY_BASE_ARCHIVE_COLLECTING_SINK_H_

// For tests: keeps what a TarReader finds.

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/archive/tar_reader.h"

namespace gantry::archive {

struct Collected {
  TarEntry entry;
  std::string content;     // holes filled with zeros
  int64_t data_bytes = 0;  // without holes
};

class CollectingSink : public TarSink {
 public:
  absl::Status OnEntry(const TarEntry& entry) override {
    open_ = true;
    entries_.push_back({entry, "", 0});
    return absl::OkStatus();
  }
  absl::Status OnData(int64_t offset, absl::string_view data) override {
    std::string& content = entries_.back().content;
    if (offset < static_cast<int64_t>(content.size())) return absl::InternalError("went back");
    content.resize(static_cast<size_t>(offset), '\0');
    content.append(data.data(), data.size());
    entries_.back().data_bytes += static_cast<int64_t>(data.size());
    return absl::OkStatus();
  }
  absl::Status OnEntryEnd() override {
    if (!open_) return absl::InternalError("end without entry");
    open_ = false;
    entries_.back().content.resize(static_cast<size_t>(entries_.back().entry.size), '\0');
    return absl::OkStatus();
  }
  const std::vector<Collected>& entries() const { return entries_; }
  const Collected* Find(absl::string_view name) const {
    for (const Collected& c : entries_)
      if (c.entry.name == name) return &c;
    return nullptr;
  }

 private:
  bool open_ = false;
  std::vector<Collected> entries_;
};

// Reads a whole archive in pieces of `piece` bytes.
inline absl::StatusOr<CollectingSink> ReadTar(absl::string_view tar, size_t piece = 1 << 20) {
  CollectingSink sink;
  TarReader reader(&sink);
  for (size_t at = 0; at < tar.size(); at += piece) {
    absl::Status status = reader.Write(tar.substr(at, piece));
    if (!status.ok()) return status;
  }
  absl::Status status = reader.Finish();
  if (!status.ok()) return status;
  return sink;
}

}  // namespace gantry::archive

#endif  // GANTRY_BASE_ARCHIVE_COLLECTING_SINK_H_
