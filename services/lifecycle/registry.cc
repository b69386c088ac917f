#include "services/lifecycle/registry.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/lifecycle/records.h"

namespace gantry::services::lifecycle {
namespace {

bool IsReady(const Entry& entry) {
  std::lock_guard<std::mutex> lock(entry.mutex);
  return entry.ready && !entry.gone;
}

}  // namespace

absl::Status NoSuchContainer(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("No such container: ", name));
}

absl::StatusOr<EntryPtr> Registry::Add(const std::string& ns, const std::string& id,
                                       const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  Namespace& space = namespaces_[ns];
  if (space.entries.contains(id)) {
    return absl::AlreadyExistsError(absl::StrCat("container \"", id, "\": already exists"));
  }
  if (!name.empty()) {
    auto [taken, added] = space.names.emplace(name, id);
    if (!added) return NameConflict(name, taken->second);
  }
  auto entry = std::make_shared<Entry>(ns, id, pool_);
  space.entries[id] = entry;
  return entry;
}

absl::Status Registry::Rename(const Entry& entry, const std::string& from, const std::string& to) {
  std::lock_guard<std::mutex> lock(mutex_);
  Namespace& space = namespaces_[entry.ns];
  if (!to.empty()) {
    auto [taken, added] = space.names.emplace(to, entry.id);
    if (!added && taken->second != entry.id) return NameConflict(to, taken->second);
  }
  if (auto old = space.names.find(from);
      from != to && old != space.names.end() && old->second == entry.id) {
    space.names.erase(old);
  }
  return absl::OkStatus();
}

void Registry::Remove(const Entry& entry, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  Namespace& space = namespaces_[entry.ns];
  if (auto found = space.names.find(name); found != space.names.end() && found->second == entry.id)
    space.names.erase(found);
  if (auto found = space.entries.find(entry.id);
      found != space.entries.end() && found->second.get() == &entry)
    space.entries.erase(found);
}

absl::StatusOr<EntryPtr> Registry::Get(const std::string& ns, const std::string& id) const {
  EntryPtr entry;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto space = namespaces_.find(ns);
    if (space == namespaces_.end()) return NoSuchContainer(id);
    auto found = space->second.entries.find(id);
    if (found == space->second.entries.end()) return NoSuchContainer(id);
    entry = found->second;
  }
  if (!IsReady(*entry)) return NoSuchContainer(id);
  return entry;
}

absl::StatusOr<EntryPtr> Registry::Find(const std::string& ns, absl::string_view typed) const {
  const std::string name(absl::StripPrefix(typed, "/"));
  if (name.empty()) return NoSuchContainer(typed);
  std::vector<EntryPtr> found;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto at = namespaces_.find(ns);
    if (at == namespaces_.end()) return NoSuchContainer(typed);
    const Namespace& space = at->second;
    auto named = space.names.find(name);
    auto first = space.entries.lower_bound(name);
    if (first != space.entries.end() && first->first == name) {
      found = {first->second};
    } else if (named != space.names.end()) {
      found = {space.entries.at(named->second)};
    } else {
      for (; first != space.entries.end() && absl::StartsWith(first->first, name); ++first)
        found.push_back(first->second);
    }
  }
  std::erase_if(found, [](const EntryPtr& entry) { return !IsReady(*entry); });
  if (found.empty()) return NoSuchContainer(typed);
  if (found.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("Multiple IDs found with provided prefix: ", typed));
  }
  return found[0];
}

std::vector<EntryPtr> Registry::List(const std::string& ns) const {
  std::vector<EntryPtr> list;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto space = namespaces_.find(ns);
    if (space == namespaces_.end()) return list;
    for (const auto& [id, entry] : space->second.entries) list.push_back(entry);
  }
  std::erase_if(list, [](const EntryPtr& entry) { return !IsReady(*entry); });
  return list;
}

std::vector<EntryPtr> Registry::ListAll() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<EntryPtr> list;
  for (const auto& [ns, space] : namespaces_) {
    for (const auto& [id, entry] : space.entries) list.push_back(entry);
  }
  return list;
}

}  // namespace gantry::services::lifecycle
