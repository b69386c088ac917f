// pull, push, images, tag, rmi, import, export.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "client/content.h"
#include "client/image.h"
#include "client/image_export.h"
#include "client/image_import.h"
#include "containerd/services/images/v1/images.methods.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/pull.h"

namespace gantry::ctl {
namespace {

namespace images = containerd::services::images::v1;

PullOptions TransferFlags(const Arguments& args) {
  PullOptions options;
  options.snapshotter = args.String("snapshotter", "overlayfs");
  options.user = args.String("user");
  options.plain_http = args.Bool("plain-http");
  options.hosts_dir = args.String("hosts-dir");
  options.quiet = args.Bool("quiet");
  return options;
}

absl::StatusOr<int> Pull(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "the image to pull"));
  std::string reference = client::NormalizeReference(call.args.positional()[0]);
  GANTRY_RETURN_IF_ERROR(PullImage(call.connection, reference, TransferFlags(call.args)));
  PrintOut(reference + "\n");
  return 0;
}

absl::StatusOr<int> Push(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 2, "the image to push, and where to"));
  const auto& names = call.args.positional();
  GANTRY_ASSIGN_OR_RETURN(client::ImageRecord image, client::FindImage(call.connection, names[0]));
  std::string to = names.size() == 2 ? client::NormalizeReference(names[1]) : image.name();
  GANTRY_RETURN_IF_ERROR(PushImage(call.connection, image.name(), to, TransferFlags(call.args)));
  PrintOut(to + "\n");
  return 0;
}

// The compressed size: all blobs of this machine's manifest; -1 when they are not here.
int64_t SizeOf(const client::Connection& connection, const client::ImageRecord& image) {
  auto resolved = client::ResolveImage(connection, image);
  if (!resolved.ok()) return -1;
  int64_t size = resolved->manifest.config.size;
  for (const client::Descriptor& layer : resolved->manifest.layers) size += layer.size;
  return size;
}

absl::StatusOr<int> List(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 0, 1, "at most one name to look for"));
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  images::ListImagesResponse response;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(images::ImagesMethods::kList, images::ListImagesRequest(), &response));
  std::sort(response.mutable_images()->begin(), response.mutable_images()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  Listing listing;
  listing.header = {"IMAGE", "DIGEST", "SIZE", "UPDATED"};
  for (const auto& image : response.images()) {
    if (!call.args.positional().empty() &&
        !absl::StrContains(image.name(), call.args.positional()[0])) {
      continue;
    }
    int64_t size = format == Format::kQuiet ? -1 : SizeOf(call.connection, image);
    absl::Time updated = base::GetTimestamp(image.updated_at());
    listing.rows.push_back({Printable(image.name()), ShortDigest(image.target().digest()),
                            size < 0 ? "-" : FormatBytes(size), FormatAge(absl::Now() - updated)});
    listing.ids.push_back(Printable(image.name()));
    base::OrderedJson labels = base::OrderedJson::object();
    for (const auto& [key, value] : image.labels()) labels[key] = value;
    listing.json.push_back(
        {{"name", image.name()},
         {"digest", image.target().digest()},
         {"mediaType", image.target().media_type()},
         {"size", size},
         {"createdAt", base::FormatRfc3339(base::GetTimestamp(image.created_at()))},
         {"updatedAt", base::FormatRfc3339(updated)},
         {"labels", labels}});
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Tag(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, 2, "an image and a new name"));
  GANTRY_ASSIGN_OR_RETURN(client::ImageRecord image,
                          client::FindImage(call.connection, call.args.positional()[0]));
  images::CreateImageRequest create;
  *create.mutable_image() = image;
  create.mutable_image()->clear_created_at();
  create.mutable_image()->clear_updated_at();
  create.mutable_image()->set_name(client::NormalizeReference(call.args.positional()[1]));
  images::CreateImageResponse created;
  absl::Status status = call.connection.Call(images::ImagesMethods::kCreate, create, &created);
  if (absl::IsAlreadyExists(status)) {
    images::UpdateImageRequest update;
    *update.mutable_image() = create.image();
    update.mutable_update_mask()->add_paths("target");
    images::UpdateImageResponse updated;
    status = call.connection.Call(images::ImagesMethods::kUpdate, update, &updated);
  }
  GANTRY_RETURN_IF_ERROR(status);
  PrintOut(create.image().name() + "\n");
  return 0;
}

absl::StatusOr<int> Remove(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, SIZE_MAX, "the image to remove"));
  absl::Status first;
  for (const std::string& typed : call.args.positional()) {
    auto image = client::FindImage(call.connection, typed);
    absl::Status status = image.status();
    if (status.ok()) {
      images::DeleteImageRequest request;
      request.set_name(image->name());
      // With the layers it frees, unless told to be quick about it.
      request.set_sync(!call.args.Bool("async"));
      google::protobuf::Empty nothing;
      status = call.connection.Call(images::ImagesMethods::kDelete, request, &nothing);
      if (status.ok()) PrintOut(Printable(image->name()) + "\n");
    }
    if (!status.ok() && !first.ok()) PrintError(status);
    first.Update(status);
  }
  GANTRY_RETURN_IF_ERROR(first);
  return 0;
}

