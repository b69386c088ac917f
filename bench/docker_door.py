"""The Docker door beside dockerd: what `docker` commands cost against each of the two.

Each daemon lives in a network namespace of its own, joined to ours by a veth, so that bridges and rules stay
in it and published ports are reached from outside as another machine would.
"""
import os, re, subprocess, statistics, time
from concurrent.futures import ThreadPoolExecutor

from peers import IMAGE, TOP, Docker, memory, sh

LOAD_IMAGE = "localhost/netload:latest"


class Networked(Docker):
    """A Docker engine in a network namespace of its own."""

    number = 0

    def make_namespace(self):
        Networked.number += 1
        self.netns = f"gbench{os.getpid()}-{Networked.number}"
        self.device = f"gb{os.getpid() % 100000}x{Networked.number}"
        subnet = f"198.18.{Networked.number}"
        self.inside, outside = subnet + ".2", subnet + ".1"
        sh("ip", "netns", "add", self.netns)
        sh("ip", "link", "add", self.device, "type", "veth", "peer", "name", "up0", "netns", self.netns)
        sh("ip", "addr", "add", outside + "/24", "dev", self.device)
        sh("ip", "link", "set", self.device, "up")
        for argv in (["addr", "add", self.inside + "/24", "dev", "up0"], ["link", "set", "up0", "up"], ["link", "set", "lo", "up"],
                     ["route", "add", "default", "via", outside]):
            sh("ip", "-n", self.netns, *argv)

    def inside_namespace(self, argv):
        return ["nsenter", "--net=/run/netns/" + self.netns] + argv

    def stop(self):
        super().stop()
        for argv in (["ip", "link", "del", self.device], ["ip", "netns", "del", self.netns]):
            subprocess.run(argv, stderr=subprocess.DEVNULL)

    def run_rm(self):
        return self.cli + ["run", "--rm", IMAGE, "true"]

    def run_rm_without_network(self):
        return self.cli + ["run", "--rm", "--network", "none", IMAGE, "true"]

    def start_idle(self):
        name = self.next_id()
        self.run(self.cli + ["run", "-d", "--name", name, IMAGE, "sleep", "3600"])
        return name

    def remove_all(self, names):
        for i in range(0, len(names), 50):
            sh(*self.cli, "rm", "-f", *names[i:i + 50], env=self.env)


class Dockerd(Networked):
    def spawn_daemon(self, argv, ready):
        super().spawn_daemon(self.inside_namespace(argv), ready)

    def start(self):
        self.make_namespace()
        self.sock = os.path.join(self.work, "d.sock")
        self.cli = [self.tool("docker"), "-H", "unix://" + self.sock]
        self.spawn_daemon([self.program("dockerd"), "-H", "unix://" + self.sock, "--data-root", self.work + "/root",
                           "--exec-root", self.work + "/exec", "-p", self.work + "/pid", "--log-level", "error"], self.cli + ["version"])

    def memory_kb(self):
        return memory(self.daemon.pid, "Rss")


class GantryDocker(Networked):
    def __init__(self, name, work, bindir, gantry_bin):
        super().__init__(name, work, bindir)
        self.gantry_bin = gantry_bin

    def start(self):
        self.make_namespace()
        gantry_sock, self.sock = os.path.join(self.work, "g.sock"), os.path.join(self.work, "d.sock")
        ctl = [self.gantry_bin + "/gantryctl", "-a", gantry_sock, "version"]
        self.cli = [self.tool("docker"), "-H", "unix://" + self.sock]
        sid, self.sid = self.sid, None
        self.spawn_daemon(self.inside_namespace([self.gantry_bin + "/gantryd", "--root", self.work + "/root", "--state", self.work + "/state",
                                                 "--address", gantry_sock, "--log-level", "warn"]), ctl)
        self.supervisor = self.daemon
        self.spawn_daemon(self.inside_namespace([self.gantry_bin + "/gantry-docker", "--gantryd", gantry_sock, "-H", "unix://" + self.sock]),
                          self.cli + ["version"])
        self.sid = sid

    def stop(self):
        if self.daemon and self.daemon is not self.supervisor:
            self.daemon.terminate()
            self.daemon.wait(20)
        self.daemon = self.supervisor
        super().stop()

    def memory_kb(self):
        return memory(self.daemon.pid, "Rss")


def median_ms(peer, argv, runs):
    """Of a command's wall clock; the first run does not count."""
    return 1000 * statistics.median([peer.timed(argv)[0] for _ in range(runs + 1)][1:])


def measure_docker_run(peers, args, alternate):
    return alternate(peers, args.runs, lambda p: p.timed(p.run_rm()))


def measure_docker_run_without_network(peers, args, alternate):
    return alternate(peers, args.runs, lambda p: p.timed(p.run_rm_without_network()))


def measure_docker_exec(peers, args, alternate):
    targets = {p.name: p.start_idle() for p in peers}
    try:
        return alternate(peers, args.runs, lambda p: p.timed(p.exec_true(targets[p.name])))
    finally:
        for p in peers:
            p.stop_idle(targets[p.name])


