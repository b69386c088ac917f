#ifndef GANTRY_SERVICES_NETWORKS_NFT_H_
#define GANTRY_SERVICES_NETWORKS_NFT_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct nft_ctx;

namespace gantry::services {

// libnftables, bound to the network namespace in which it was opened. One thread at a time.
class Nft {
 public:
  static absl::StatusOr<Nft> Open();

  // Runs commands in the language of nft(8) as one transaction: all of them or none. The error has
  // what libnftables says of the first that fails. Returns what the commands print, without the
  // elements of sets and without counters.
  absl::StatusOr<std::string> Run(const std::string& commands);

 private:
  struct Free {
    void operator()(nft_ctx* ctx) const;
  };
  explicit Nft(nft_ctx* ctx) : ctx_(ctx) {}
  std::unique_ptr<nft_ctx, Free> ctx_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_NFT_H_
