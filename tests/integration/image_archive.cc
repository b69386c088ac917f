#include "tests/integration/image_archive.h"

#include "absl/strings/str_cat.h"
#include "base/archive/compress.h"
#include "base/archive/tar_writer.h"
#include "base/digest.h"
#include "gtest/gtest.h"

namespace gantry::tests {
namespace {

constexpr char kManifest[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kConfig[] = "application/vnd.oci.image.config.v1+json";
constexpr char kLayer[] = "application/vnd.oci.image.layer.v1.tar+gzip";

std::string Member(const std::string& blob) {
  return absl::StrCat("blobs/sha256/", base::DigestOf(blob).str().substr(7));
}

std::string DescriptorOf(const std::string& blob, const char* type, const std::string& more = {}) {
  return absl::StrCat("{\"mediaType\":\"", type, "\",\"digest\":\"", base::DigestOf(blob).str(),
                      "\",\"size\":", blob.size(), more, "}");
}

void Change(const std::function<void(std::string*)>& hook, std::string* document) {
  if (hook) hook(document);
}

}  // namespace

TarItem TarFile(absl::string_view name, absl::string_view content, mode_t mode) {
  TarItem item;
  item.entry.name = std::string(name);
  item.entry.mode = mode;
  item.entry.size = static_cast<int64_t>(content.size());
  item.entry.mtime = {1600000000, 0};
  item.content = std::string(content);
  return item;
}

TarItem TarNode(absl::string_view name, archive::TarType type, absl::string_view link) {
  TarItem item = TarFile(name, "", 0755);
  item.entry.type = type;
  item.entry.link_name = std::string(link);
  return item;
}

std::string PackTar(const std::vector<TarItem>& items, archive::Compression compression) {
  std::string out;
  auto packer = archive::Compressor::Create(compression, [&out](absl::string_view data) {
    out.append(data.data(), data.size());
    return absl::OkStatus();
  });
  archive::TarWriter tar([&](absl::string_view data) { return packer->Write(data); });
  for (const TarItem& item : items) {
    EXPECT_TRUE(tar.AddEntry(item.entry).ok()) << item.entry.name;
    EXPECT_TRUE(tar.Write(item.content).ok());
  }
  EXPECT_TRUE(tar.Finish().ok());
  EXPECT_TRUE(packer->Finish().ok());
  return out;
}

std::string ImageArchive::Pack() const {
  std::string layer = PackTar(items, archive::Compression::kGzip);
  std::string diff_id = base::DigestOf(PackTar(items)).str();
  Change(change_layer, &layer);
  std::string config =
      absl::StrCat(R"({"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},)",
                   R"("rootfs":{"type":"layers","diff_ids":[")", diff_id, R"("]}})");
  Change(change_config, &config);
  std::string manifest = absl::StrCat("{\"schemaVersion\":2,\"mediaType\":\"", kManifest,
                                      "\",\"config\":", DescriptorOf(config, kConfig),
                                      ",\"layers\":[", DescriptorOf(layer, kLayer), "]}");
  Change(change_manifest, &manifest);
  std::string index = absl::StrCat(
      "{\"schemaVersion\":2,\"manifests\":[",
      DescriptorOf(manifest, kManifest,
                   absl::StrCat(",\"annotations\":{\"io.containerd.image.name\":\"", ref, "\"}")),
      "]}");
  Change(change_index, &index);
  std::map<std::string, std::string> members = {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"},
                                                {"index.json", index},
                                                {Member(layer), layer},
                                                {Member(config), config},
                                                {Member(manifest), manifest}};
  if (change_members) change_members(&members, {Member(layer), Member(config), Member(manifest)});
  std::vector<TarItem> archive;
  for (const auto& [name, bytes] : members) archive.push_back(TarFile(name, bytes));
  return PackTar(archive);
}

}  // namespace gantry::tests
