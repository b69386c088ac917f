#include "ctl/why.h"

#include <signal.h>

#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::ctl {
namespace {

using ::testing::HasSubstr;

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(100000);

KeptExit Make(int signal, uint32_t status) {
  KeptExit exit;
  exit.set_name("web");
  exit.set_image("busybox");
  exit.mutable_record()->set_container_id(
      "83dd7fb2c49b2aa3b088c86b8263661e11a976a999f6d4e840a8588106099cf1");
  exit.mutable_record()->set_signal(signal);
  exit.mutable_record()->set_exit_status(status);
  base::SetTimestamp(exit.mutable_record()->mutable_started_at(), kStart);
  base::SetTimestamp(exit.mutable_record()->mutable_exited_at(), kStart + absl::Seconds(5));
  return exit;
}
std::string Text(const KeptExit& exit) {
  return absl::StrJoin(ExplainExit(exit, kStart + absl::Minutes(3)), "\n");
}

TEST(WhyTest, EachCauseHasItsSentence) {
  struct Case {
    const char* name;
    void (*change)(gantry::shim::v1::ExitRecord*);
    int signal;
    uint32_t status;
    const char* want;
  };
  for (const Case& test : std::vector<Case>{
           {"well", [](auto*) {}, 0, 0, "all went well"},
           {"code", [](auto*) {}, 0, 3, "only it knows"},
           {"missing", [](auto*) {}, 0, 127, "missing program"},
           {"shell", [](auto*) {}, 0, 143, "ended by SIGTERM"},
           {"crash", [](auto*) {}, SIGSEGV, 139, "crashed"},
           {"abort", [](auto*) {}, SIGABRT, 134, "abort()"},
           {"seccomp", [](auto*) {}, SIGSYS, 159, "seccomp filter killed it"},
           {"stranger", [](auto*) {}, SIGKILL, 137, "does not tell which"},
           {"client",
            [](auto* r) {
              auto* sent = r->add_signals();
              sent->set_signal(SIGKILL);
              base::SetTimestamp(sent->mutable_at(), kStart + absl::Seconds(4));
            },
            SIGKILL, 137, "A client of the task API sent SIGKILL 1s before."},
           {"obeyed",
            [](auto* r) {
              auto* sent = r->add_signals();
              sent->set_signal(SIGTERM);
              base::SetTimestamp(sent->mutable_at(), kStart + absl::Seconds(4));
            },
            0, 0, "sent SIGTERM 1s before; the program then ended by itself."},
           {"oom",
            [](auto* r) {
              r->mutable_out_of_memory()->set_kills(1);
              r->mutable_out_of_memory()->set_victim("dd");
              r->mutable_out_of_memory()->set_victim_pid(7);
              r->mutable_out_of_memory()->set_limit_bytes(64 << 20);
            },
            SIGKILL, 137,
            "OOM killer ended 1 of its processes (dd, process 7) because the container "
            "reached its memory limit of 64"},
           {"shim", [](auto* r) { r->set_shim_died(true); }, SIGKILL, 137, "Its shim died"},
           {"calls",
            [](auto* r) {
              auto* call = r->mutable_denied_calls()->add_calls();
              call->set_name("mkdir");
              call->set_action("logged");
              call->set_count(2);
              call->set_program("sh");
            },
            0, 1, "seccomp filter logged mkdir 2 times (by sh)."},
           {"pressure",
            [](auto* r) {
              r->mutable_pressure()->set_scope("cgroup");
              r->mutable_pressure()->set_memory_some(42);
            },
            0, 1, "waited for memory 42 % of the time"},
           {"log", [](auto* r) { r->set_dropped_log_records(9); }, 0, 1, "lacks 9 lines"}}) {
    KeptExit exit = Make(test.signal, test.status);
    test.change(exit.mutable_record());
    EXPECT_THAT(Text(exit), HasSubstr(test.want)) << test.name;
  }
}

TEST(WhyTest, TheFirstSentenceSaysWhoAndWhen) {
  EXPECT_THAT(Text(Make(SIGKILL, 137)), HasSubstr("web (83dd7fb2c49b, busybox) ended"));
  EXPECT_THAT(Text(Make(SIGKILL, 137)), HasSubstr("after 5s, by SIGKILL, with exit code 137."));
  KeptExit never = Make(SIGKILL, 137);
  never.mutable_record()->clear_started_at();
  EXPECT_THAT(Text(never), HasSubstr("before it was started"));
  // Names come from outside.
  KeptExit evil = Make(0, 0);
  evil.set_name("\x1b[2J");
  EXPECT_EQ(Text(evil).find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace gantry::ctl
