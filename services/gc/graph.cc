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
  const Id to_id = Intern(to);
  vertices_[from_id].links.push_back({to_id, parent});
  const Mark mark = vertices_[from_id].mark;
  if (mark == kFull || (mark == kFlat && parent)) Raise(to_id, mark);
}

void GcGraph::Raise(Id first, Mark first_mark) {
  stack_.emplace_back(first, first_mark);
  while (!stack_.empty()) {
    const auto [id, mark] = stack_.back();
    stack_.pop_back();
    if (vertices_[id].mark >= mark) continue;
    vertices_[id].mark = mark;
    for (const Link& link : vertices_[id].links) {
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
