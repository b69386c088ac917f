#include "services/gc/graph.h"

#include <algorithm>

#include "absl/hash/hash.h"

namespace gantry::services {

size_t GcGraph::NodeHash::operator()(const GcNode& node) const {
  return absl::HashOf(static_cast<int>(node.type), node.ns, node.key);
}

void GcGraph::BeginRecord(size_t participant, std::string record_key, bool late) {
  participant_ = participant;
  record_key_ = std::move(record_key);
  late_ = late;
}

GcGraph::Id GcGraph::Intern(const GcNode& node) {
  auto [it, added] = ids_.try_emplace(node, static_cast<Id>(vertices_.size()));
  if (added) vertices_.push_back({&it->first});
  return it->second;
}

void GcGraph::Exists(const GcNode& node) {
  const Id id = Intern(node);
  existing_[record_key_] = {id, participant_};
  if (late_) Raise(id, kFull);
}

void GcGraph::Root(const GcNode& node, GcReach reach) {
  Raise(Intern(node), reach == GcReach::kFull ? kFull : kFlat);
}

void GcGraph::Edge(const GcNode& from, const GcNode& to) { AddLink(from, to, false); }

void GcGraph::ParentEdge(const GcNode& from, const GcNode& to) { AddLink(from, to, true); }

void GcGraph::AddLink(const GcNode& from, const GcNode& to, bool parent) {
  const Id from_id = Intern(from);
  Link(from_id, Intern(to), parent);
}

void GcGraph::Link(Id from, Id to, bool parent) {
  vertices_[from].links.push_back({to, parent});
  const Mark mark = vertices_[from].mark;
  if (mark == kFull || (mark == kFlat && parent)) Raise(to, mark);
}

void GcGraph::EdgeIfUsed(const GcNode& from, const GcNode& to, GcUse use) {
  const Id from_id = Intern(from);
  const Id to_id = Intern(to);
  Use& known = uses_[to_id];
  known.wanted.emplace_back(from_id, use);
  for (absl::Time when : known.times) LinkIfUsed(from_id, to_id, use, when);
}

void GcGraph::UsedAt(const GcNode& node, absl::Time when) {
  const Id id = Intern(node);
  Use& known = uses_[id];
  known.times.push_back(when);
  for (const auto& [from, use] : known.wanted) LinkIfUsed(from, id, use, when);
}

void GcGraph::LinkIfUsed(Id from, Id to, const GcUse& use, absl::Time when) {
  const absl::Duration age = now_ - when;
  if (use.within ? age < use.age : age > use.age) Link(from, to, /*parent=*/false);
}

void GcGraph::Raise(Id first, Mark first_mark) {
  stack_.emplace_back(first, first_mark);
  while (!stack_.empty()) {
    const auto [id, mark] = stack_.back();
    stack_.pop_back();
    if (vertices_[id].mark >= mark) continue;
    vertices_[id].mark = mark;
    for (const Reference& link : vertices_[id].links) {
      if (mark == kFull || link.parent) stack_.emplace_back(link.to, mark);
    }
  }
}

void GcGraph::DropRecord(const std::string& record_key) { existing_.erase(record_key); }

std::map<size_t, std::vector<GcNode>> GcGraph::Unreached() const {
  std::map<size_t, std::vector<GcNode>> result;
  for (const auto& [key, existing] : existing_) {
    const Vertex& vertex = vertices_[existing.id];
    if (vertex.mark == kNone) result[existing.participant].push_back(*vertex.node);
  }
  for (auto& [participant, nodes] : result) std::sort(nodes.begin(), nodes.end());
  return result;
}

}  // namespace gantry::services
