// What a container costs, by stage: `oci_bench [RUNS]`. Medians of wall time, and CPU time of
// engine and container together, of `true` from a busybox root with Docker-like settings.

#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <vector>

#include "absl/time/clock.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

struct Series {
  const char* name;
  std::vector<double> values;
  double Median() {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
  }
};

double CpuMilliseconds() {
  double total = 0;
  for (int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage;
    getrusage(who, &usage);
    for (const timeval& t : {usage.ru_utime, usage.ru_stime}) {
      total += static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
    }
  }
  return total;
}

// All calls of x86_64 but a few, for three architectures: the size of Docker's default profile.
base::Json BigProfile() {
  base::Json names = base::Json::array();
  for (int number = 0; number < 450; ++number) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
    if (name != nullptr && number % 10 != 9) names.push_back(name);
    free(name);
  }
  return {{"defaultAction", "SCMP_ACT_ERRNO"},
          {"architectures", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
          {"syscalls",
           {{{"names", names}, {"action", "SCMP_ACT_ALLOW"}},
            {{"names", {"execve", "exit_group", "exit", "read", "write", "capset", "prctl"}},
             {"action", "SCMP_ACT_ALLOW"}}}}};
}

int Bench(int runs) {
  TestBundle bundle;
  bundle.spec["linux"]["namespaces"].push_back({{"type", "cgroup"}});
  bundle.spec["linux"]["resources"]["pids"] = {{"limit", 100}};
  bundle.spec["linux"]["seccomp"] = BigProfile();
  bundle.spec["process"]["args"] = {"/bin/true"};
  std::string json = bundle.spec.dump();
  Series parse{"parse config.json", {}}, create{"create", {}}, start{"start", {}},
      wait{"wait for exit", {}}, remove{"delete", {}}, all{"all", {}};
  double cpu = 0;
  for (int i = -3; i < runs; ++i) {
    if (i == 0) cpu = CpuMilliseconds();
    absl::Time t0 = absl::Now();
    auto spec = ParseSpec(json);
    absl::Time t1 = absl::Now();
    CreatedProcess init;
    auto container = Container::Create(bundle.options, *spec, &init);
    if (!container.ok()) {
      fprintf(stderr, "create: %s\n", container.status().ToString().c_str());
      return 1;
    }
    absl::Time t2 = absl::Now();
    absl::Status started = (*container)->Start();
    absl::Time t3 = absl::Now();
    pollfd ready = {init.pidfd.get(), POLLIN, 0};
    poll(&ready, 1, 10000);
    waitpid(init.pid, nullptr, 0);
    absl::Time t4 = absl::Now();
    absl::Status deleted = (*container)->Delete();
    absl::Time t5 = absl::Now();
    if (!started.ok() || !deleted.ok()) {
      fprintf(stderr, "%s %s\n", started.ToString().c_str(), deleted.ToString().c_str());
      return 1;
    }
    if (i < 0) continue;
    parse.values.push_back(absl::ToDoubleMicroseconds(t1 - t0));
    create.values.push_back(absl::ToDoubleMicroseconds(t2 - t1));
    start.values.push_back(absl::ToDoubleMicroseconds(t3 - t2));
    wait.values.push_back(absl::ToDoubleMicroseconds(t4 - t3));
    remove.values.push_back(absl::ToDoubleMicroseconds(t5 - t4));
    all.values.push_back(absl::ToDoubleMicroseconds(t5 - t0));
  }
  cpu = CpuMilliseconds() - cpu;
  for (Series* series : {&parse, &create, &start, &wait, &remove, &all}) {
    printf("%-18s %8.0f us\n", series->name, series->Median());
  }
  printf("%-18s %8.0f us\n", "CPU per container", cpu * 1e3 / runs);
  return 0;
}

}  // namespace
}  // namespace gantry::oci

int main(int argc, char** argv) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  return gantry::oci::Bench(argc > 1 ? atoi(argv[1]) : 200);
}
