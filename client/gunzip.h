#ifndef GANTRY_CLIENT_GUNZIP_H_
#define GANTRY_CLIENT_GUNZIP_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/archive/byte_sink.h"

namespace gantry::client {

// Passes a stream on, inflated when it is gzip. By zlib, unlike base/archive's decompressor,
// because it goes into a program without shared libraries. A stream that is zstd is refused with
// what to do. Not thread-safe.
class MaybeGunzip {
 public:
  explicit MaybeGunzip(archive::ByteSink out);
  ~MaybeGunzip();
  MaybeGunzip(const MaybeGunzip&) = delete;
  MaybeGunzip& operator=(const MaybeGunzip&) = delete;

  absl::Status Write(absl::string_view data);
  // InvalidArgument when the stream was cut short.
  absl::Status Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gantry::client

#endif  // GANTRY_CLIENT_GUNZIP_H_
