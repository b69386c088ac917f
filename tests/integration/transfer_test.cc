// Images through a real registry: pushed and pulled by the transfer service, pulled by ctr itself.

#include "absl/strings/match.h"
#include "base/file.h"
#include "tests/integration/docker_registry.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

class TransferTest : public GantrydTest {};

TEST_F(TransferTest, PushesAndPullsThroughARegistry) {
  ASSERT_TRUE(base::MakeDirs(dir() + "/registry").ok());
  DockerRegistry registry({dir() + "/registry", "", false, false});
  StartGantryd();
  ImportBusybox();
  const std::string name = registry.host() + "/busybox:1";
  GantryctlOk({"tag", std::string(kBusybox), name});
  GantryctlOk({"push", name});
  GantryctlOk({"rmi", name});
  GantryctlOk({"rmi", std::string(kBusybox)});
  GantryctlOk({"pull", name});
  EXPECT_TRUE(absl::StrContains(CtrOk({"image", "ls", "-q"}), name));
  EXPECT_TRUE(
      absl::StrContains(CtrOk({"content", "ls"}), "containerd.io/gc.ref.snapshot.overlayfs"));
  EXPECT_TRUE(absl::StrContains(CtrOk({"snapshot", "ls"}), "Committed"));
  EXPECT_FALSE(absl::StrContains(CtrOk({"leases", "ls"}), "transfer-"));
  CtrOk({"image", "pull", "--plain-http", name});
}

}  // namespace
}  // namespace gantry::tests
