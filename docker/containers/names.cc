#include "docker/containers/names.h"

#include <algorithm>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace gantry::docker {
namespace {

constexpr const char* kAdjectives[] = {
    "able",   "amber",  "ample", "apt",    "bold",   "brave",  "brief",  "bright", "brisk",
    "calm",   "candid", "clear", "clever", "cosy",   "crisp",  "deft",   "dear",   "eager",
    "early",  "easy",   "even",  "fair",   "fast",   "fine",   "firm",   "fond",   "frank",
    "fresh",  "gentle", "glad",  "grand",  "hardy",  "honest", "humble", "jolly",  "keen",
    "kind",   "lively", "loyal", "lucid",  "mellow", "merry",  "mild",   "modest", "neat",
    "nimble", "noble",  "plain", "prime",  "proud",  "quick",  "quiet",  "rapid",  "ready",
    "robust", "serene", "sharp", "silent", "simple", "sober",  "solid",  "spry",   "steady",
    "sturdy", "subtle", "swift", "tidy",   "trusty", "vivid",  "warm",   "wise",   "witty"};

constexpr const char* kNouns[] = {
    "anchor",  "anvil",   "barge",  "beacon", "berth",  "bollard", "bridge",  "buoy",    "cable",
    "canal",   "cargo",   "chain",  "clamp",  "coast",  "compass", "crane",   "crate",   "current",
    "deck",    "derrick", "dock",   "drum",   "ferry",  "fjord",   "flag",    "freight", "galley",
    "gangway", "girder",  "harbor", "hatch",  "hawser", "helm",    "hoist",   "hook",    "hull",
    "inlet",   "island",  "jetty",  "keel",   "ladder", "lagoon",  "lantern", "lever",   "lock",
    "mast",    "mooring", "pallet", "pier",   "pilot",  "plank",   "pulley",  "quay",    "rail",
    "reef",    "rigging", "rope",   "rudder", "sail",   "shore",   "signal",  "sling",   "spar",
    "stern",   "strait",  "tackle", "tide",   "timber", "tow",     "trolley", "wharf",   "winch"};

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
}

}  // namespace

std::string RandomName(bool more) {
  std::random_device random;
  auto pick = [&random](const auto& words) { return words[random() % std::size(words)]; };
  return absl::StrCat(pick(kAdjectives), "_", pick(kNouns),
                      more ? absl::StrCat(random() % 1000) : "");
}

absl::Status CheckContainerName(const std::string& name) {
  bool good = name.size() >= 2 && absl::ascii_isalnum(static_cast<unsigned char>(name[0])) &&
              std::all_of(name.begin(), name.end(), IsNameByte);
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Invalid container name (", name,
                                                 "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
}

}  // namespace gantry::docker
