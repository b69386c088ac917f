#include "services/metadata/gc.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"

namespace gantry::services {
namespace {

constexpr absl::string_view kRoot = "containerd.io/gc.root";
constexpr absl::string_view kExpire = "containerd.io/gc.expire";
constexpr absl::string_view kRef = "containerd.io/gc.ref.";
constexpr absl::string_view kBackRef = "containerd.io/gc.bref.";
constexpr absl::string_view kConditional = "containerd.io/gc.cond.snapshot";
constexpr absl::string_view kUsedAt = "containerd.io/gc.cond.value-usedat";

// The object that a label names: `kind` is the key after "gc.ref." or "gc.bref.", like "content.0"
// or "snapshot.overlayfs/1". False for kinds that do not exist.
bool ParseReference(absl::string_view ns, absl::string_view kind, absl::string_view value,
                    bool backward, GcNode* node) {
  absl::string_view rest = kind;
  if (absl::ConsumePrefix(&rest, "snapshot.")) {
    *node = GcSnapshotNode(ns, rest.substr(0, rest.find('/')), value);
    return true;
  }
  node->ns = std::string(ns);
  node->key = std::string(value);
  if (absl::ConsumePrefix(&rest, "content")) {
    node->type = GcNode::Type::kContent;
  } else if (absl::ConsumePrefix(&rest, "image")) {
    node->type = GcNode::Type::kImage;
  } else if (backward && absl::ConsumePrefix(&rest, "container")) {
    node->type = GcNode::Type::kContainer;
  } else {
    return false;
  }
  // "content-type" is another label; what follows '.' or '/' is a free name.
  return rest.empty() || rest[0] == '.' || rest[0] == '/';
}

// "usedat<24h"; nothing for other conditions and operators, which then never hold.
std::optional<GcUse> ParseUse(absl::string_view condition) {
  if (!absl::ConsumePrefix(&condition, "usedat") || condition.empty()) return std::nullopt;
  GcUse use{.within = condition[0] == '<'};
  if (!use.within && condition[0] != '>') return std::nullopt;
  if (!absl::ParseDuration(condition.substr(1), &use.age)) return std::nullopt;
  return use;
}

// `name` is what follows the label's prefix: ".overlayfs" or ".overlayfs/anything".
void VisitConditional(const GcNode& node, absl::string_view name, absl::string_view value,
                      GcVisitor* visitor) {
  while (absl::ConsumePrefix(&name, ".") || absl::ConsumePrefix(&name, "/")) continue;
  const size_t bar = value.find('|');
  if (bar == absl::string_view::npos) return;
  const GcNode to = GcSnapshotNode(node.ns, name.substr(0, name.find('/')), value.substr(bar + 1));
  for (absl::string_view condition : absl::StrSplit(value.substr(0, bar), ',')) {
    if (std::optional<GcUse> use = ParseUse(condition)) visitor->EdgeIfUsed(node, to, *use);
  }
}

}  // namespace

void GcVisitLabels(const GcNode& node, const LabelMap& labels, GcVisitor* visitor) {
  for (const auto& [key, value] : labels) {
    absl::string_view kind = key;
    GcNode other;
    if (absl::ConsumePrefix(&kind, kRef)) {
      if (ParseReference(node.ns, kind, value, false, &other)) visitor->Edge(node, other);
    } else if (absl::ConsumePrefix(&kind, kBackRef)) {
      if (ParseReference(node.ns, kind, value, true, &other)) visitor->Edge(other, node);
    } else if (absl::ConsumePrefix(&kind, kConditional)) {
      if (node.type == GcNode::Type::kContent || node.type == GcNode::Type::kImage)
        VisitConditional(node, kind, value, visitor);
    } else if (key == kUsedAt && node.type == GcNode::Type::kSnapshot) {
      absl::StatusOr<absl::Time> when = base::ParseRfc3339(value);
      if (when.ok()) visitor->UsedAt(node, *when);
    }
  }
}

bool GcIsRoot(const LabelMap& labels, absl::Time now) {
  if (labels.contains(std::string(kRoot))) return true;
  return labels.contains(std::string(kExpire)) && !GcIsExpired(labels, now);
}

bool GcIsExpired(const LabelMap& labels, absl::Time now) {
  auto it = labels.find(std::string(kExpire));
  if (it == labels.end()) return false;
  absl::StatusOr<absl::Time> expire = base::ParseRfc3339(it->second);
  return expire.ok() && *expire < now;
}

GcNode GcSnapshotNode(absl::string_view ns, absl::string_view snapshotter, absl::string_view key) {
  return {GcNode::Type::kSnapshot, std::string(ns), absl::StrCat(snapshotter, "/", key)};
}

}  // namespace gantry::services
