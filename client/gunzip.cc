#include "client/gunzip.h"

#include <zlib.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/archive/compression.h"
#include "base/status.h"

namespace gantry::client {
namespace {

constexpr size_t kOutput = 256u << 10;
constexpr int kGzipOnly = 16 + MAX_WBITS;

}  // namespace

struct MaybeGunzip::Impl {
  absl::Status Decide() {
    switch (archive::DetectCompression(head)) {
      case archive::Compression::kNone:
        break;
      case archive::Compression::kGzip:
        gzip = true;
        if (inflateInit2(&zlib, kGzipOnly) != Z_OK) {
          return absl::ResourceExhaustedError("no memory to decompress the archive");
        }
        output.resize(kOutput);
        break;
      case archive::Compression::kZstd:
        return absl::UnimplementedError(
            "the archive is compressed with zstd; pipe it: zstd -dc FILE | gantryctl import -");
    }
    decided = true;
    return Pass(head);
  }

  absl::Status Pass(absl::string_view data) { return gzip ? Inflate(data) : out(data); }

  absl::Status Inflate(absl::string_view data) {
    zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
    zlib.avail_in = static_cast<uInt>(data.size());
    while (zlib.avail_in > 0) {
      if (ended) inflateReset(&zlib);  // another member follows
      ended = false;
      zlib.next_out = reinterpret_cast<Bytef*>(output.data());
      zlib.avail_out = static_cast<uInt>(output.size());
      int result = inflate(&zlib, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END) {
        return absl::InvalidArgumentError(absl::StrCat(
            "damaged gzip stream: ", zlib.msg == nullptr ? "unexpected end" : zlib.msg));
      }
      ended = result == Z_STREAM_END;
      GANTRY_RETURN_IF_ERROR(out(absl::string_view(output.data(), output.size() - zlib.avail_out)));
    }
    return absl::OkStatus();
  }

  archive::ByteSink out;
  std::string head;
  std::string output;
  z_stream zlib = {};
  bool decided = false;
  bool gzip = false;
  bool ended = false;
};

MaybeGunzip::MaybeGunzip(archive::ByteSink out) : impl_(std::make_unique<Impl>()) {
  impl_->out = std::move(out);
}

MaybeGunzip::~MaybeGunzip() {
  if (impl_->gzip) inflateEnd(&impl_->zlib);
}

absl::Status MaybeGunzip::Write(absl::string_view data) {
  if (impl_->decided) return impl_->Pass(data);
  impl_->head.append(data.data(), data.size());
  return impl_->head.size() < archive::kMagicBytes ? absl::OkStatus() : impl_->Decide();
}

absl::Status MaybeGunzip::Finish() {
  if (!impl_->decided) GANTRY_RETURN_IF_ERROR(impl_->Decide());
  if (impl_->gzip && !impl_->ended) {
    return absl::InvalidArgumentError("the gzip stream ends too early");
  }
  return absl::OkStatus();
}

}  // namespace gantry::client