std::string FileStem(absl::string_view path) {
  size_t slash = path.rfind('/');
  if (slash != path.npos) path.remove_prefix(slash + 1);
  return std::string(path.substr(0, path.find('.')));
}

absl::StatusOr<int> Import(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "the archive to import (- for standard input)"));
  const std::string& path = call.args.positional()[0];
  base::UniqueFd file;
  if (path != "-") {
    GANTRY_ASSIGN_OR_RETURN(file, base::Open(path, O_RDONLY));
  }
  client::ImportOptions options;
  options.snapshotter =
      call.args.Bool("no-unpack") ? "" : call.args.String("snapshotter", "overlayfs");
  options.base_name = call.args.String("name");
  if (options.base_name.empty() && path != "-") {
    options.base_name = absl::StrCat("docker.io/library/", FileStem(path));
  }
  GANTRY_ASSIGN_OR_RETURN(
      auto imported,
      client::ImportImages(call.connection, path == "-" ? STDIN_FILENO : file.get(), options));
  for (const client::ImportedImage& image : imported) PrintOut(Printable(image.name) + "\n");
  return 0;
}

absl::StatusOr<int> Export(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(
      CheckCount(call, 2, SIZE_MAX, "a file (- for standard output) and images"));
  const auto& words = call.args.positional();
  std::vector<client::ImageRecord> records;
  for (size_t i = 1; i < words.size(); ++i) {
    GANTRY_ASSIGN_OR_RETURN(client::ImageRecord image,
                            client::FindImage(call.connection, words[i]));
    records.push_back(std::move(image));
  }
  if (words[0] == "-") {
    if (isatty(STDOUT_FILENO)) {
      return absl::FailedPreconditionError("an archive does not go to a terminal; name a file");
    }
    GANTRY_RETURN_IF_ERROR(client::ExportImages(call.connection, records, STDOUT_FILENO));
    return 0;
  }
  GANTRY_ASSIGN_OR_RETURN(base::UniqueFd file,
                          base::Open(words[0], O_WRONLY | O_CREAT | O_TRUNC, 0644));
  absl::Status status = client::ExportImages(call.connection, records, file.get());
  if (!status.ok()) unlink(words[0].c_str());
  GANTRY_RETURN_IF_ERROR(status);
  return 0;
}

std::vector<Flag> RegistryFlags() {
  return {
      {"user", 'u', FlagKind::kString, "NAME:PASSWORD", "credentials for the registry"},
      {"plain-http", '\0', FlagKind::kBool, "", "without TLS"},
      {"hosts-dir", '\0', FlagKind::kString, "DIR", "certs.d directory of the daemon's machine"},
      {"snapshotter", '\0', FlagKind::kString, "NAME", "unpack for it (default overlayfs)"},
      {"quiet", 'q', FlagKind::kBool, "", "no progress"}};
}

}  // namespace

std::vector<Command> ImageCommands() {
  constexpr FlagKind kBool = FlagKind::kBool;
  return {{"pull", "Images", "[FLAGS] IMAGE", "Fetch and unpack an image from a registry",
           "gantryctl pull alpine\ngantryctl pull --plain-http 127.0.0.1:5000/app:1",
           RegistryFlags(), Pull},
          {"push", "Images", "[FLAGS] IMAGE [REFERENCE]", "Send an image to a registry",
           "gantryctl push --plain-http hello 127.0.0.1:5000/hello:1", RegistryFlags(), Push},
          {"images", "Images", "[FLAGS] [TEXT]", "List images",
           "gantryctl images\ngantryctl images -q busybox", ListFlags(), List},
          {"tag",
           "Images",
           "IMAGE NAME",
           "Give an image another name",
           "gantryctl tag hello registry.example/hello:1",
           {},
           Tag},
          {"rmi",
           "Images",
           "[FLAGS] IMAGE...",
           "Remove images",
           "gantryctl rmi hello\ngantryctl rmi $(gantryctl images -q)",
           {{"async", '\0', kBool, "", "do not wait until the layers are gone"}},
           Remove},
          {"import",
           "Images",
           "[FLAGS] FILE|-",
           "Read images from an OCI or docker archive",
           "gantryctl import image.tar\ndocker save app | gantryctl import -",
           {{"name", '\0', FlagKind::kString, "NAME", "name of an image that carries none"},
            {"snapshotter", '\0', FlagKind::kString, "NAME", "unpack for it (default overlayfs)"},
            {"no-unpack", '\0', kBool, "", "only store it"}},
           Import},
          {"export",
           "Images",
           "FILE|- IMAGE...",
           "Write images to an OCI archive",
           "gantryctl export hello.tar hello\ngantryctl export - hello | docker load",
           {},
           Export}};
}

}  // namespace gantry::ctl
