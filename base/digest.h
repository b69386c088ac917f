#ifndef GANTRY_BASE_DIGEST_H_
#define GANTRY_BASE_DIGEST_H_

#include <cstddef>
#include <memory>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace gantry::base {

// A content digest "algorithm:hex" as the OCI image specification defines it; only sha256 and
// sha512 with exactly 64 or 128 lower-case hex digits exist here, so a parsed digest is safe in a
// file name (CVE-2024-3727).
class Digest {
 public:
  Digest() = default;

  // InvalidArgument ("invalid checksum digest format" / "unsupported digest algorithm") otherwise.
  static absl::StatusOr<Digest> Parse(absl::string_view text);

  const std::string& str() const { return text_; }
  absl::string_view algorithm() const { return absl::string_view(text_).substr(0, 6); }
  absl::string_view hex() const { return absl::string_view(text_).substr(7); }
  bool empty() const { return text_.empty(); }

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  friend class Hasher;
  explicit Digest(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Computes one digest over a stream. Not thread-safe; move-only.
class Hasher {
 public:
  enum class Algorithm { kSha256, kSha512 };
  explicit Hasher(Algorithm algorithm = Algorithm::kSha256);
  // The algorithm of an existing digest, to verify against it.
  explicit Hasher(const Digest& like);
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();

  void Update(absl::string_view data);
  // The digest of all data so far; the hasher must not be used afterwards.
  Digest Finish();
  // The same, and more data may follow.
  Digest Current() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// sha256 of `data`.
Digest DigestOf(absl::string_view data);

}  // namespace gantry::base

#endif  // GANTRY_BASE_DIGEST_H_
