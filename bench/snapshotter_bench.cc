// What snapshot requests cost: snapshotter_bench [DIRECTORY] [ROUNDS]
//
// For each driver, and for the service above it with its database: median and 90th percentile of
// the wall clock, and CPU per call (of all threads, so what deletion in the background costs is in
// it).
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "services/snapshots/snapshots.h"
#include "snapshotter/registry.h"

namespace gantry {
namespace {

using services::Context;
using services::Snapshots;

double CpuMicroseconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  auto us = [](const timeval& t) { return t.tv_sec * 1e6 + t.tv_usec; };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

[[noreturn]] void Die(const absl::Status& status) {
  fprintf(stderr, "snapshotter_bench: %s\n", status.ToString().c_str());
  exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Die(status);
}

void Measure(const std::string& name, int rounds, const std::function<absl::Status(int)>& call) {
  std::vector<double> wall;
  double cpu = CpuMicroseconds();
  for (int i = 0; i < rounds; ++i) {
    absl::Time begin = absl::Now();
    Check(call(i));
    wall.push_back(absl::ToDoubleMicroseconds(absl::Now() - begin));
  }
  cpu = (CpuMicroseconds() - cpu) / rounds;
  std::sort(wall.begin(), wall.end());
  printf("%-44s %10.1f %10.1f %10.1f\n", name.c_str(), wall[wall.size() / 2],
         wall[wall.size() * 9 / 10], cpu);
}

void Fill(const std::string& dir, int files) {
  for (int i = 0; i < files; ++i) {
    std::string sub = absl::StrCat(dir, "/", i / 100);
    if (i % 100 == 0) mkdir(sub.c_str(), 0755);
    Check(base::WriteFile(absl::StrCat(sub, "/", i), "x"));
  }
}

void MeasureDriver(const std::string& name, const std::string& root, int rounds) {
  auto opened = snapshotter::OpenDriver(name, {root});
  if (!opened.ok()) Die(opened.status());
  snapshotter::Driver& driver = **opened;
  Check(driver.Create({"1"}));
  auto id = [](int i) { return absl::StrCat(i + 10); };
  Measure(name + " driver: create on a parent", rounds, [&](int i) {
    return driver.Create({id(i), {"1"}});
  });
  Measure(name + " driver: commit, counting 1 inode", rounds,
          [&](int i) { return driver.Commit(id(i), std::nullopt).status(); });
  Measure(name + " driver: remove (rename to trash)", rounds,
          [&](int i) { return driver.Remove(id(i)); });
  Measure(name + " driver: waiting for the trash", 1, [&](int) {
    driver.WaitForRemovals();
    return absl::OkStatus();
  });
  Check(driver.Create({"2"}));
  Fill(driver.Mounts({"2"})[0].source, 5000);
  Measure(name + " driver: commit, counting 5050 inodes", 5,
          [&](int) { return driver.Commit("2", std::nullopt).status(); });
  Measure(name + " driver: remove 5050 inodes", 1, [&](int) { return driver.Remove("2"); });
  Measure(name + " driver: deleting them", 1, [&](int) {
    driver.WaitForRemovals();
    return absl::OkStatus();
  });
}

void MeasureService(const std::string& name, const std::string& root, int rounds) {
  auto db = services::Db::Open(root + "/db");
  if (!db.ok()) Die(db.status());
  auto driver = snapshotter::OpenDriver(name, {root + "/store"});
  if (!driver.ok()) Die(driver.status());
  std::map<std::string, std::unique_ptr<services::Backend>> backends;
  backends.emplace(name, services::MakeLocalBackend(*std::move(driver)));
  auto opened = Snapshots::Open(db->get(), std::move(backends));
  if (!opened.ok()) Die(opened.status());
  Snapshots& s = **opened;
  const Context ctx{"bench", ""};
  std::string parent;
  for (int i = 0; i < 8; ++i) {
    Check(s.Prepare(ctx, name, "work", parent, {}).status());
    std::string layer = absl::StrCat("layer-", i);
    Check(s.Commit(ctx, name, layer, "work", {}));
    parent = layer;
  }
  auto key = [](int i) { return absl::StrCat("container-", i); };
  Measure(name + " service: prepare on 8 layers", rounds,
          [&](int i) { return s.Prepare(ctx, name, key(i), parent, {}).status(); });
  Measure(name + " service: mounts", rounds,
          [&](int i) { return s.Mounts(ctx, name, key(i)).status(); });
  Measure(name + " service: stat", rounds,
          [&](int i) { return s.Stat(ctx, name, key(i)).status(); });
  Measure(name + " service: commit (durable)", rounds / 2,
          [&](int i) { return s.Commit(ctx, name, absl::StrCat("committed-", i), key(i), {}); });
  Measure(name + " service: remove committed (durable)", rounds / 2,
          [&](int i) { return s.Remove(ctx, name, absl::StrCat("committed-", i)); });
  Measure(name + " service: remove active", rounds / 2,
          [&](int i) { return s.Remove(ctx, name, key(rounds / 2 + i)); });
}

}  // namespace
}  // namespace gantry

int main(int argc, char** argv) {
  std::string base = argc > 1 ? argv[1] : "/var/tmp";
  int rounds = argc > 2 ? std::max(2, atoi(argv[2])) : 400;
  std::string root = absl::StrCat(base, "/snapshotter-bench-", gantry::base::RandomHex(4));
  printf("%-44s %10s %10s %10s\n", "microseconds", "p50", "p90", "cpu");
  for (const std::string& name : gantry::snapshotter::DriverNames()) {
    gantry::MeasureDriver(name, absl::StrCat(root, "/", name), rounds);
    gantry::MeasureService(name, absl::StrCat(root, "/service-", name), rounds);
  }
  absl::Status removed = gantry::base::RemoveTree(root);
  if (!removed.ok()) gantry::Die(removed);
  return 0;
}
