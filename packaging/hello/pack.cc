// pack PROGRAM OUT.tar: an OCI image layout, as a tar, whose only layer holds PROGRAM as /hello.
// The same program gives the same bytes.

#include <fcntl.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/archive/tar_writer.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status.h"

#if defined(__x86_64__)
constexpr char kArchitecture[] = "amd64";
#elif defined(__aarch64__)
constexpr char kArchitecture[] = "arm64";
#endif
constexpr char kName[] = "gantry.local/hello:latest";

namespace gantry {
namespace {

using base::OrderedJson;

absl::Status Add(archive::TarWriter& tar, const std::string& name, mode_t mode,
                 absl::string_view data) {
  archive::TarEntry entry;
  entry.name = name;
  entry.mode = mode;
  entry.size = static_cast<int64_t>(data.size());
  GANTRY_RETURN_IF_ERROR(tar.AddEntry(entry));
  return tar.Write(data);
}

absl::StatusOr<std::string> MakeLayer(absl::string_view program) {
  std::string layer;
  archive::TarWriter tar([&](absl::string_view data) {
    layer.append(data.data(), data.size());
    return absl::OkStatus();
  });
  GANTRY_RETURN_IF_ERROR(Add(tar, "hello", 0755, program));
  GANTRY_RETURN_IF_ERROR(tar.Finish());
  return layer;
}

absl::StatusOr<OrderedJson> AddBlob(archive::TarWriter& tar, const char* type,
                                    const std::string& data) {
  base::Digest digest = base::DigestOf(data);
  GANTRY_RETURN_IF_ERROR(Add(tar, absl::StrCat("blobs/sha256/", digest.hex()), 0644, data));
  return OrderedJson{{"mediaType", type}, {"digest", digest.str()}, {"size", data.size()}};
}

absl::Status WriteLayout(archive::TarWriter& tar, const std::string& layer) {
  OrderedJson config = {
      {"architecture", kArchitecture},
      {"os", "linux"},
      {"created", "1970-01-01T00:00:00Z"},
      {"config", {{"Entrypoint", {"/hello"}}, {"WorkingDir", "/"}}},
      {"rootfs", {{"type", "layers"}, {"diff_ids", {base::DigestOf(layer).str()}}}}};
  GANTRY_ASSIGN_OR_RETURN(OrderedJson layer_descriptor,
                          AddBlob(tar, "application/vnd.oci.image.layer.v1.tar", layer));
  GANTRY_ASSIGN_OR_RETURN(OrderedJson config_descriptor,
                          AddBlob(tar, "application/vnd.oci.image.config.v1+json", config.dump()));
  constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";
  OrderedJson manifest = {{"schemaVersion", 2},
                          {"mediaType", kManifestType},
                          {"config", config_descriptor},
                          {"layers", OrderedJson::array({layer_descriptor})}};
  GANTRY_ASSIGN_OR_RETURN(OrderedJson target, AddBlob(tar, kManifestType, manifest.dump()));
  target["annotations"] = {{"io.containerd.image.name", kName},
                           {"org.opencontainers.image.ref.name", "latest"}};
  OrderedJson index = {{"schemaVersion", 2},
                       {"mediaType", "application/vnd.oci.image.index.v1+json"},
                       {"manifests", OrderedJson::array({target})}};
  GANTRY_RETURN_IF_ERROR(Add(tar, "oci-layout", 0644, R"({"imageLayoutVersion":"1.0.0"})"));
  GANTRY_RETURN_IF_ERROR(Add(tar, "index.json", 0644, index.dump()));
  return tar.Finish();
}

absl::Status Pack(const std::string& program_path, const std::string& out_path) {
  GANTRY_ASSIGN_OR_RETURN(std::string program, base::ReadFile(program_path));
  GANTRY_ASSIGN_OR_RETURN(std::string layer, MakeLayer(program));
  std::string out;
  archive::TarWriter tar([&](absl::string_view data) {
    out.append(data.data(), data.size());
    return absl::OkStatus();
  });
  GANTRY_RETURN_IF_ERROR(WriteLayout(tar, layer));
  return base::ReplaceFile(out_path, out, 0644);
}

}  // namespace
}  // namespace gantry

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: pack PROGRAM OUT.tar\n");
    return 2;
  }
  absl::Status status = gantry::Pack(argv[1], argv[2]);
  if (!status.ok()) fprintf(stderr, "pack: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
