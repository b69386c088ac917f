#include "base/archive/decompress.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

// Large enough that inflate's copying of its 32 KiB window between calls does not count, small
// enough to stay in the second level cache together with what reads it.
constexpr size_t kOutputBytes = 256u << 10;
constexpr int kZstdWindowLog = 27;

class PlainStream : public Decompressor {
 public:
  explicit PlainStream(ByteSink out) : out_(std::move(out)) {}
  absl::Status Write(absl::string_view data) override {
    return data.empty() ? absl::OkStatus() : out_(data);
  }
  absl::Status Finish() override { return absl::OkStatus(); }
  Compression compression() const override { return Compression::kNone; }

 private:
  ByteSink out_;
};

absl::Status BadGzip(int code) {
  switch (code) {
    case ISAL_INCORRECT_CHECKSUM:
      return absl::InvalidArgumentError("gzip: checksum or length does not match the content");
    case ISAL_INVALID_WRAPPER:
      return absl::InvalidArgumentError("gzip: invalid header");
    case ISAL_UNSUPPORTED_METHOD:
      return absl::InvalidArgumentError("gzip: unknown compression method");
    default:
      return absl::InvalidArgumentError(absl::StrCat("gzip: damaged data (", code, ")"));
  }
}

class GzipStream : public Decompressor {
 public:
  explicit GzipStream(ByteSink out)
      : out_(std::move(out)), state_(std::make_unique<inflate_state>()), buffer_(kOutputBytes) {
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_GZIP;
  }

  absl::Status Write(absl::string_view data) override {
    // avail_in has 32 bits.
    constexpr size_t kMaxPiece = 1u << 30;
    while (!data.empty()) {
      absl::string_view piece = data.substr(0, kMaxPiece);
      GANTRY_RETURN_IF_ERROR(Inflate(&piece));
      data.remove_prefix(std::min(data.size(), kMaxPiece) - piece.size());
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (in_member_ || !seen_member_) return absl::InvalidArgumentError("gzip: unexpected end");
    return absl::OkStatus();
  }
  Compression compression() const override { return Compression::kGzip; }

 private:
  // Inflates up to the end of a member or of `data`.
  absl::Status Inflate(absl::string_view* data) {
    if (!in_member_) {
      if (seen_member_) {
        data->remove_prefix(std::min(data->find_first_not_of('\0'), data->size()));
        if (data->empty()) return absl::OkStatus();
        isal_inflate_reset(state_.get());
        state_->crc_flag = ISAL_GZIP;
      }
      in_member_ = seen_member_ = true;
    }
    state_->next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(data->data()));
    state_->avail_in = static_cast<uint32_t>(data->size());
    do {
      state_->next_out = buffer_.data();
      state_->avail_out = static_cast<uint32_t>(buffer_.size());
      int code = isal_inflate(state_.get());
      if (code < 0) return BadGzip(code);
      size_t got = buffer_.size() - state_->avail_out;
      if (got > 0) {
        GANTRY_RETURN_IF_ERROR(
            out_(absl::string_view(reinterpret_cast<const char*>(buffer_.data()), got)));
      }
      // A full buffer may mean that more waits inside even when all input is taken.
    } while (state_->block_state != ISAL_BLOCK_FINISH &&
             (state_->avail_in > 0 || state_->avail_out == 0));
    data->remove_prefix(data->size() - state_->avail_in);
    if (state_->block_state == ISAL_BLOCK_FINISH) in_member_ = false;
    return absl::OkStatus();
  }

  ByteSink out_;
  std::unique_ptr<inflate_state> state_;
  std::vector<uint8_t> buffer_;
  bool in_member_ = false;
  bool seen_member_ = false;
};

struct FreeZstd {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

class ZstdStream : public Decompressor {
 public:
  explicit ZstdStream(ByteSink out)
      : out_(std::move(out)), context_(ZSTD_createDCtx()), buffer_(kOutputBytes) {
    if (context_ != nullptr)
      ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  }

  absl::Status Write(absl::string_view data) override {
    if (context_ == nullptr) return absl::ResourceExhaustedError("zstd: no memory");
    ZSTD_inBuffer in{data.data(), data.size(), 0};
    bool more = false;  // of the output, though all input is taken
    while (in.pos < in.size || more) {
      ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
      size_t left = ZSTD_decompressStream(context_.get(), &out, &in);
      if (ZSTD_isError(left)) {
        return absl::InvalidArgumentError(absl::StrCat("zstd: ", ZSTD_getErrorName(left)));
      }
      in_frame_ = left != 0;
      more = in_frame_ && out.pos == out.size;
      if (out.pos > 0) GANTRY_RETURN_IF_ERROR(out_(absl::string_view(buffer_.data(), out.pos)));
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (in_frame_) return absl::InvalidArgumentError("zstd: unexpected end");
    return absl::OkStatus();
  }
  Compression compression() const override { return Compression::kZstd; }

 private:
  ByteSink out_;
  std::unique_ptr<ZSTD_DCtx, FreeZstd> context_;
  std::vector<char> buffer_;
  bool in_frame_ = true;
};

// Holds back the first bytes until they tell the kind.
class DetectingStream : public Decompressor {
 public:
  explicit DetectingStream(ByteSink out) : out_(std::move(out)) {}

  absl::Status Write(absl::string_view data) override {
    if (inner_ != nullptr) return inner_->Write(data);
    if (head_.empty() && data.size() >= kMagicBytes) {
      inner_ = Create(DetectCompression(data), std::move(out_));
      return inner_->Write(data);
    }
    size_t take = std::min(data.size(), kMagicBytes - head_.size());
    head_.append(data.data(), take);
    if (head_.size() < kMagicBytes) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(Begin());
    data.remove_prefix(take);
    return inner_->Write(data);
  }

  absl::Status Finish() override {
    if (inner_ == nullptr) GANTRY_RETURN_IF_ERROR(Begin());
    return inner_->Finish();
  }

  Compression compression() const override {
    return inner_ == nullptr ? Compression::kNone : inner_->compression();
  }

 private:
  absl::Status Begin() {
    inner_ = Create(DetectCompression(head_), std::move(out_));
    return inner_->Write(head_);
  }

  ByteSink out_;
  std::string head_;
  std::unique_ptr<Decompressor> inner_;
};

}  // namespace

std::unique_ptr<Decompressor> Decompressor::Detect(ByteSink out) {
  return std::make_unique<DetectingStream>(std::move(out));
}

std::unique_ptr<Decompressor> Decompressor::Create(Compression compression, ByteSink out) {
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
