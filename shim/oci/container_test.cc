#include "shim/oci/container.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ContainerTest, RunsAndReportsExitStatus) {
  TestBundle bundle;
  RunOutcome outcome = bundle.RunScript("echo hello; exit 7");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.out, "hello\n");
  EXPECT_EQ(outcome.exit_status, 7);
}

}  // namespace
}  // namespace gantry::oci
