// gantryd and its shims against other users of the host, hostile images and clients that come and
// go.

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "gmock/gmock.h"
#include "tests/integration/image_archive.h"
#include "tests/security/daemon_fixture.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

using CVE_2020_15257 = DaemonAttack;
using CVE_2021_41103 = DaemonAttack;
using CVE_2024_25621 = DaemonAttack;
using CVE_2026_53488 = DaemonAttack;
using CVE_2019_14891 = DaemonAttack;

// Numbers of the sockets that a process has open.
void CollectSockets(const fs::path& proc, std::set<std::string>* inodes) {
  std::error_code error;
  for (const auto& fd : fs::directory_iterator(proc / "fd", error)) {
    std::string target = fs::read_symlink(fd, error).string();
    if (absl::StartsWith(target, "socket:[")) inodes->insert(target.substr(8, target.size() - 9));
  }
}

// Every container with the host's network can connect to those.
TEST_F(CVE_2020_15257, NoAbstractSocketIsOurs) {
  MustHoldHere({Mistake::kAbstractSockets}, [&] {
    Begin();
    ImportBusybox();
    CtrOk({"run", "-d", "--net-host", Busybox(), "neighbour", "sleep", "1000"});
    std::string seen =
        CtrOk({"task", "exec", "--exec-id", "e", "neighbour", "cat", "/proc/net/unix"});
    std::set<std::string> ours;
    CollectSockets(absl::StrCat("/proc/", gantryd_pid()), &ours);
    CollectSockets(absl::StrCat("/proc/", ShimOf("neighbour")), &ours);
    EXPECT_GT(ours.size(), 3u);
    for (absl::string_view line : absl::StrSplit(seen, '\n')) {
      std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
      if (fields.size() < 8 || fields[7][0] != '@') continue;
      EXPECT_EQ(ours.count(fields[6]), 0u) << line;
    }
  });
}

// Connects as another user; true when whoever listens hung up at once.
int IsRefused(const std::string& directory, const std::string& name) {
  int sock = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, name.c_str());
  if (chdir(directory.c_str()) != 0) return 101;
  if (setresuid(1000, 1000, 1000) != 0) return 102;
  if (connect(sock, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return errno == EACCES ? 1 : 103;
  }
  timeval patience = {1, 0};
  setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  char byte;
  return read(sock, &byte, 1) == 0 ? 2 : 104;
}

TEST_F(CVE_2020_15257, SocketsOfShimsRefuseOtherUsers) {
  MustHoldHere({Mistake::kTrustsEveryPeer}, [&] {
    Begin();
    ImportBusybox();
    CtrOk({"run", "-d", Busybox(), "alone", "sleep", "1000"});
    auto bootstrap =
        base::ParseJson(base::ReadFile(Bundle("alone") + "/bootstrap.json").value_or(""));
    ASSERT_TRUE(bootstrap.ok()) << bootstrap.status();
    fs::path path(
        std::string(absl::StripPrefix(base::JsonString(*bootstrap, "address"), "unix://")));
    struct stat st;
    ASSERT_EQ(stat(path.c_str(), &st), 0) << path;
    EXPECT_EQ(st.st_mode & 07777, 0600u);
    EXPECT_EQ(st.st_uid, 0u);
    auto attempt = [&] {
      return AsUser(0, [&] { return IsRefused(path.parent_path(), path.filename()); });
    };
    EXPECT_EQ(attempt(), 1) << "1: by the file's mode";
    // And who gets past the mode, by the shim itself.
    ASSERT_EQ(chmod(path.c_str(), 0666), 0);
    EXPECT_EQ(attempt(), 2) << "2: hung up; 104: served";
    ASSERT_EQ(chmod(path.c_str(), 0600), 0);
    EXPECT_THAT(CtrOk({"task", "ls"}), HasSubstr("RUNNING"));
  });
}

// Paths that another user of the host can look at beneath a directory of ours, at most five levels
// deep. The user stands in the directory's parent.
std::string Reachable(const std::string& dir, int (*as_user)(uid_t, const std::function<int()>&)) {
  std::vector<std::string> all;
  std::error_code error;
  for (fs::recursive_directory_iterator it(dir, error), end; it != end; it.increment(error)) {
    all.push_back(it->path().string().substr(dir.size() + 1));
    if (it.depth() >= 5) it.disable_recursion_pending();
  }
  EXPECT_GT(all.size(), 2u) << dir;
  if (chdir(dir.c_str()) != 0) return "?";
  std::string reached;
  int number = 0;
  for (const std::string& path : all) {
    if (++number > 300) break;
    struct stat st;
    if (as_user(1000, [&] { return stat(path.c_str(), &st) == 0 ? 1 : 0; }) == 1) {
      absl::StrAppend(&reached, path, " ");
    }
  }
  EXPECT_EQ(chdir("/"), 0);
  return reached;
}

