// The layer before the client's view of an image's users.

#include "client/spec/user.h"
#include "tests/security/mistakes.h"

namespace gantry::client {

GANTRY_LAYER(absl::StatusOr<UserRequest>, ParseUser,
             "_ZN6gantry6client9ParseUserEN4absl7debian311string_viewE", absl::string_view text) {
  auto request = RealParseUser(text);
  bool plain = text.find(':') == absl::string_view::npos;
  if (tests::Makes(tests::Mistake::kNumbersAreNames) && plain) {
    UserRequest name;
    name.user = std::string(text);
    return name;
  }
  return request;
}

}  // namespace gantry::client
