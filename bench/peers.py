"""The runtimes that bench/compare measures: how each is started, fed with images, and asked to do things."""
import ctypes, json, os, re, shutil, subprocess, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IMAGE = "docker.io/library/busybox:latest"


def sh(*argv, check=True, env=None, timeout=900, input=None):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=timeout, input=input)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-800:]}")
    return done.stdout.decode(errors="replace")


# A private mount namespace with the sid root as "/", in which /proc, /sys, /dev, /run and the working
# directory are the host's.
ENTER_SID = """root=$1 work=$2; shift 2
mount --bind "$root" "$root"
for d in /proc /sys /dev /run "$work"; do mkdir -p "$root$d"; mount --rbind $d "$root$d"; done
cd "$root"; mkdir -p .old; pivot_root . .old; umount -l /.old; cd /
export PATH=/usr/sbin:/usr/bin
exec "$@"
"""


def enter_sid(sid, work):
    return ["/usr/bin/unshare", "-m", "/bin/sh", "-ec", ENTER_SID, "sh", sid, work]


class CpuGroup:
    """CPU time of everything started through it, and of its children (cgroup v1 cpuacct or v2)."""

    def __init__(self, name):
        v1 = "/sys/fs/cgroup/cpuacct"
        self.v1 = os.path.isdir(v1)
        self.path = os.path.join(v1 if self.v1 else "/sys/fs/cgroup", f"gantry-bench-{os.getpid()}-{name}")
        os.makedirs(self.path, exist_ok=True)

    def enter(self):  # in the child, between fork and exec
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write("0")

    def seconds(self):
        if self.v1:
            return int(open(self.path + "/cpuacct.usage").read()) / 1e9
        return int(re.search(r"usage_usec (\d+)", open(self.path + "/cpu.stat").read())[1]) / 1e6

    def remove(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


class Peer:
    """A runtime under test. Commands are argv lists; `serial` makes ids unique."""

    def __init__(self, name, work, bindir):
        self.name, self.work, self.bindir = name, os.path.join(work, name), bindir
        os.makedirs(self.work, exist_ok=True)
        self.cpu = CpuGroup(name)
        self.daemon = None
        self.serial = 0
        self.sid = None
        self.env = dict(os.environ)

    def tool(self, name):
        return os.path.join(self.bindir, name)

    def program(self, name):  # a daemon, as seen from where it runs
        return "/usr/sbin/dockerd" if name == "dockerd" else "/usr/bin/" + name

    def spawn_daemon(self, argv, ready):
        if self.sid:  # sid's programs want sid's libraries; "/" must be a mount for pivot_root of the containers
            argv = enter_sid(self.sid, os.path.dirname(self.work)) + argv
        log = open(os.path.join(self.work, "daemon.log"), "w")
        self.daemon = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env,
                                       preexec_fn=self.cpu.enter)
        for _ in range(300):
            if subprocess.run(ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not start; see {log.name}")

    def run(self, argv):
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              env=self.env, preexec_fn=self.enter, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")

    def enter(self):  # in the child of each measured command, before exec
        self.cpu.enter()

    def timed(self, argv):
        cpu, wall = self.cpu.seconds(), time.monotonic()
        self.run(argv)
        return time.monotonic() - wall, self.cpu.seconds() - cpu

    def next_id(self):
        self.serial += 1
        return f"b{self.serial}"

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.cpu.remove()

    # What a peer can do; None: it cannot.
    start = load = run_rm = exec_true = start_idle = stop_idle = pull = remove_image = shim_pids = None


class Ctr(Peer):
    """containerd, and whatever is reached with ctr."""

    def start(self):
        self.sock = os.path.join(self.work, "c.sock")
        config = os.path.join(self.work, "config.toml")
        with open(config, "w") as f:
            f.write('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
                    '"io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n'
                    f'[ttrpc]\n  address = "{self.sock}.ttrpc"\n')
        self.ctr = [self.tool("ctr"), "-a", self.sock]
        self.spawn_daemon([self.program("containerd"), "-c", config, "--root", self.work + "/root", "--state", self.work + "/state",
                           "-a", self.sock, "-l", "warn"], self.ctr + ["version"])

    def load(self, tar):
        sh(*self.ctr, "image", "import", tar, env=self.env)

    def run_rm(self):
        return self.ctr + ["run", "--rm", IMAGE, self.next_id(), "true"]

    def exec_true(self, target):
        return self.ctr + ["task", "exec", "--exec-id", self.next_id(), target, "true"]

    def start_idle(self):
        name = self.next_id()
        self.run(self.ctr + ["run", "-d", IMAGE, name, "sleep", "3600"])
        return name

    def stop_idle(self, name):
        sh(*self.ctr, "task", "rm", "-f", name, env=self.env)
        sh(*self.ctr, "container", "rm", name, env=self.env)

    def pull(self, ref):
        return self.ctr + ["image", "pull", "--plain-http", ref]

    def remove_image(self, ref):
        sh(*self.ctr, "image", "rm", "--sync", ref, env=self.env)

    def shim_pids(self):
        return find_processes("containerd-shim", self.sock)


class Gantry(Peer):
    def start(self):
        self.sock = os.path.join(self.work, "g.sock")
        self.ctl = [self.tool("gantryctl"), "-a", self.sock]
        self.spawn_daemon([self.tool("gantryd"), "--root", self.work + "/root", "--state", self.work + "/state", "--address", self.sock,
                           "--log-level", "warn"], self.ctl + ["version"])

    def load(self, tar):
        sh(*self.ctl, "import", tar)

    def run_rm(self):
        return self.ctl + ["run", "--rm", IMAGE, "true"]

    def exec_true(self, target):
        return self.ctl + ["exec", target, "true"]

    def start_idle(self):
        name = self.next_id()
        self.run(self.ctl + ["run", "-d", "--name", name, IMAGE, "sleep", "3600"])
        return name

    def stop_idle(self, name):
        sh(*self.ctl, "rm", "-f", name)

    def pull(self, ref):
        return self.ctl + ["pull", ref]

    def remove_image(self, ref):
        sh(*self.ctl, "rmi", ref)

    def shim_pids(self):
        return find_processes("gantry-shim", "")


class Docker(Peer):
    def start(self):
        self.sock = os.path.join(self.work, "d.sock")
        self.cli = [self.tool("docker"), "-H", "unix://" + self.sock]
        self.spawn_daemon([self.program("dockerd"), "-H", "unix://" + self.sock, "--data-root", self.work + "/root",
                           "--exec-root", self.work + "/exec", "-p", self.work + "/pid", "--bridge", "none", "--iptables=false",
                           "--ip6tables=false", "--log-level", "error"], self.cli + ["version"])

    def load(self, tar):
        docker_tar = tar + ".docker"
        if not os.path.exists(docker_tar):
            sh("skopeo", "copy", "-q", "oci-archive:" + tar, "docker-archive:" + docker_tar + ":" + IMAGE)
        sh(*self.cli, "load", "-q", "-i", docker_tar, env=self.env)

    def run_rm(self):
        return self.cli + ["run", "--rm", "--network", "none", IMAGE, "true"]

    def exec_true(self, target):
        return self.cli + ["exec", target, "true"]

    def start_idle(self):
        name = self.next_id()
        self.run(self.cli + ["run", "-d", "--network", "none", "--name", name, IMAGE, "sleep", "3600"])
        return name

    def stop_idle(self, name):
        sh(*self.cli, "rm", "-f", name, env=self.env)

    def pull(self, ref):
        return self.cli + ["pull", "-q", ref]

    def remove_image(self, ref):
        sh(*self.cli, "rmi", "-f", ref, env=self.env)

    def shim_pids(self):
        return find_processes("containerd-shim", self.work)


class Crun(Peer):
    """The runtime alone on a prepared bundle: no daemon, no image, the same mounts and namespaces. It runs in a
    mount namespace in which the unified hierarchy of a hybrid host is hidden, which it refuses otherwise."""

    def start(self):
        self.bundle = os.path.join(self.work, "bundle")
        os.makedirs(self.bundle + "/rootfs/bin", exist_ok=True)
        shutil.copy("/bin/busybox", self.bundle + "/rootfs/bin/true")
        sh("runc", "spec", "--bundle", self.bundle)
        path = self.bundle + "/config.json"
        spec = json.load(open(path))
        spec["process"].update(terminal=False, args=["/bin/true"])
        spec["process"].pop("rlimits", None)
        json.dump(spec, open(path, "w"))
        self.daemon = subprocess.Popen(enter_sid(self.sid, os.path.dirname(self.work)) +
                                       ["sh", "-c", "umount -l /sys/fs/cgroup/unified 2>/dev/null; echo ready; exec sleep 36000"],
                                       stdout=subprocess.PIPE)
        self.daemon.stdout.readline()
        self.mount_ns = os.open(f"/proc/{self.daemon.pid}/ns/mnt", os.O_RDONLY)

    def enter(self):
        self.cpu.enter()
        if ctypes.CDLL(None).setns(self.mount_ns, 0x20000) != 0:
            raise OSError("setns")

    def load(self, tar):
        pass

    def run_rm(self):
        return ["/usr/bin/crun", "--root", "/run/gantry-bench-crun", "run", "--bundle", self.bundle, self.next_id()]


def find_processes(name, word):
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            argv = open(f"/proc/{pid}/cmdline").read()
            comm = open(f"/proc/{pid}/comm").read()
        except OSError:
            continue
        if (name in argv or comm.startswith(name[:15])) and word in argv:
            pids.append(int(pid))
    return pids


def memory(pid, field):
    try:
        return sum(int(n) for n in re.findall(rf"^{field}:\s+(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M))
    except OSError:
        return 0
