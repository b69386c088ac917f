#include "shim/oci/container_test_util.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/mount.h"

namespace gantry::oci {
namespace {

constexpr const char* kApplets[] = {
    "sh",   "cat",      "ls",       "id",     "true",  "false", "sleep", "mount", "stat",
    "echo", "touch",    "mkdir",    "chmod",  "env",   "pwd",   "head",  "grep",  "dd",
    "wc",   "hostname", "readlink", "umount", "mknod", "kill",  "tty",   "stty",  "ulimit",
    "tail", "test",     "rm",       "rmdir",  "cut",   "tr"};

base::Json DefaultSpec() {
  base::Json caps = {"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
                     "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
                     "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
                     "CAP_KILL",    "CAP_AUDIT_WRITE"};
  base::Json spec = base::Json::parse(R"({
    "ociVersion": "1.0.2",
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"],
      "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "noNewPrivileges": true},
    "root": {"path": "rootfs"},
    "hostname": "gantry-test",
    "mounts": [
      {"destination": "/proc", "type": "proc", "source": "proc",
       "options": ["nosuid", "noexec", "nodev"]},
      {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
       "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
      {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
       "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
      {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
       "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
      {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
       "options": ["nosuid", "noexec", "nodev"]},
      {"destination": "/sys", "type": "sysfs", "source": "sysfs",
       "options": ["nosuid", "noexec", "nodev", "ro"]},
      {"destination": "/run", "type": "tmpfs", "source": "tmpfs",
       "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}],
    "linux": {
      "resources": {"devices": [{"allow": false, "access": "rwm"}]},
      "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                     {"type": "network"}],
      "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                      "/sys/firmware", "/proc/scsi"],
      "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]}
  })");
  for (const char* set : {"bounding", "effective", "permitted"}) {
    spec["process"]["capabilities"][set] = caps;
  }
  return spec;
}

}  // namespace

void WriteTestFile(const std::string& path, const std::string& text, mode_t mode) {
  ASSERT_TRUE(base::WriteFile(path, text, mode).ok()) << path;
  ASSERT_EQ(chmod(path.c_str(), mode), 0);
}

TestBundle::TestBundle() : spec(DefaultSpec()) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  id_ = absl::StrCat("t", getpid(), "-", base::RandomHex(4));
  dir_ = absl::StrCat("/tmp/gantry-oci-test-", id_);
  std::filesystem::create_directories(rootfs() + "/bin");
  for (const char* name : {"etc", "tmp", "proc", "sys", "dev", "run"}) {
    std::filesystem::create_directories(rootfs() + "/" + name);
  }
  std::filesystem::copy_file("/bin/busybox", rootfs() + "/bin/busybox");
  for (const char* name : kApplets) {
    std::filesystem::create_symlink("busybox", rootfs() + "/bin/" + name);
  }
  WriteTestFile(rootfs() + "/etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n");
  options.id = id_;
  options.ns = absl::StrCat("gantry-oci-test-", getpid());
  options.bundle = dir_;
}

TestBundle::~TestBundle() {
  Delete();
  base::UnmountAll(rootfs()).IgnoreError();
  base::RemoveTree(dir_).IgnoreError();
  auto controllers = base::ListDir("/sys/fs/cgroup");
  for (const std::string& name : controllers.ok() ? *controllers : std::vector<std::string>()) {
    rmdir(absl::StrCat("/sys/fs/cgroup/", name, "/", options.ns).c_str());
  }
  rmdir(absl::StrCat("/sys/fs/cgroup/", options.ns).c_str());
}

void TestBundle::UseUserNamespace() {
  base::Json map = {{"containerID", 0}, {"hostID", 100000}, {"size", 65536}};
  spec["linux"]["namespaces"].push_back({{"type", "user"}});
  spec["linux"]["uidMappings"] = {map};
  spec["linux"]["gidMappings"] = {map};
}

void TestBundle::Script(const std::string& script) {
  spec["process"]["args"] = {"sh", "-c", script};
}

absl::Status TestBundle::Create() {
  auto parsed = ParseSpec(spec.dump());
  if (!parsed.ok()) return parsed.status();
  auto pipe = base::MakePipe();
  if (!pipe.ok()) return pipe.status();
  options.io = {-1, pipe->write.get(), pipe->write.get()};
  reaped_ = false;
  auto made = Container::Create(options, *parsed, &init_);
  if (!made.ok()) return made.status();
  container_ = *std::move(made);
  output_ = std::move(pipe->read);
  return absl::OkStatus();
}

std::string TestBundle::Drain() {
  std::string text;
  char buffer[4096];
  while (true) {
    pollfd wait = {output_.get(), POLLIN, 0};
    if (poll(&wait, 1, 10000) <= 0) {
      ADD_FAILURE() << "the container did not close its output in 10 s: " << text;
      return text;
    }
    ssize_t n = read(output_.get(), buffer, sizeof buffer);
    if (n <= 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
}

int TestBundle::Reap(pid_t pid) {
  base::UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd wait = {pidfd.get(), POLLIN, 0};
  if (pidfd.valid() && poll(&wait, 1, 10000) <= 0) {
    ADD_FAILURE() << "process " << pid << " did not end in 10 s";
    kill(pid, SIGKILL);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

RunOutcome TestBundle::Run() {
  RunOutcome outcome;
  outcome.status = Create();
  if (!outcome.status.ok()) return outcome;
  outcome.status = container_->Start();
  outcome.out = Drain();
  outcome.exit_status = Reap(init_.pid);
  reaped_ = true;
  Delete();
  return outcome;
}

RunOutcome TestBundle::ExecScript(const std::string& script, base::Json process) {
  RunOutcome outcome;
  if (process.is_null()) process = spec["process"];
  process["args"] = {"sh", "-c", script};
  auto parsed = ParseProcess(process.dump());
  auto pipe = base::MakePipe();
  ExecOptions exec;
  exec.io = {-1, pipe->write.get(), pipe->write.get()};
  if (!parsed.ok()) {
    outcome.status = parsed.status();
    return outcome;
  }
  auto made = container_->Exec(*parsed, exec);
  pipe->write.Reset();
  outcome.status = made.status();
  if (!made.ok()) return outcome;
  std::swap(output_, pipe->read);
  outcome.out = Drain();
  std::swap(output_, pipe->read);
  outcome.exit_status = Reap(made->pid);
  return outcome;
}

void TestBundle::Delete() {
  if (container_ == nullptr) return;
  if (!reaped_) {
    container_->Kill(SIGKILL, true).IgnoreError();
    kill(init_.pid, SIGKILL);
    Reap(init_.pid);
    reaped_ = true;
  }
  absl::Status status = container_->Delete();
  EXPECT_TRUE(status.ok()) << status;
  container_.reset();
}

}  // namespace gantry::oci
