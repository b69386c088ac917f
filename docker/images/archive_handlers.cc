// POST /images/load, GET /images/get, GET /images/{name}/get.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "client/image_export.h"
#include "client/image_import.h"
#include "docker/images/image_api.h"
#include "docker/images/line_stream.h"
#include "docker/images/progress.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;
using http::Exchange;

constexpr size_t kMaxNames = 1000;

// Pieces of a tar are gathered to this size before they are sent.
constexpr size_t kSendSize = 64u << 10;

absl::Status LoadAll(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange,
                     LineStream* lines) {
  const bool quiet = exchange->query().Bool("quiet");
  std::vector<std::string> spares;
  client::ImportOptions options;
  options.snapshotter = api->store.snapshotter();
  options.name_unnamed = [](const std::string& target) {
    auto digest = base::Digest::Parse(target);
    return digest.ok() ? DanglingName(*digest) : std::string();
  };
  options.before_put = [&](const std::string& name) -> absl::Status {
    if (IsDanglingName(name)) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(std::string spare, api->store.KeepSpare(name));
    if (!spare.empty()) spares.push_back(spare);
    return absl::OkStatus();
  };
  options.progress = [&](const std::string& step) {
    std::vector<std::string> words = absl::StrSplit(step, ' ');
    if (!quiet) lines->Emit(ProgressLine("Loading layer", ShortId(words.back()), 0, 0));
  };
  auto loaded = client::ImportImages(
      api->context.gantryd, [&] { return exchange->ReadBodySome(); }, options);
  for (const std::string& spare : spares) api->store.DropSpare(spare);
  GANTRY_RETURN_IF_ERROR(loaded.status());
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  for (const client::ImportedImage& one : *loaded) {
    for (const LocalImage& image : all) {
      if (std::find(image.names.begin(), image.names.end(), one.name) == image.names.end())
        continue;
      auto reference = ParseImageReference(one.name);
      const bool named = reference.ok() && !IsDanglingName(one.name);
      lines->Emit({{"stream", named ? absl::StrCat("Loaded image: ", reference->Familiar(), "\n")
                                    : absl::StrCat("Loaded image ID: ", image.id().str(), "\n")}});
      api->Publish("load", image.id().str(), image.id().str(), image.content.get());
    }
  }
  return absl::OkStatus();
}

absl::Status Load(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange) {
  LineStream lines(exchange);
  return lines.End(LoadAll(api, exchange, &lines));
}

absl::Status Save(const ImageApiPtr& api, const std::shared_ptr<Exchange>& exchange,
                  const std::vector<std::string>& typed) {
  if (typed.empty() || typed.size() > kMaxNames) {
    return absl::InvalidArgumentError("no image to save");
  }
  GANTRY_ASSIGN_OR_RETURN(std::vector<LocalImage> all, api->store.List());
  std::vector<client::ExportedImage> wanted;
  for (const std::string& name : typed) {
    GANTRY_ASSIGN_OR_RETURN(LocalImage image, FindAmong(all, name));
    auto entry = std::find_if(wanted.begin(), wanted.end(), [&](const auto& other) {
      return other.target.digest == image.target.digest;
    });
    if (entry == wanted.end()) entry = wanted.insert(wanted.end(), {image.target, {}});
    // An id saves the image without its names; a repository without a tag all of its tags.
    auto reference = ParseImageReference(name);
    for (const ImageReference& tag : image.tags) {
      if (reference.ok() && reference->WithDefaultTag().str() == tag.str()) {
        entry->names.push_back(tag.str());
      }
    }
  }
  auto stream = exchange->StartStream(200, "application/x-tar");
  if (stream == nullptr) return absl::OkStatus();
  std::string pending;
  absl::Status status = client::ExportImages(
      api->context.gantryd, wanted, /*familiar=*/true, [&](absl::string_view data) {
        pending.append(data.data(), data.size());
        if (pending.size() < kSendSize) return absl::OkStatus();
        const bool sent = stream->Write(std::exchange(pending, {}));
        return sent ? absl::OkStatus() : absl::CancelledError("the client is gone");
      });
  // Cut off, the client sees that the archive is not whole.
  if (!status.ok()) return absl::OkStatus();
  if (stream->Write(std::move(pending))) stream->Finish();
  for (const client::ExportedImage& image : wanted) {
    auto found = std::find_if(all.begin(), all.end(), [&](const LocalImage& local) {
      return local.target.digest == image.target.digest;
    });
    if (found != all.end()) {
      api->Publish("save", found->id().str(), found->id().str(), found->content.get());
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> Names(const http::Query& query) {
  std::vector<std::string> names;
  for (const std::string& value : query.All("names")) {
    for (absl::string_view name : absl::StrSplit(value, ',', absl::SkipEmpty())) {
      names.emplace_back(name);
    }
  }
  return names;
}

}  // namespace

void AddImageArchiveRoutes(http::Router& router, const ImageApiPtr& api) {
  router.Add("POST", "/images/load", [api](const auto& exchange) { return Load(api, exchange); });
  router.Add("GET", "/images/get",
             [api](const auto& exchange) { return Save(api, exchange, Names(exchange->query())); });
  router.Add("GET", "/images/{name:.*}/get",
             [api](const auto& exchange) { return Save(api, exchange, {exchange->Var("name")}); });
}

}  // namespace gantry::docker
