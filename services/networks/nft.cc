#include "services/networks/nft.h"

#include <nftables/libnftables.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::services {

void Nft::Free::operator()(nft_ctx* ctx) const { nft_ctx_free(ctx); }

absl::StatusOr<Nft> Nft::Open() {
  nft_ctx* ctx = nft_ctx_new(NFT_CTX_DEFAULT);
  if (ctx == nullptr) return absl::ResourceExhaustedError("no memory for libnftables");
  Nft nft(ctx);
  nft_ctx_buffer_output(ctx);
  nft_ctx_buffer_error(ctx);
  // Nothing is looked up: no names of services, no DNS.
  nft_ctx_output_set_flags(ctx, NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_TERSE |
                                    NFT_CTX_OUTPUT_NUMERIC_PROTO | NFT_CTX_OUTPUT_NUMERIC_PRIO);
  return nft;
}

absl::StatusOr<std::string> Nft::Run(const std::string& commands) {
  int result = nft_run_cmd_from_buffer(ctx_.get(), commands.c_str());
  std::string output = nft_ctx_get_output_buffer(ctx_.get());
  std::string error = nft_ctx_get_error_buffer(ctx_.get());
  if (result == 0) return output;
  error = error.substr(0, error.find("\n^"));
  return absl::InternalError(
      absl::StrCat("change firewall rules: ", absl::StripAsciiWhitespace(error).substr(0, 400)));
}

}  // namespace gantry::services
