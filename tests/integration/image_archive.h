#ifndef GANTRY_TESTS_INTEGRATION_IMAGE_ARCHIVE_H_
#define GANTRY_TESTS_INTEGRATION_IMAGE_ARCHIVE_H_

// OCI image archives made byte by byte, so that each part of one can be wrong.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/archive/compression.h"
#include "base/archive/tar_entry.h"

namespace gantry::tests {

struct TarItem {
  archive::TarEntry entry;
  std::string content;
};

TarItem TarFile(absl::string_view name, absl::string_view content, mode_t mode = 0644);
// Anything without content; `link` for hard and symbolic links.
TarItem TarNode(absl::string_view name, archive::TarType type, absl::string_view link = {});

std::string PackTar(const std::vector<TarItem>& items,
                    archive::Compression compression = archive::Compression::kNone);

// An image of one gzip layer. The hooks run in the order of the fields, each before the digest of
// its document goes into the next one, so that only what a hook changes is wrong.
struct ImageArchive {
  std::string ref;  // docker.io/library/x:1
  std::vector<TarItem> items;
  std::function<void(std::string*)> change_layer;  // the compressed bytes
  std::function<void(std::string*)> change_config;
  std::function<void(std::string*)> change_manifest;
  std::function<void(std::string*)> change_index;
  // Members of the archive by name. The blobs of the parts are given, to find them by.
  struct Blobs {
    std::string layer, config, manifest;  // "blobs/sha256/…"
  };
  std::function<void(std::map<std::string, std::string>*, const Blobs&)> change_members;

  std::string Pack() const;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_IMAGE_ARCHIVE_H_
