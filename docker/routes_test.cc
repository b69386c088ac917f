// docs/docker.md says what there is.

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

TEST(RoutesTest, TheTableInTheDocumentIsTheProgramsOwn) {
  auto document = base::ReadFile(std::string(getenv("GANTRY_SOURCE_DIR")) + "/docs/docker.md");
  ASSERT_TRUE(document.ok()) << document.status();
  auto table = base::RunProcess(
      {.argv = {std::string(getenv("GANTRY_BIN_DIR")) + "/gantry-docker", "routes"}});
  ASSERT_TRUE(table.ok()) << table.status();
  ASSERT_TRUE(absl::StartsWith(table->out, "| method |")) << table->out << table->err;
  EXPECT_TRUE(absl::StrContains(*document, table->out))
      << "replace the table in docs/docker.md by:\n"
      << table->out;
}

}  // namespace
}  // namespace gantry::docker