def measure_docker_ps(peers, args, _):
    """`docker ps -a` with none and with args.many containers (created, not started)."""
    result = {}
    for peer in peers:
        empty = median_ms(peer, peer.cli + ["ps", "-a"], args.runs)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: sh(*peer.cli, "create", IMAGE, "true", env=peer.env).strip(), range(args.many)))
        result[peer.name] = {"full_ms": median_ms(peer, peer.cli + ["ps", "-a"], args.runs), "empty_ms": empty}
        peer.remove_all(made)
    return result


def measure_docker_logs(peers, args, _):
    """Seconds for `docker logs` of args.log_mb of lines."""
    result = {}
    lines = args.log_mb * 1000000 // 100
    for peer in peers:
        name = peer.next_id()
        peer.run(peer.cli + ["run", "--name", name, "-d", IMAGE, "sh", "-c", f"yes {'x' * 99} | head -n {lines}"])
        sh(*peer.cli, "wait", name, env=peer.env)
        start = time.monotonic()
        counted = subprocess.run(peer.cli + ["logs", name], stdout=subprocess.PIPE, env=peer.env)
        seconds = time.monotonic() - start
        if len(counted.stdout) != lines * 100:
            raise RuntimeError(f"{peer.name}: {len(counted.stdout)} bytes of log instead of {lines * 100}")
        result[peer.name] = {"seconds": seconds}
        peer.stop_idle(name)
    return result


def measure_docker_published(peers, args, _):
    """Seconds until args.published containers, each with a port, run; eight clients."""
    result = {}
    for peer in peers:
        names = [peer.next_id() for _ in range(args.published)]
        jobs = [peer.cli + ["run", "-d", "--name", n, "-p", f"{20000 + i}:80", IMAGE, "sleep", "3600"] for i, n in enumerate(names)]
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(peer.run, jobs))
        result[peer.name] = {"seconds": time.monotonic() - start}
        peer.remove_all(names)
    return result


def measure_docker_traffic(peers, args, _):
    """Through a published port from outside, and between two containers of one network."""
    result = {}
    netload = args.bin + "/netload"
    for peer in peers:
        server = peer.next_id()
        sh(*peer.cli, "network", "create", "load", env=peer.env)
        peer.run(peer.cli + ["run", "-d", "--network", "load", "--name", server, "-p", "15001:5001", LOAD_IMAGE, "/netload", "serve", "5001"])
        address = re.search(r"\d+\.\d+\.\d+\.\d+", sh(*peer.cli, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                                                        server, env=peer.env))[0]
        time.sleep(0.5)

        def between(*argv):
            return float(sh(*peer.cli, "run", "--rm", "--network", "load", LOAD_IMAGE, "/netload", argv[0], address, "5001", *argv[1:], env=peer.env))
        try:
            result[peer.name] = {
                "published_mb_s": float(sh(netload, "send", peer.inside, "15001", "3")),
                "published_req_s": float(sh(netload, "ask", peer.inside, "15001", "3", "16")),
                "between_mb_s": between("send", "3"), "between_req_s": between("ask", "3", "16")}
        finally:
            peer.stop_idle(server)
            sh(*peer.cli, "network", "rm", "load", env=peer.env)
    return result


def measure_docker_memory(peers, args, _):
    time.sleep(2)
    return {p.name: {"frontend_rss_mb": p.memory_kb() / 1024} for p in peers}


TESTS = {
    "docker-memory": ("docker door: memory of the frontend, idle", measure_docker_memory),
    "docker-run": ("docker run --rm `true`, bridge network", measure_docker_run),
    "docker-run-none": ("docker run --rm `true`, no network", measure_docker_run_without_network),
    "docker-exec": ("docker exec `true`", measure_docker_exec),
    "docker-ps": ("docker ps -a with many containers", measure_docker_ps),
    "docker-logs": ("docker logs of a long log", measure_docker_logs),
    "docker-published": ("containers with published ports, in parallel", measure_docker_published),
    "docker-traffic": ("traffic of networks", measure_docker_traffic),
}


def make_peers(args, sid_bin):
    peers = [GantryDocker("gantry", os.path.join(args.work, "door"), sid_bin, args.bin),
             Dockerd("dockerd", os.path.join(args.work, "door"), sid_bin)]
    peers[1].sid = args.sid
    return peers


def load_images(peers, args):
    root = args.work + "/netload-root"
    os.makedirs(root)
    sh("cp", args.bin + "/netload", root)
    sh(TOP + "/tests/images/make-image", args.work + "/netload.tar", LOAD_IMAGE, root)
    for tar, name in ((args.work + "/busybox.tar", IMAGE), (args.work + "/netload.tar", LOAD_IMAGE)):
        docker_tar = tar + ".docker"
        if not os.path.exists(docker_tar):
            sh("skopeo", "copy", "-q", "oci-archive:" + tar, "docker-archive:" + docker_tar + ":" + name)
        for peer in peers:
            sh(*peer.cli, "load", "-q", "-i", docker_tar, env=peer.env)
