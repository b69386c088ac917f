#include "shim/oci/hooks.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

std::vector<std::string> HookArgs(const Hook& hook) {
  return hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
}

std::vector<std::string> OwnEnvironment() {
  std::vector<std::string> env;
  for (char** entry = environ; *entry != nullptr; ++entry) env.emplace_back(*entry);
  return env;
}

absl::Status RunHook(const Hook& hook, const std::string& bundle, const std::string& state) {
  base::SpawnOptions options;
  options.argv = HookArgs(hook);
  options.argv[0] = hook.path;
  options.env = hook.env;
  options.inherit_env = hook.env.empty();
  options.cwd = bundle;
  absl::Duration timeout =
      hook.timeout_seconds > 0 ? absl::Seconds(hook.timeout_seconds) : absl::InfiniteDuration();
  GANTRY_ASSIGN_OR_RETURN(base::RunResult result,
                          base::RunProcess(std::move(options), state, timeout, 64 << 10));
  if (result.exit.code == 0) return absl::OkStatus();
  return absl::UnknownError(absl::StrCat("it ended with status ", result.exit.code, ", printing \"",
                                         absl::StripAsciiWhitespace(result.out + result.err),
                                         "\""));
}

}  // namespace

absl::Status RunHostHooks(const std::vector<Hook>& hooks, absl::string_view kind,
                          const std::string& bundle, const std::string& state) {
  for (const Hook& hook : hooks) {
    GANTRY_RETURN_IF_ERROR(
        base::Annotate(RunHook(hook, bundle, state), absl::StrCat(kind, " hook ", hook.path)));
  }
  return absl::OkStatus();
}

std::vector<HookPlan> PlanHooks(const std::vector<Hook>& hooks, const std::string& cwd) {
  std::vector<HookPlan> plans;
  for (const Hook& hook : hooks) {
    HookPlan plan;
    plan.path = hook.path;
    plan.argv = CStrings(HookArgs(hook));
    plan.env = CStrings(hook.env.empty() ? OwnEnvironment() : hook.env);
    plan.cwd = cwd;
    plan.timeout_seconds = hook.timeout_seconds;
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace gantry::oci
