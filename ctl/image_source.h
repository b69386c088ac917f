#ifndef GANTRY_CTL_IMAGE_SOURCE_H_
#define GANTRY_CTL_IMAGE_SOURCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/image.h"
#include "client/spec/user.h"

namespace gantry::ctl {

// An image as a container needs it.
struct RunnableImage {
  std::string name;
  client::ImageConfig config;
  std::string chain_id;
  client::ResolvedUser user;
};

// Finds (or pulls: `policy` is missing, always or never) the image `typed`, and the user that it or
// `user` asks for. What was found out is remembered by digest, so that the next run needs one call.
// With `verify`, nothing remembered is used and missing layers are unpacked: what to do after the
// snapshot turned out to be absent.
absl::StatusOr<RunnableImage> GetRunnableImage(const client::Connection& connection,
                                               const std::string& typed, const std::string& policy,
                                               const std::string& snapshotter,
                                               const std::string& user, bool verify);

}  // namespace gantry::ctl

#endif  // GANTRY_CTL_IMAGE_SOURCE_H_
