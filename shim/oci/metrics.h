#ifndef GANTRY_SHIM_OCI_METRICS_H_
#define GANTRY_SHIM_OCI_METRICS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gantry::oci {

// What the cgroups of a container say of it. One of the two shapes is filled, see Metrics::version.
// Names follow the kernel's files (and so the messages io.containerd.cgroups.v1 and v2.Metrics).

struct MemoryEntry {  // memory.* and memory.memsw.*, memory.kmem.*, memory.kmem.tcp.*
  bool present = false;
  uint64_t limit = 0, usage = 0, max = 0, failcnt = 0;
};
struct BlkioEntry {
  uint64_t major = 0, minor = 0;
  std::string op;      // "Read", "Write", "Sync", "Total", … empty where the file has none
  std::string device;  // "/dev/…", empty if unknown
  uint64_t value = 0;
};
struct HugetlbEntry {
  std::string page_size;
  uint64_t usage = 0, max = 0, failcnt = 0;
};
struct RdmaEntry {
  std::string device;
  uint32_t hca_handles = 0, hca_objects = 0;
};

struct MetricsV1 {
  std::vector<HugetlbEntry> hugetlb;
  bool has_pids = false;
  uint64_t pids_current = 0, pids_limit = 0;  // limit 0: none
  bool has_cpu = false;
  uint64_t cpu_total = 0, cpu_kernel = 0, cpu_user = 0;  // nanoseconds
  std::vector<uint64_t> cpu_per_cpu;
  uint64_t throttling_periods = 0, throttled_periods = 0, throttled_time = 0;
  bool has_memory = false;
  // memory.stat by the kernel's key: "cache", "total_rss", "hierarchical_memory_limit", …
  std::map<std::string, uint64_t> memory_stat;
  MemoryEntry usage, swap, kernel, kernel_tcp;
  bool has_oom = false;
  uint64_t oom_kill_disable = 0, under_oom = 0, oom_kill = 0;
  bool has_blkio = false;
  std::vector<BlkioEntry> io_service_bytes, io_serviced, io_queued, io_service_time, io_wait_time,
      io_merged, io_time, sectors;
  std::vector<RdmaEntry> rdma_current, rdma_limit;
};

struct MetricsV2 {
  bool has_pids = false;
  uint64_t pids_current = 0, pids_limit = 0;
  bool has_cpu = false;
  std::map<std::string, uint64_t> cpu_stat;  // "usage_usec", "nr_throttled", …
  bool has_memory = false;
  std::map<std::string, uint64_t> memory_stat;    // "anon", "file", …
  std::map<std::string, uint64_t> memory_events;  // "low", "high", "max", "oom", "oom_kill"
  uint64_t memory_usage = 0, memory_limit = 0, memory_max_usage = 0;
  uint64_t swap_usage = 0, swap_limit = 0, swap_max_usage = 0;
  struct Io {
    uint64_t major = 0, minor = 0, rbytes = 0, wbytes = 0, rios = 0, wios = 0;
  };
  bool has_io = false;
  std::vector<Io> io;
  std::vector<HugetlbEntry> hugetlb;  // usage, max (the limit), failcnt
  std::vector<RdmaEntry> rdma_current, rdma_limit;
};

struct Metrics {
  int version = 1;  // of cgroups: 1 (hybrid included) or 2
  MetricsV1 v1;
  MetricsV2 v2;
};

// What is worth keeping of a container that has ended; a few small files of its cgroups.
struct Remains {
  // As the kernel's log names it ("/NS/ID"); empty: no memory controller, and no figures.
  std::string memory_cgroup;
  uint64_t memory_peak = 0;   // bytes; 0: not known
  uint64_t memory_limit = 0;  // bytes; 0: none
  uint64_t oom_kills = 0;
  std::string pressure_dir;  // has cpu.pressure and its like; empty: the kernel has none per cgroup
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_METRICS_H_
