#include "base/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace gantry::base {

absl::StatusOr<Digest> Digest::Parse(absl::string_view text) {
  size_t colon = text.find(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(text.substr(0, 200)),
                                                   "\": invalid checksum digest format"));
  }
  absl::string_view algorithm = text.substr(0, colon);
  absl::string_view hex = text.substr(colon + 1);
  size_t length = algorithm == "sha256" ? 64 : algorithm == "sha512" ? 128 : 0;
  if (length == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CEscape(text.substr(0, 200)), "\": unsupported digest algorithm"));
  }
  bool is_hex = std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (hex.size() != length || !is_hex) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(text.substr(0, 200)),
                                                   "\": invalid checksum digest length or format"));
  }
  return Digest(std::string(text));
}

struct Hasher::Impl {
  explicit Impl(Algorithm a) : algorithm(a), context(EVP_MD_CTX_new()) {
    EVP_DigestInit_ex(context, a == Algorithm::kSha512 ? EVP_sha512() : EVP_sha256(), nullptr);
  }
  ~Impl() { EVP_MD_CTX_free(context); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Algorithm algorithm;
  EVP_MD_CTX* context;
};

Hasher::Hasher(Algorithm algorithm) : impl_(std::make_unique<Impl>(algorithm)) {}
Hasher::Hasher(const Digest& like)
    : Hasher(like.algorithm() == "sha512" ? Algorithm::kSha512 : Algorithm::kSha256) {}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::Update(absl::string_view data) {
  EVP_DigestUpdate(impl_->context, data.data(), data.size());
}

Digest Hasher::Current() const {
  Hasher copy(impl_->algorithm);
  EVP_MD_CTX_copy_ex(copy.impl_->context, impl_->context);
  return copy.Finish();
}

Digest Hasher::Finish() {
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(impl_->context, value, &size);
  absl::string_view name = impl_->algorithm == Algorithm::kSha512 ? "sha512:" : "sha256:";
  return Digest(absl::StrCat(
      name, absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(value), size))));
}

Digest DigestOf(absl::string_view data) {
  Hasher hasher;
  hasher.Update(data);
  return hasher.Finish();
}

}  // namespace gantry::base
