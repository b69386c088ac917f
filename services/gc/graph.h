#ifndef GANTRY_SERVICES_GC_GRAPH_H_
#define GANTRY_SERVICES_GC_GRAPH_H_

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/metadata/gc.h"

namespace gantry::services {

// The objects of one collection, what refers to what, and what is reached from the roots so far.
// Reachability is kept up with every call, so records that changed later can simply be added.
// Not thread-safe.
class GcGraph : public GcVisitor {
 public:
  explicit GcGraph(absl::Time now) : now_(now) {}

  // The record that the next calls are about. With `late` it changed after the consistent state was
  // taken: what exists in it is kept in this collection, whatever refers to it.
  void BeginRecord(size_t participant, std::string record_key, bool late);

  void Exists(const GcNode& node) override;
  void Root(const GcNode& node, GcReach reach) override;
  void Edge(const GcNode& from, const GcNode& to) override;
  void ParentEdge(const GcNode& from, const GcNode& to) override;
  void EdgeIfUsed(const GcNode& from, const GcNode& to, GcUse use) override;
  void UsedAt(const GcNode& node, absl::Time when) override;
  absl::Time now() const override { return now_; }

  // The record is gone: nothing is left to remove.
  void DropRecord(const std::string& record_key);

  // What exists and is not reached: index of the participant, nodes.
  std::map<size_t, std::vector<GcNode>> Unreached() const;

  size_t existing() const { return existing_.size(); }

 private:
  using Id = uint32_t;
  enum Mark : uint8_t { kNone, kFlat, kFull };
  struct Reference {
    Id to;
    bool parent;
  };
  struct Existing {
    Id id;
    size_t participant;
  };
  struct Vertex {
    const GcNode* node;  // the key in ids_
    Mark mark = kNone;
    std::vector<Reference> links;
  };
  // What is known of a node that conditional edges lead to.
  struct Use {
    std::vector<absl::Time> times;
    std::vector<std::pair<Id, GcUse>> wanted;  // from
  };
  struct NodeHash {
    size_t operator()(const GcNode& node) const;
  };

  Id Intern(const GcNode& node);
  void AddLink(const GcNode& from, const GcNode& to, bool parent);
  void LinkIfUsed(Id from, Id to, const GcUse& use, absl::Time when);
  void Link(Id from, Id to, bool parent);
  void Raise(Id id, Mark mark);

  const absl::Time now_;
  // Nodes stay where they are: the vertices point to them.
  std::unordered_map<GcNode, Id, NodeHash> ids_;
  std::vector<Vertex> vertices_;
  absl::flat_hash_map<Id, Use> uses_;
  std::vector<std::pair<Id, Mark>> stack_;               // of Raise(), kept for its memory
  absl::flat_hash_map<std::string, Existing> existing_;  // by key of the record
  size_t participant_ = 0;
  std::string record_key_;
  bool late_ = false;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_GC_GRAPH_H_
