#include "shim/metrics_message.h"

#include <map>
#include <string>
#include <vector>

#include "io/containerd/cgroups/v1.pb.h"
#include "io/containerd/cgroups/v2.pb.h"

namespace gantry::shim {
namespace {

namespace v1 = ::io::containerd::cgroups::v1;
namespace v2 = ::io::containerd::cgroups::v2;

// From the kernel's keys in memory.stat to the fields of a message.
template <typename Memory>
struct StatField {
  const char* key;
  void (Memory::*set)(uint64_t);
};

template <typename Memory, size_t n>
void SetFields(const std::map<std::string, uint64_t>& stat, const StatField<Memory> (&fields)[n],
               Memory* to) {
  for (const StatField<Memory>& field : fields) {
    if (auto found = stat.find(field.key); found != stat.end()) (to->*field.set)(found->second);
  }
}

void SetMemoryV1(const oci::MetricsV1& from, v1::MemoryStat* to) {
  using Memory = v1::MemoryStat;
  static constexpr StatField<Memory> kFields[] = {
      {"cache", &Memory::set_cache},
      {"rss", &Memory::set_rss},
      {"rss_huge", &Memory::set_rss_huge},
      {"mapped_file", &Memory::set_mapped_file},
      {"dirty", &Memory::set_dirty},
      {"writeback", &Memory::set_writeback},
      {"pgpgin", &Memory::set_pg_pg_in},
      {"pgpgout", &Memory::set_pg_pg_out},
      {"pgfault", &Memory::set_pg_fault},
      {"pgmajfault", &Memory::set_pg_maj_fault},
      {"inactive_anon", &Memory::set_inactive_anon},
      {"active_anon", &Memory::set_active_anon},
      {"inactive_file", &Memory::set_inactive_file},
      {"active_file", &Memory::set_active_file},
      {"unevictable", &Memory::set_unevictable},
      {"hierarchical_memory_limit", &Memory::set_hierarchical_memory_limit},
      {"hierarchical_memsw_limit", &Memory::set_hierarchical_swap_limit},
      {"total_cache", &Memory::set_total_cache},
      {"total_rss", &Memory::set_total_rss},
      {"total_rss_huge", &Memory::set_total_rss_huge},
      {"total_mapped_file", &Memory::set_total_mapped_file},
      {"total_dirty", &Memory::set_total_dirty},
      {"total_writeback", &Memory::set_total_writeback},
      {"total_pgpgin", &Memory::set_total_pg_pg_in},
      {"total_pgpgout", &Memory::set_total_pg_pg_out},
      {"total_pgfault", &Memory::set_total_pg_fault},
      {"total_pgmajfault", &Memory::set_total_pg_maj_fault},
      {"total_inactive_anon", &Memory::set_total_inactive_anon},
      {"total_active_anon", &Memory::set_total_active_anon},
      {"total_inactive_file", &Memory::set_total_inactive_file},
      {"total_active_file", &Memory::set_total_active_file},
      {"total_unevictable", &Memory::set_total_unevictable},
  };
  SetFields(from.memory_stat, kFields, to);
  auto entry = [](const oci::MemoryEntry& value, v1::MemoryEntry* out) {
    out->set_limit(value.limit);
    out->set_usage(value.usage);
    out->set_max(value.max);
    out->set_failcnt(value.failcnt);
  };
  if (from.usage.present) entry(from.usage, to->mutable_usage());
  if (from.swap.present) entry(from.swap, to->mutable_swap());
  if (from.kernel.present) entry(from.kernel, to->mutable_kernel());
  if (from.kernel_tcp.present) entry(from.kernel_tcp, to->mutable_kernel_tcp());
}

template <typename Repeated>
void AddBlkio(const std::vector<oci::BlkioEntry>& from, Repeated* to) {
  for (const oci::BlkioEntry& entry : from) {
    auto* out = to->Add();
    out->set_op(entry.op);
    out->set_device(entry.device);
    out->set_major(entry.major);
    out->set_minor(entry.minor);
    out->set_value(entry.value);
  }
}

template <typename Repeated>
void AddRdma(const std::vector<oci::RdmaEntry>& from, Repeated* to) {
  for (const oci::RdmaEntry& entry : from) {
    auto* out = to->Add();
    out->set_device(entry.device);
    out->set_hca_handles(entry.hca_handles);
    out->set_hca_objects(entry.hca_objects);
  }
}

void SetBlkio(const oci::MetricsV1& from, v1::BlkIOStat* to) {
  AddBlkio(from.io_service_bytes, to->mutable_io_service_bytes_recursive());
  AddBlkio(from.io_serviced, to->mutable_io_serviced_recursive());
  AddBlkio(from.io_queued, to->mutable_io_queued_recursive());
  AddBlkio(from.io_service_time, to->mutable_io_service_time_recursive());
  AddBlkio(from.io_wait_time, to->mutable_io_wait_time_recursive());
  AddBlkio(from.io_merged, to->mutable_io_merged_recursive());
  AddBlkio(from.io_time, to->mutable_io_time_recursive());
  AddBlkio(from.sectors, to->mutable_sectors_recursive());
}

v1::Metrics ToV1(const oci::MetricsV1& from) {
  v1::Metrics to;
  for (const oci::HugetlbEntry& entry : from.hugetlb) {
    auto* out = to.add_hugetlb();
    out->set_usage(entry.usage);
    out->set_max(entry.max);
    out->set_failcnt(entry.failcnt);
    out->set_pagesize(entry.page_size);
  }
  if (from.has_pids) {
    to.mutable_pids()->set_current(from.pids_current);
    to.mutable_pids()->set_limit(from.pids_limit);
  }
  if (from.has_cpu) {
    auto* usage = to.mutable_cpu()->mutable_usage();
    usage->set_total(from.cpu_total);
    usage->set_kernel(from.cpu_kernel);
    usage->set_user(from.cpu_user);
    for (uint64_t cpu : from.cpu_per_cpu) usage->add_per_cpu(cpu);
    auto* throttling = to.mutable_cpu()->mutable_throttling();
    throttling->set_periods(from.throttling_periods);
    throttling->set_throttled_periods(from.throttled_periods);
    throttling->set_throttled_time(from.throttled_time);
  }
  if (from.has_memory) SetMemoryV1(from, to.mutable_memory());
  if (from.has_oom) {
    to.mutable_memory_oom_control()->set_oom_kill_disable(from.oom_kill_disable);
    to.mutable_memory_oom_control()->set_under_oom(from.under_oom);
    to.mutable_memory_oom_control()->set_oom_kill(from.oom_kill);
  }
  if (from.has_blkio) SetBlkio(from, to.mutable_blkio());
  if (!from.rdma_current.empty() || !from.rdma_limit.empty()) {
    AddRdma(from.rdma_current, to.mutable_rdma()->mutable_current());
    AddRdma(from.rdma_limit, to.mutable_rdma()->mutable_limit());
  }
  return to;
}

void SetMemoryV2(const oci::MetricsV2& from, v2::Metrics* to) {
  using Memory = v2::MemoryStat;
  static constexpr StatField<Memory> kFields[] = {
      {"anon", &Memory::set_anon},
      {"file", &Memory::set_file},
      {"kernel_stack", &Memory::set_kernel_stack},
      {"slab", &Memory::set_slab},
      {"sock", &Memory::set_sock},
      {"shmem", &Memory::set_shmem},
      {"file_mapped", &Memory::set_file_mapped},
      {"file_dirty", &Memory::set_file_dirty},
      {"file_writeback", &Memory::set_file_writeback},
      {"anon_thp", &Memory::set_anon_thp},
      {"inactive_anon", &Memory::set_inactive_anon},
      {"active_anon", &Memory::set_active_anon},
      {"inactive_file", &Memory::set_inactive_file},
      {"active_file", &Memory::set_active_file},
      {"unevictable", &Memory::set_unevictable},
      {"slab_reclaimable", &Memory::set_slab_reclaimable},
      {"slab_unreclaimable", &Memory::set_slab_unreclaimable},
      {"pgfault", &Memory::set_pgfault},
      {"pgmajfault", &Memory::set_pgmajfault},
      {"workingset_refault", &Memory::set_workingset_refault},
      {"workingset_activate", &Memory::set_workingset_activate},
      {"workingset_nodereclaim", &Memory::set_workingset_nodereclaim},
      {"pgrefill", &Memory::set_pgrefill},
      {"pgscan", &Memory::set_pgscan},
      {"pgsteal", &Memory::set_pgsteal},
      {"pgactivate", &Memory::set_pgactivate},
      {"pgdeactivate", &Memory::set_pgdeactivate},
      {"pglazyfree", &Memory::set_pglazyfree},
      {"pglazyfreed", &Memory::set_pglazyfreed},
      {"thp_fault_alloc", &Memory::set_thp_fault_alloc},
      {"thp_collapse_alloc", &Memory::set_thp_collapse_alloc},
  };
  SetFields(from.memory_stat, kFields, to->mutable_memory());
  Memory* memory = to->mutable_memory();
  memory->set_usage(from.memory_usage);
  memory->set_usage_limit(from.memory_limit);
  memory->set_max_usage(from.memory_max_usage);
  memory->set_swap_usage(from.swap_usage);
  memory->set_swap_limit(from.swap_limit);
  memory->set_swap_max_usage(from.swap_max_usage);
  using Events = v2::MemoryEvents;
  static constexpr StatField<Events> kEvents[] = {{"low", &Events::set_low},
                                                  {"high", &Events::set_high},
                                                  {"max", &Events::set_max},
                                                  {"oom", &Events::set_oom},
                                                  {"oom_kill", &Events::set_oom_kill}};
  SetFields(from.memory_events, kEvents, to->mutable_memory_events());
}

void SetCpuV2(const oci::MetricsV2& from, v2::CPUStat* to) {
  using Cpu = v2::CPUStat;
  static constexpr StatField<Cpu> kFields[] = {
      {"usage_usec", &Cpu::set_usage_usec},     {"user_usec", &Cpu::set_user_usec},
      {"system_usec", &Cpu::set_system_usec},   {"nr_periods", &Cpu::set_nr_periods},
      {"nr_throttled", &Cpu::set_nr_throttled}, {"throttled_usec", &Cpu::set_throttled_usec}};
  SetFields(from.cpu_stat, kFields, to);
}

v2::Metrics ToV2(const oci::MetricsV2& from) {
  v2::Metrics to;
  if (from.has_pids) {
    to.mutable_pids()->set_current(from.pids_current);
    to.mutable_pids()->set_limit(from.pids_limit);
  }
  if (from.has_cpu) SetCpuV2(from, to.mutable_cpu());
  if (from.has_memory) SetMemoryV2(from, &to);
  for (const oci::MetricsV2::Io& entry : from.io) {
    auto* out = to.mutable_io()->add_usage();
    out->set_major(entry.major);
    out->set_minor(entry.minor);
    out->set_rbytes(entry.rbytes);
    out->set_wbytes(entry.wbytes);
    out->set_rios(entry.rios);
    out->set_wios(entry.wios);
  }
  for (const oci::HugetlbEntry& entry : from.hugetlb) {
    auto* out = to.add_hugetlb();
    out->set_current(entry.usage);
    out->set_max(entry.max);
    out->set_pagesize(entry.page_size);
  }
  if (!from.rdma_current.empty() || !from.rdma_limit.empty()) {
    AddRdma(from.rdma_current, to.mutable_rdma()->mutable_current());
    AddRdma(from.rdma_limit, to.mutable_rdma()->mutable_limit());
  }
  return to;
}

template <typename Message>
google::protobuf::Any Pack(const Message& message) {
  google::protobuf::Any any;
  any.set_type_url(message.GetTypeName());
  any.set_value(message.SerializeAsString());
  return any;
}

}  // namespace

google::protobuf::Any ToMetricsMessage(const oci::Metrics& metrics) {
  return metrics.version == 2 ? Pack(ToV2(metrics.v2)) : Pack(ToV1(metrics.v1));
}

}  // namespace gantry::shim
