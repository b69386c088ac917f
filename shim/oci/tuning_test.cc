#include "shim/oci/tuning.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/spec.h"

namespace gantry::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TuningTest, ParsesNumberLists) {
  EXPECT_THAT(*ParseNumberList("", 64), ElementsAre());
  EXPECT_THAT(*ParseNumberList("0", 64), ElementsAre(1ul));
  EXPECT_THAT(*ParseNumberList("0-2, 5", 64), ElementsAre(0x27ul));
  EXPECT_THAT(*ParseNumberList("64", 128), ElementsAre(0ul, 1ul));
  for (const char* bad : {"x", "1-", "-1", "3-1", "64", "0-64", "1 2", "1-2-3"}) {
    EXPECT_FALSE(ParseNumberList(bad, 64).ok()) << bad;
  }
}

TEST(TuningTest, RefusesWhatContradictsItself) {
  struct Case {
    const char* member;  // of config.json
    const char* error;
  };
  const Case kCases[] = {
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_X"}})", "policy: unknown value"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_FIFO", "priority": 100}})",
       "priority: must be"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_OTHER", "priority": 1}})",
       "priority: belongs to"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_OTHER", "nice": 20}})", "nice"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_FIFO", "flags": ["X"]}})",
       "flags[0]: unknown value"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_RR", "runtime": 5}})",
       "belong to SCHED_DEADLINE"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_DEADLINE", "deadline": 5000}})",
       "runtime: must be given"},
      {R"("process": {"cwd": "/", "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 5000}})",
       "deadline: must be given"},
      {R"("process": {"cwd": "/", "scheduler":
          {"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000}})",
       "runtime: must not be longer"},
      {R"("process": {"cwd": "/", "scheduler":
          {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 4000, "period": 3000}})",
       "deadline: must not be longer"},
      {R"("process": {"cwd": "/", "scheduler":
          {"policy": "SCHED_DEADLINE", "runtime": 1023, "deadline": 4000}})",
       "runtime: must be from 1024"},
      {R"("process": {"cwd": "/", "ioPriority": {"class": "IOPRIO_CLASS_X"}})", "class: unknown"},
      {R"("process": {"cwd": "/", "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})",
       "priority: must be"},
      {R"("process": {"cwd": "/", "execCPUAffinity": {"initial": "2-1"}})", "goes backwards"},
      {R"("linux": {"memoryPolicy": {}})", "mode: unknown value"},
      {R"("linux": {"memoryPolicy": {"mode": "MPOL_BIND"}})", "nodes: needed"},
      {R"("linux": {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}})", "nodes: not allowed"},
      {R"("linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1024"}})", "out of range"},
      {R"("linux": {"memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0",
          "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}})",
       "exclude each other"},
      {R"("linux": {"memoryPolicy": {"mode": "MPOL_PREFERRED",
          "flags": ["MPOL_F_NUMA_BALANCING"]}})",
       "MPOL_F_NUMA_BALANCING is for"},
      {R"("linux": {"timeOffsets": {"realtime": {"secs": 1}}})", "only monotonic and boottime"},
      {R"("linux": {"timeOffsets": {"boottime": {"nanosecs": 1000000000}}})", "nanosecs"},
      {R"("linux": {"netDevices": {"eth/0": {}}})", "no name of a network device"},
      {R"("linux": {"netDevices": {"eth0": {"name": "sixteen-letters-"}}})", "no name of a"},
      {R"("linux": {"intelRdt": {"closID": "../x"}})", "closID: must be a plain name"}};
  for (const Case& c : kCases) {
    auto spec = ParseSpec(absl::StrCat("{", c.member, "}"));
    EXPECT_THAT(spec.status().message(), HasSubstr(c.error)) << c.member;
  }
}

}  // namespace
}  // namespace gantry::oci
