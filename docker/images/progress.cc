#include "docker/images/progress.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/image.h"
#include "docker/images/image_store.h"

namespace gantry::docker {
namespace {

using base::OrderedJson;

// "1.234MB": four digits that count, as Docker's units are printed.
std::string HumanSize(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double size = static_cast<double>(bytes);
  size_t unit = 0;
  while (size >= 1000.0 && unit + 1 < std::size(kUnits)) {
    size /= 1000.0;
    ++unit;
  }
  return absl::StrFormat("%.4g%s", size, kUnits[unit]);
}

std::string Bar(int64_t current, int64_t total) {
  if (total <= 0) return absl::StrFormat("%8s", HumanSize(current));
  const int64_t half = std::clamp<int64_t>(current * 50 / total, 0, 50);
  std::string bar(static_cast<size_t>(half), '=');
  bar += '>';
  bar.resize(51, ' ');
  return absl::StrFormat("[%s] %8s/%s", bar, HumanSize(std::min(current, total)), HumanSize(total));
}

}  // namespace

OrderedJson StatusLine(absl::string_view status, absl::string_view id) {
  OrderedJson line = {{"status", std::string(status)}};
  if (!id.empty()) line["id"] = std::string(id);
  return line;
}

OrderedJson ProgressLine(absl::string_view status, absl::string_view id, int64_t current,
                         int64_t total) {
  OrderedJson detail = OrderedJson::object();
  if (current > 0) detail["current"] = current;
  if (total > 0) detail["total"] = total;
  OrderedJson line = {{"status", std::string(status)}, {"progressDetail", detail}};
  if (!detail.empty()) line["progress"] = Bar(current, total);
  if (!id.empty()) line["id"] = std::string(id);
  return line;
}

OrderedJson ErrorLine(absl::string_view message) {
  return {{"errorDetail", {{"message", std::string(message)}}}, {"error", std::string(message)}};
}

void PullProgress::On(const client::Progress& report) {
  if (!client::IsLayerType(report.desc().media_type())) return;
  const std::string& digest = report.desc().digest();
  const std::string id = ShortId(digest);
  State& state = layers_[digest];
  if (state == State::kDone) return;
  const int64_t total = report.total();
  if (report.event() == "already exists") {
    emit_(ProgressLine("Already exists", id, 0, 0));
    state = State::kDone;
    return;
  }
  if (state == State::kNew) {
    emit_(ProgressLine("Pulling fs layer", id, 0, 0));
    state = State::kWaiting;
  }
  if (report.event() == "downloading") {
    emit_(ProgressLine("Downloading", id, report.progress(), total));
    state = State::kLoading;
  } else if (report.event() == "complete") {
    // gantryd unpacks while it downloads and verifies at the end.
    emit_(ProgressLine("Verifying Checksum", id, 0, 0));
    emit_(ProgressLine("Download complete", id, 0, 0));
    emit_(ProgressLine("Extracting", id, total, total));
    emit_(ProgressLine("Pull complete", id, 0, 0));
    state = State::kDone;
    fetched_ = true;
  }
}

void PushProgress::On(const client::Progress& report) {
  if (!client::IsLayerType(report.desc().media_type())) return;
  const std::string& digest = report.desc().digest();
  const std::string id = ShortId(digest);
  int& stage = layers_[digest];
  if (stage == 2) return;
  if (stage == 0) {
    emit_(ProgressLine("Preparing", id, 0, 0));
    stage = 1;
  }
  if (report.event() == "uploading") {
    emit_(ProgressLine("Pushing", id, report.progress(), report.total()));
  } else if (report.event() == "already exists") {
    emit_(ProgressLine("Layer already exists", id, 0, 0));
    stage = 2;
  } else if (report.event() == "complete") {
    emit_(ProgressLine("Pushed", id, 0, 0));
    stage = 2;
  }
}

}  // namespace gantry::docker
