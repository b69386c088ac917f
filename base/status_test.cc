#include "base/status.h"

#include <cerrno>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::base {
namespace {

TEST(Status, ErrnoMapsToTheCodeOfTheWire) {
  struct Case {
    int error;
    absl::StatusCode want;
  } cases[] = {{ENOENT, absl::StatusCode::kNotFound},
               {EEXIST, absl::StatusCode::kAlreadyExists},
               {EPERM, absl::StatusCode::kPermissionDenied},
               {EINVAL, absl::StatusCode::kInvalidArgument},
               {ENOSPC, absl::StatusCode::kResourceExhausted},
               {EBUSY, absl::StatusCode::kFailedPrecondition},
               {ETIMEDOUT, absl::StatusCode::kDeadlineExceeded},
               {ENOSYS, absl::StatusCode::kUnimplemented},
               {ECONNREFUSED, absl::StatusCode::kUnavailable},
               {EIO, absl::StatusCode::kUnknown}};
  for (const Case& c : cases) EXPECT_EQ(ErrnoStatus(c.error, "x").code(), c.want) << c.error;
}

TEST(Status, AnnotateKeepsCodeAndErrno) {
  absl::Status status =
      Annotate(Annotate(ErrnoStatus(ENOSPC, "write"), "blob sha256:1"), "pull image");
  EXPECT_EQ(status.message(), "pull image: blob sha256:1: write: No space left on device");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoOf(status), ENOSPC);
  EXPECT_EQ(ErrnoOf(WithCode(status, absl::StatusCode::kInternal)), ENOSPC);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
  EXPECT_EQ(ErrnoOf(absl::NotFoundError("x")), 0);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}
absl::StatusOr<int> Quarter(int n) {
  GANTRY_ASSIGN_OR_RETURN(int half, Half(n));
  GANTRY_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(Status, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_EQ(Quarter(7).status().message(), "odd");
}

}  // namespace
}  // namespace gantry::base
