#include "services/metadata/gc.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"

namespace gantry::services {
namespace {

constexpr absl::string_view kRoot = "containerd.io/gc.root";
constexpr absl::string_view kExpire = "containerd.io/gc.expire";
constexpr absl::string_view kRef = "containerd.io/gc.ref.";
constexpr absl::string_view kBackRef = "containerd.io/gc.bref.";

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

}  // namespace

void GcVisitLabels(const GcNode& node, const LabelMap& labels, GcVisitor* visitor) {
  for (const auto& [key, value] : labels) {
    absl::string_view kind = key;
    GcNode other;
    if (absl::ConsumePrefix(&kind, kRef)) {
      if (ParseReference(node.ns, kind, value, false, &other)) visitor->Edge(node, other);
    } else if (absl::ConsumePrefix(&kind, kBackRef)) {
      if (ParseReference(node.ns, kind, value, true, &other)) visitor->Edge(other, node);
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
