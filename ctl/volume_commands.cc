// volume: ls, create, inspect, rm, prune.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "gantry/services/volumes/v1/volumes.methods.h"

namespace gantry::ctl {
namespace {

namespace volumes = gantry::services::volumes::v1;
using base::OrderedJson;
using google::protobuf::Empty;
using volumes::VolumesMethods;

// "a=b" entries into a map; an entry without '=' has an empty value.
template <typename Map>
absl::Status FillMap(const std::vector<std::string>& entries, const char* what, Map* to) {
  for (const std::string& entry : entries) {
    std::pair<std::string, std::string> pair = absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (pair.first.empty())
      return absl::InvalidArgumentError(absl::StrCat(what, " \"", entry, "\" has no name"));
    (*to)[pair.first] = pair.second;
  }
  return absl::OkStatus();
}

template <typename Map>
OrderedJson MapJson(const Map& map) {
  std::vector<std::pair<std::string, std::string>> sorted(map.begin(), map.end());
  std::sort(sorted.begin(), sorted.end());
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : sorted) json[key] = value;
  return json;
}

OrderedJson VolumeJson(const volumes::VolumeInfo& info) {
  const volumes::Volume& volume = info.volume();
  OrderedJson json = {{"name", volume.name()},
                      {"driver", volume.driver()},
                      {"mountpoint", volume.mountpoint()},
                      {"createdAt", base::FormatRfc3339(base::GetTimestamp(volume.created_at()))},
                      {"labels", MapJson(volume.labels())},
                      {"options", MapJson(volume.options())},
                      {"anonymous", volume.anonymous()},
                      {"containers", OrderedJson::array()}};
  for (const std::string& id : info.containers()) json["containers"].push_back(id);
  if (info.has_usage()) json["size"] = info.usage().size();
  return json;
}

absl::StatusOr<int> List(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  volumes::ListVolumesRequest request;
  request.set_with_usage(call.args.Bool("size"));
  volumes::ListVolumesResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(VolumesMethods::kList, request, &response));
  Listing listing;
  listing.header = {"VOLUME", "CREATED", "CONTAINERS"};
  if (request.with_usage()) listing.header.push_back("SIZE");
  for (const volumes::VolumeInfo& info : response.volumes()) {
    absl::Time created = base::GetTimestamp(info.volume().created_at());
    listing.rows.push_back({Printable(info.volume().name()), FormatAge(absl::Now() - created),
                            absl::StrCat(info.containers_size())});
    if (request.with_usage())
      listing.rows.back().push_back(info.usage().size() < 0 ? "not known"
                                                            : FormatBytes(info.usage().size()));
    listing.ids.push_back(info.volume().name());
    listing.json.push_back(VolumeJson(info));
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Create(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 2, "create and at most one name"));
  volumes::CreateVolumeRequest request;
  volumes::Volume* volume = request.mutable_volume();
  if (call.args.positional().size() == 2) volume->set_name(call.args.positional()[1]);
  volume->set_driver(call.args.String("driver"));
  GANTRY_RETURN_IF_ERROR(FillMap(call.args.List("opt"), "option", volume->mutable_options()));
  GANTRY_RETURN_IF_ERROR(FillMap(call.args.List("label"), "label", volume->mutable_labels()));
  volumes::CreateVolumeResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(VolumesMethods::kCreate, request, &response));
  PrintOut(absl::StrCat(response.volume().name(), "\n"));
  return 0;
}

absl::StatusOr<int> Inspect(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "inspect and the volumes"));
  OrderedJson list = OrderedJson::array();
  for (size_t i = 1; i < call.args.positional().size(); ++i) {
    volumes::GetVolumeRequest request;
    request.set_name(call.args.positional()[i]);
    volumes::GetVolumeResponse response;
    GANTRY_RETURN_IF_ERROR(call.connection.Call(VolumesMethods::kGet, request, &response));
    list.push_back(VolumeJson(response.volume()));
  }
  PrintOut(DumpOrdered(list) + "\n");
  return 0;
}

absl::Status Remove(const Invocation& call, const std::string& name) {
  volumes::DeleteVolumeRequest request;
  request.set_name(name);
  request.set_force(call.args.Bool("force"));
  Empty nothing;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(VolumesMethods::kDelete, request, &nothing));
  PrintOut(name + "\n");
  return absl::OkStatus();
}

absl::StatusOr<int> RemoveThose(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "rm and the volumes to remove"));
  for (size_t i = 1; i < call.args.positional().size(); ++i)
    GANTRY_RETURN_IF_ERROR(Remove(call, call.args.positional()[i]));
  return 0;
}

// Those that no container uses: anonymous ones, or with --all every one.
absl::StatusOr<int> Prune(const Invocation& call) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 1, 1, "prune and nothing else"));
  volumes::ListVolumesResponse response;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(VolumesMethods::kList, volumes::ListVolumesRequest(), &response));
  for (const volumes::VolumeInfo& info : response.volumes()) {
    if (info.containers_size() > 0) continue;
    if (!info.volume().anonymous() && !call.args.Bool("all")) continue;
    absl::Status removed = Remove(call, info.volume().name());
    // A container that came meanwhile keeps it.
    if (!removed.ok() && !absl::IsFailedPrecondition(removed) && !absl::IsNotFound(removed))
      return removed;
  }
  return 0;
}

absl::StatusOr<int> Volume(const Invocation& call) {
  std::string verb = call.args.positional().empty() ? "ls" : call.args.positional()[0];
  if (verb == "ls") return List(call);
  if (verb == "create") return Create(call);
  if (verb == "inspect") return Inspect(call);
  if (verb == "rm") return RemoveThose(call);
  if (verb == "prune") return Prune(call);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", verb, "\" is none of ls, create, inspect, rm, prune"));
}

}  // namespace

std::vector<Command> VolumeCommands() {
  return {{"volume", "Objects", "[ls] | create [NAME] | inspect NAME... | rm NAME... | prune",
           "Directories with a name that outlive containers",
           "gantryctl volume create data --label for=web\ngantryctl volume ls --size\n"
           "gantryctl volume create ram -o type=tmpfs -o device=tmpfs -o o=size=64m",
           ListFlags({{"driver", 'd', FlagKind::kString, "NAME", "create: default local"},
                      {"opt", 'o', FlagKind::kList, "NAME=VALUE", "create: type, device, o"},
                      {"label", '\0', FlagKind::kList, "NAME=VALUE", "create: a label"},
                      {"size", '\0', FlagKind::kBool, "", "ls: count what they take on the disk"},
                      {"force", 'f', FlagKind::kBool, "", "rm: one that is not there is no error"},
                      {"all", 'a', FlagKind::kBool, "", "prune: named ones, too"}}),
           Volume}};
}

}  // namespace gantry::ctl
