#include "base/archive/compress.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

constexpr size_t kBufferBytes = 256u << 10;
constexpr int kGzipLevel = 3;
constexpr int kZstdLevel = 3;

class PlainStream : public Compressor {
 public:
  explicit PlainStream(ByteSink out) : out_(std::move(out)) {}
  absl::Status Write(absl::string_view data) override {
    return data.empty() ? absl::OkStatus() : out_(data);
  }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  ByteSink out_;
};

// Gives the algorithm pieces of one size, because where it ends a block depends on what it is
// given.
class PiecewiseStream : public Compressor {
 public:
  explicit PiecewiseStream(ByteSink out) : out_(std::move(out)), buffer_(kBufferBytes) {
    pending_.reserve(kBufferBytes);
  }

  absl::Status Write(absl::string_view data) final {
    while (!data.empty()) {
      size_t take = std::min(data.size(), kBufferBytes - pending_.size());
      pending_.append(data.data(), take);
      data.remove_prefix(take);
      if (pending_.size() == kBufferBytes) {
        GANTRY_RETURN_IF_ERROR(Deflate(pending_, false));
        pending_.clear();
      }
    }
    return absl::OkStatus();
  }

  absl::Status Finish() final { return Deflate(pending_, true); }

 protected:
  virtual absl::Status Deflate(absl::string_view data, bool last) = 0;
  absl::Status Emit(size_t size) {
    return size == 0 ? absl::OkStatus() : out_(absl::string_view(buffer_.data(), size));
  }
  std::vector<char>& buffer() { return buffer_; }

 private:
  ByteSink out_;
  std::string pending_;
  std::vector<char> buffer_;
};

class GzipStream : public PiecewiseStream {
 public:
  explicit GzipStream(ByteSink out)
      : PiecewiseStream(std::move(out)),
        stream_(std::make_unique<isal_zstream>()),
        level_buffer_(ISAL_DEF_LVL3_DEFAULT) {
    isal_deflate_init(stream_.get());
    stream_->level = kGzipLevel;
    stream_->level_buf = level_buffer_.data();
    stream_->level_buf_size = static_cast<uint32_t>(level_buffer_.size());
    stream_->gzip_flag = IGZIP_GZIP;
  }

 protected:
  absl::Status Deflate(absl::string_view data, bool last) override {
    stream_->next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(data.data()));
    stream_->avail_in = static_cast<uint32_t>(data.size());
    stream_->end_of_stream = last ? 1 : 0;
    stream_->flush = NO_FLUSH;
    do {
      stream_->next_out = reinterpret_cast<uint8_t*>(buffer().data());
      stream_->avail_out = static_cast<uint32_t>(buffer().size());
      int code = isal_deflate(stream_.get());
      if (code != COMP_OK) return absl::InternalError(absl::StrCat("gzip: deflate failed ", code));
      GANTRY_RETURN_IF_ERROR(Emit(buffer().size() - stream_->avail_out));
    } while (stream_->avail_out == 0 || (last && stream_->internal_state.state != ZSTATE_END));
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<isal_zstream> stream_;
  std::vector<uint8_t> level_buffer_;
};

struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

class ZstdStream : public PiecewiseStream {
 public:
  explicit ZstdStream(ByteSink out) : PiecewiseStream(std::move(out)), context_(ZSTD_createCCtx()) {
    if (context_ == nullptr) return;
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kZstdLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  }

 protected:
  absl::Status Deflate(absl::string_view data, bool last) override {
    if (context_ == nullptr) return absl::ResourceExhaustedError("zstd: no memory");
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    ZSTD_EndDirective mode = last ? ZSTD_e_end : ZSTD_e_continue;
    size_t left = 0;
    do {
      ZSTD_outBuffer out{buffer().data(), buffer().size(), 0};
      left = ZSTD_compressStream2(context_.get(), &out, &in, mode);
      if (ZSTD_isError(left)) {
        return absl::InternalError(absl::StrCat("zstd: ", ZSTD_getErrorName(left)));
      }
      GANTRY_RETURN_IF_ERROR(Emit(out.pos));
    } while (in.pos < in.size || (last && left != 0));
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<ZSTD_CCtx, FreeZstd> context_;
};

}  // namespace

std::unique_ptr<Compressor> Compressor::Create(Compression compression, ByteSink out) {
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipStream>(std::move(out));
    case Compression::kZstd:
      return std::make_unique<ZstdStream>(std::move(out));
    case Compression::kNone:
      break;
  }
  return std::make_unique<PlainStream>(std::move(out));
}

}  // namespace gantry::archive