// Set-user-id programs of containers, their files and our metadata are nothing for other users.
TEST_F(CVE_2021_41103, OtherUsersReachNoFilesOfContainers) {
  MustHoldHere({Mistake::kOpenDirectories}, [&] {
    Begin();
    ImportBusybox();
    CtrOk({"run", "-d", Busybox(), "one", "sleep", "1000"});
    ASSERT_EQ(chmod(dir().c_str(), 0755), 0);
    EXPECT_EQ(Reachable(root(), AsUser), "");
    std::string program = Bundle("one") + "/rootfs/bin/busybox";
    EXPECT_TRUE(base::Exists(program));
    for (const std::string& path : {program, Bundle("one") + "/config.json"}) {
      EXPECT_EQ(AsUser(1000, [&] { return access(path.c_str(), F_OK) == 0 ? 1 : 0; }), 0) << path;
    }
  });
}

// Directories from before, or made by a package, are tightened.
TEST_F(CVE_2024_25621, LooseDirectoriesAreTightenedAtStart) {
  MustHoldHere({Mistake::kOpenDirectories}, [&] {
    for (const std::string& path : {root(), state(), state() + "/tmp"}) {
      ASSERT_TRUE(base::MakeDirs(path).ok());
      ASSERT_EQ(chmod(path.c_str(), 0777), 0);
    }
    Begin();
    auto mode = [](const std::string& path) {
      struct stat st = {};
      EXPECT_EQ(stat(path.c_str(), &st), 0);
      return st.st_mode & 07777;
    };
    EXPECT_EQ(mode(root()), 0700u);
    EXPECT_EQ(mode(state()), 0711u);
    EXPECT_EQ(mode(state() + "/tmp"), 0700u);
    EXPECT_EQ(mode(socket()), 0660u);
  });
}

// Labels by which images once made a daemon act as root.
TEST_F(CVE_2026_53488, LabelsOfImagesDoNothing) {
  MustHoldHere({}, [&] {
    Begin();
    std::string marker = dir() + "/marker";
    std::string evil = dir() + "/evil";
    ASSERT_TRUE(base::WriteFile(evil, "#!/bin/sh\ntouch " + marker + "\n", 0755).ok());
    ImageArchive image{"docker.io/library/labels:1",
                       {TarNode("etc/", archive::TarType::kDirectory)}};
    auto busybox = base::ReadFile("/bin/busybox", 16 << 20);
    ASSERT_TRUE(busybox.ok());
    image.items.push_back(TarNode("bin/", archive::TarType::kDirectory));
    image.items.push_back(TarFile("bin/sleep", *busybox, 0755));
    const std::string uri = "binary://" + evil;
    image.change_config = [&](std::string* config) {
      auto json = base::ParseJson(*config);
      ASSERT_TRUE(json.ok());
      for (const char* key :
           {"containerd.io/restart.status", "containerd.io/restart.loguri", "gantry/log",
            "gantry.log", "nerdctl/log-uri", "io.cri-containerd.kind", "com.docker.log"}) {
        (*json)["config"]["Labels"][key] =
            key == std::string("containerd.io/restart.status") ? std::string("running") : uri;
      }
      (*json)["config"]["hooks"] = {{"prestart", {{{"path", evil}}}}};
      (*json)["hooks"] = {{"prestart", {{{"path", evil}}}}};
      *config = json->dump();
    };
    std::string path = dir() + "/labels.tar";
    ASSERT_TRUE(base::WriteFile(path, image.Pack()).ok());
    CtrOk({"image", "import", path});
    CtrOk({"run", "-d", image.ref, "byctr", "/bin/sleep", "1000"});
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    std::string id = GantryctlOk({"run", "-d", image.ref, "/bin/sleep", "1000"});
    EXPECT_THAT(CtrOk({"container", "info", std::string(absl::StripSuffix(id, "\n"))}),
                Not(HasSubstr("binary://")));
    CtrOk({"task", "kill", "-s", "KILL", "byctr"});
    StopGantryd();
    Begin();
    absl::SleepFor(absl::Seconds(2));
    EXPECT_FALSE(base::Exists(marker));
  });
}

// The out-of-memory killer meets the container, never its shim.
TEST_F(CVE_2019_14891, TheShimSurvivesItsContainersHunger) {
  MustHoldHere({}, [&] {
    Begin();
    ImportBusybox();
    setenv("GANTRY_LOG_DIR", (dir() + "/logs").c_str(), 1);
    std::string id = GantryctlOk({"run", "-d", "--memory", "16m", "busybox", "sh", "-c",
                                  "sleep 1; head -c 200m /dev/zero | tail"});
    id = std::string(absl::StripSuffix(id, "\n"));
    pid_t shim = ShimOf(id);
    EXPECT_GT(shim, 0);
    std::string groups = base::ReadFile(absl::StrCat("/proc/", shim, "/cgroup")).value_or("?");
    EXPECT_THAT(groups, Not(HasSubstr(id)));
    EXPECT_EQ(GantryctlOk({"wait", id}), "137\n");
    EXPECT_EQ(ShimOf(id), shim);
  });
}

}  // namespace
}  // namespace gantry::tests
