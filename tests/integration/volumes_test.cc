// Volumes through gantryd: its API, gantryctl, and containers that mount them.
#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "client/connection.h"
#include "gantry/services/volumes/v1/volumes.methods.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/gantryd_fixture.h"

namespace gantry::tests {
namespace {

namespace volumes = gantry::services::volumes::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using volumes::VolumesMethods;

constexpr char kImage[] = "docker.io/library/busybox:latest";

class VolumesTest : public GantrydTest {
 protected:
  void SetUp() override {
    GantrydTest::SetUp();
    StartGantryd();
    Connect();
  }
  void Connect() { connection_.emplace(client::Connection::ToSocket(socket(), ns())); }

  template <typename Method, typename Request>
  absl::Status Do(const Method& method, const Request& request) {
    google::protobuf::Empty nothing;
    return connection_->Call(method, request, &nothing);
  }
  std::string Create(const std::string& name, std::map<std::string, std::string> options = {}) {
    volumes::CreateVolumeRequest request;
    request.mutable_volume()->set_name(name);
    for (const auto& [key, value] : options)
      (*request.mutable_volume()->mutable_options())[key] = value;
    volumes::CreateVolumeResponse response;
    absl::Status created = connection_->Call(VolumesMethods::kCreate, request, &response);
    EXPECT_TRUE(created.ok()) << created;
    return response.volume().mountpoint();
  }
  absl::Status Acquire(const std::string& container, const std::string& volume) {
    volumes::AcquireVolumesRequest request;
    request.set_container_id(container);
    request.add_volumes(volume);
    volumes::AcquireVolumesResponse response;
    return connection_->Call(VolumesMethods::kAcquire, request, &response);
  }
  absl::Status Release(const std::string& container) {
    volumes::ReleaseVolumesRequest request;
    request.set_container_id(container);
    return Do(VolumesMethods::kRelease, request);
  }
  absl::Status Mount(const std::string& container) {
    volumes::MountVolumesRequest request;
    request.set_container_id(container);
    return Do(VolumesMethods::kMount, request);
  }
  static bool Eventually(const std::function<bool()>& condition) {
    for (absl::Time limit = absl::Now() + absl::Seconds(20); absl::Now() < limit;) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
  bool Mounted(const std::string& path) {
    return absl::StrContains(*base::ReadFile("/proc/self/mountinfo"), path + " ");
  }

  std::optional<client::Connection> connection_;
};

TEST_F(VolumesTest, FilledFromTheImageOfAContainerAndMountedIntoAnother) {
  ImportBusybox();
  // Also while the snapshot is in use.
  CtrOk({"run", "-d", kImage, "c1", "sh", "-c",
         "mkdir -p /data/sub; echo content > /data/sub/file; chown 7:8 /data/sub/file; sleep 100"});
  std::string data = Create("data");
  volumes::PopulateVolumeRequest fill;
  fill.set_name("data");
  fill.set_container_id("c1");
  fill.set_path("/data");
  ASSERT_TRUE(Eventually([&] {
    absl::Status filled = Do(VolumesMethods::kPopulate, fill);
    EXPECT_TRUE(filled.ok()) << filled;
    return base::Exists(data + "/sub/file");
  }));
  EXPECT_EQ(*base::ReadFile(data + "/sub/file"), "content\n");
  std::string out = CtrOk({"run", "--rm", "--mount",
                           absl::StrCat("type=bind,src=", data, ",dst=/v,options=rbind:rw"), kImage,
                           "c2", "sh", "-c", "stat -c %u:%g /v/sub/file; echo more > /v/new"});
  EXPECT_EQ(out, "7:8\n");
  EXPECT_EQ(*base::ReadFile(data + "/new"), "more\n");

  // A part of it, and what a container makes of that part.
  auto part = [&](const std::string& path, const std::string& id) {
    return Ctr({"run", "--rm", "--mount",
                absl::StrCat("type=bind,src=", data, "/./", path, ",dst=/v,options=rbind:rw"),
                kImage, id, "cat", "/v/file"});
  };
  EXPECT_EQ(part("sub", "c3").out, "content\n");
  ASSERT_EQ(symlink("/etc", (data + "/escape").c_str()), 0);
  base::RunResult refused = part("escape", "c4");
  EXPECT_NE(refused.exit.code, 0);
  EXPECT_THAT(refused.err, HasSubstr("Operation not permitted"));
  Ctr({"c", "rm", "c4"});
  CtrOk({"t", "kill", "-s", "KILL", "c1"});
  EXPECT_TRUE(Eventually([&] { return Ctr({"t", "rm", "c1"}).exit.code == 0; }));
  CtrOk({"c", "rm", "c1"});
}

TEST_F(VolumesTest, MountsOutliveAKillOfGantrydWithTheirContainers) {
  ImportBusybox();
  std::string ram = Create("ram", {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m"}});
  CtrOk({"run", "-d", kImage, "c1", "sleep", "100"});
  ASSERT_TRUE(Acquire("c1", "ram").ok());
  ASSERT_TRUE(Mount("c1").ok());
  ASSERT_TRUE(Mounted(ram));
  ASSERT_TRUE(base::WriteFile(ram + "/file", "x").ok());
  EXPECT_EQ(GantryctlOk({"fsck"}).find("volumes/"), std::string::npos);
  KillGantryd();
  StartGantryd();
  Connect();
  EXPECT_TRUE(base::Exists(ram + "/file"));
  volumes::DeleteVolumeRequest remove;
  remove.set_name("ram");
  absl::Status in_use = Do(VolumesMethods::kDelete, remove);
  EXPECT_EQ(in_use.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(in_use.message(), "remove ram: volume is in use - [c1]");
  // The container ends while gantryd is down: nobody needs the mount.
  KillGantryd();
  StartGantryd();
  CtrOk({"t", "kill", "-s", "KILL", "c1"});
  EXPECT_TRUE(Eventually([&] { return Ctr({"t", "rm", "c1"}).exit.code == 0; }));
  KillGantryd();
  StartGantryd();
  Connect();
  EXPECT_FALSE(Mounted(ram));
  ASSERT_TRUE(Release("c1").ok());
  EXPECT_TRUE(Do(VolumesMethods::kDelete, remove).ok());
  CtrOk({"c", "rm", "c1"});
}

TEST_F(VolumesTest, Gantryctl) {
  EXPECT_EQ(GantryctlOk({"volume", "create", "data", "--label", "for=web"}), "data\n");
  std::string anonymous = GantryctlOk({"volume", "create"});
  EXPECT_EQ(anonymous.size(), 65u);
  EXPECT_THAT(GantryctlOk({"volume", "ls", "--size"}), HasSubstr("data"));
  auto json = base::ParseJson(GantryctlOk({"volume", "inspect", "data"}));
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)[0]["labels"]["for"], "web");
  EXPECT_EQ((*json)[0]["mountpoint"], absl::StrCat(root(), "/volumes/", ns(), "/data/_data"));
  EXPECT_THAT(Gantryctl({"volume", "create", "a/b"}).err,
              HasSubstr("includes invalid characters for a local volume name"));
  EXPECT_THAT(Gantryctl({"volume", "create", "x1", "-o", "type=tmpfs"}).err,
              HasSubstr("missing required option: \"device\""));
  EXPECT_THAT(Gantryctl({"volume", "inspect", "none"}).err, HasSubstr("no such volume"));
  EXPECT_EQ(GantryctlOk({"volume", "prune"}), anonymous);
  EXPECT_EQ(GantryctlOk({"volume", "prune", "--all"}), "data\n");
  EXPECT_EQ(GantryctlOk({"volume", "ls", "-q"}), "");
}

}  // namespace
}  // namespace gantry::tests
