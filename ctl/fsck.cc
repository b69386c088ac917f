#include "ctl/fsck.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "ctl/output.h"
#include "gantry/services/maintenance/v1/maintenance.methods.h"

namespace gantry::ctl {
namespace {

namespace maintenance = gantry::services::maintenance::v1;

base::OrderedJson ToJson(const maintenance::CheckResponse& report) {
  base::OrderedJson json = {{"counts", base::OrderedJson::object()},
                            {"findings", base::OrderedJson::array()}};
  for (const auto& count : report.counts()) json["counts"][count.kind()] = count.seen();
  for (const auto& finding : report.findings()) {
    json["findings"].push_back({{"kind", finding.kind()},
                                {"object", finding.object()},
                                {"problem", finding.problem()},
                                {"repaired", finding.repaired()},
                                {"remedy", finding.remedy()}});
  }
  return json;
}

void PrintText(const maintenance::CheckResponse& report) {
  std::string counts;
  for (const auto& count : report.counts()) {
    absl::StrAppend(&counts, counts.empty() ? "" : ", ", count.seen(), " ", count.kind(),
                    count.seen() == 1 ? "" : "s");
  }
  PrintOut(absl::StrCat("looked at ", counts, "\n"));
  for (const auto& finding : report.findings()) {
    PrintOut(absl::StrCat(finding.kind(), " ", Printable(finding.object()), ": ",
                          Printable(finding.problem()), "\n    ",
                          finding.repaired() ? "mended" : Printable(finding.remedy()), "\n"));
  }
  if (report.findings().empty()) PrintOut("all in order\n");
}

}  // namespace

absl::StatusOr<int> Fsck(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 0, 0, "none"));
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  maintenance::CheckRequest request;
  request.set_repair(call.args.Bool("repair"));
  request.set_verify_content(call.args.Bool("verify"));
  request.set_include_young(call.args.Bool("young"));
  maintenance::CheckResponse report;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(maintenance::MaintenanceMethods::kCheck, request, &report));
  if (format == Format::kJson) {
    PrintOut(DumpOrdered(ToJson(report)) + "\n");
  } else {
    PrintText(report);
  }
  for (const auto& finding : report.findings()) {
    if (!finding.repaired()) return kExitFailure;
  }
  return 0;
}

}  // namespace gantry::ctl
