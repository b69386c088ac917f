// The daemon's objects as they are: content, snapshots, containers, tasks, namespaces, leases,
// events, plugins.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/status.h"
#include "client/container.h"
#include "client/content.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/events/v1/events.methods.h"
#include "containerd/services/introspection/v1/introspection.methods.h"
#include "containerd/services/leases/v1/leases.methods.h"
#include "containerd/services/namespaces/v1/namespace.methods.h"
#include "containerd/services/snapshots/v1/snapshots.methods.h"
#include "ctl/command.h"
#include "ctl/event_text.h"
#include "ctl/output.h"
#include "ctl/task_ops.h"

namespace gantry::ctl {
namespace {

namespace contents = containerd::services::content::v1;
namespace eventsapi = containerd::services::events::v1;
namespace introspection = containerd::services::introspection::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;
namespace snapshots = containerd::services::snapshots::v1;
using base::OrderedJson;
using google::protobuf::Empty;

template <typename Labels>
OrderedJson LabelsJson(const Labels& labels) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : labels) json[key] = value;
  return json;
}

// The first word: what to do with the objects. "ls" when nothing was said.
std::string Verb(const Invocation& call) {
  return call.args.positional().empty() ? "ls" : call.args.positional()[0];
}

absl::Status UnknownVerb(absl::string_view verb, absl::string_view known) {
  return absl::InvalidArgumentError(absl::StrCat("\"", verb, "\" is none of ", known));
}

// Calls `remove` for every name after the verb.
absl::StatusOr<int> RemoveEach(const Invocation& call,
                               const std::function<absl::Status(const std::string&)>& remove) {
  GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, SIZE_MAX, "rm and what to remove"));
  const auto& words = call.args.positional();
  for (size_t i = 1; i < words.size(); ++i) {
    GANTRY_RETURN_IF_ERROR(remove(words[i]));
    PrintOut(words[i] + "\n");
  }
  return 0;
}

absl::StatusOr<int> ListContent(const Invocation& call, Format format) {
  auto stream =
      call.connection.Open(contents::ContentMethods::kList, contents::ListContentRequest());
  contents::ListContentResponse part;
  Listing listing;
  listing.header = {"DIGEST", "SIZE", "CREATED", "LABELS"};
  while (stream.Read(&part)) {
    for (const auto& info : part.info()) {
      absl::Time created = base::GetTimestamp(info.created_at());
      listing.rows.push_back({info.digest(), FormatBytes(info.size()),
                              FormatAge(absl::Now() - created),
                              absl::StrCat(info.labels().size())});
      listing.ids.push_back(info.digest());
      listing.json.push_back({{"digest", info.digest()},
                              {"size", info.size()},
                              {"createdAt", base::FormatRfc3339(created)},
                              {"labels", LabelsJson(info.labels())}});
    }
  }
  GANTRY_RETURN_IF_ERROR(stream.Finish());
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Content(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  std::string verb = Verb(call);
  if (verb == "ls") return ListContent(call, format);
  if (verb == "get") {
    GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, 2, "get and a digest"));
    GANTRY_ASSIGN_OR_RETURN(base::Digest digest, base::Digest::Parse(call.args.positional()[1]));
    GANTRY_RETURN_IF_ERROR(client::StreamBlob(call.connection, digest, [](absl::string_view data) {
      PrintOut(data);
      return absl::OkStatus();
    }));
    return 0;
  }
  if (verb != "rm") return UnknownVerb(verb, "ls, get, rm");
  return RemoveEach(call, [&](const std::string& digest) {
    contents::DeleteContentRequest request;
    request.set_digest(digest);
    Empty nothing;
    return call.connection.Call(contents::ContentMethods::kDelete, request, &nothing);
  });
}

const char* KindName(snapshots::Kind kind) {
  switch (kind) {
    case snapshots::VIEW:
      return "view";
    case snapshots::ACTIVE:
      return "active";
    case snapshots::COMMITTED:
      return "committed";
    default:
      return "unknown";
  }
}

absl::StatusOr<int> ListSnapshots(const Invocation& call, Format format) {
  snapshots::ListSnapshotsRequest request;
  request.set_snapshotter(call.args.String("snapshotter", "overlayfs"));
  auto stream = call.connection.Open(snapshots::SnapshotsMethods::kList, request);
  snapshots::ListSnapshotsResponse part;
  Listing listing;
  listing.header = {"KEY", "PARENT", "KIND"};
  while (stream.Read(&part)) {
    for (const auto& info : part.info()) {
      listing.rows.push_back(
          {Printable(info.name()), Printable(info.parent()), KindName(info.kind())});
      listing.ids.push_back(info.name());
      listing.json.push_back(
          {{"key", info.name()},
           {"parent", info.parent()},
           {"kind", KindName(info.kind())},
           {"createdAt", base::FormatRfc3339(base::GetTimestamp(info.created_at()))},
           {"labels", LabelsJson(info.labels())}});
    }
  }
  GANTRY_RETURN_IF_ERROR(stream.Finish());
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Snapshots(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  std::string verb = Verb(call);
  if (verb == "ls") return ListSnapshots(call, format);
  if (verb != "rm") return UnknownVerb(verb, "ls, rm");
  return RemoveEach(call, [&](const std::string& key) {
    snapshots::RemoveSnapshotRequest request;
    request.set_snapshotter(call.args.String("snapshotter", "overlayfs"));
    request.set_key(key);
    Empty nothing;
    return call.connection.Call(snapshots::SnapshotsMethods::kRemove, request, &nothing);
  });
}

absl::StatusOr<int> Containers(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  if (Verb(call) != "ls") return UnknownVerb(Verb(call), "ls (rm is `gantryctl rm`)");
  GANTRY_ASSIGN_OR_RETURN(auto records, client::ListContainers(call.connection));
  Listing listing;
  listing.header = {"CONTAINER", "IMAGE", "RUNTIME", "SNAPSHOTTER"};
  for (const auto& record : records) {
    listing.rows.push_back({Printable(record.id()), Printable(record.image()),
                            Printable(record.runtime().name()), Printable(record.snapshotter())});
    listing.ids.push_back(record.id());
    listing.json.push_back({{"id", record.id()},
                            {"image", record.image()},
                            {"runtime", record.runtime().name()},
                            {"snapshotter", record.snapshotter()},
                            {"snapshotKey", record.snapshot_key()},
                            {"labels", LabelsJson(record.labels())}});
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Tasks(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  if (Verb(call) != "ls") return UnknownVerb(Verb(call), "ls");
  GANTRY_ASSIGN_OR_RETURN(auto list, ListTasks(call.connection));
  Listing listing;
  listing.header = {"TASK", "PID", "STATUS"};
  for (const TaskProcess& task : list) {
    listing.rows.push_back({Printable(task.id()), absl::StrCat(task.pid()), TaskState(&task)});
    listing.ids.push_back(task.id());
    listing.json.push_back({{"id", task.id()}, {"pid", task.pid()}, {"status", TaskState(&task)}});
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Namespaces(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  std::string verb = Verb(call);
  if (verb == "create") {
    GANTRY_RETURN_IF_ERROR(CheckCount(call, 2, 2, "create and a name"));
    namespaces::CreateNamespaceRequest request;
    request.mutable_namespace_()->set_name(call.args.positional()[1]);
    namespaces::CreateNamespaceResponse response;
    GANTRY_RETURN_IF_ERROR(
        call.connection.Call(namespaces::NamespacesMethods::kCreate, request, &response));
    return 0;
  }
  if (verb == "rm") {
    return RemoveEach(call, [&](const std::string& name) {
      namespaces::DeleteNamespaceRequest request;
      request.set_name(name);
      Empty nothing;
      return call.connection.Call(namespaces::NamespacesMethods::kDelete, request, &nothing);
    });
  }
  if (verb != "ls") return UnknownVerb(verb, "ls, create, rm");
  namespaces::ListNamespacesResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(namespaces::NamespacesMethods::kList,
                                              namespaces::ListNamespacesRequest(), &response));
  Listing listing;
  listing.header = {"NAMESPACE", "LABELS"};
  for (const auto& item : response.namespaces()) {
    std::string labels = absl::StrJoin(item.labels(), ",", absl::PairFormatter("="));
    listing.rows.push_back({Printable(item.name()), Printable(labels)});
    listing.ids.push_back(item.name());
    listing.json.push_back({{"name", item.name()}, {"labels", LabelsJson(item.labels())}});
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Leases(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  std::string verb = Verb(call);
  if (verb == "rm") {
    return RemoveEach(call, [&](const std::string& id) {
      leases::DeleteRequest request;
      request.set_id(id);
      request.set_sync(true);
      Empty nothing;
      return call.connection.Call(leases::LeasesMethods::kDelete, request, &nothing);
    });
  }
  if (verb != "ls") return UnknownVerb(verb, "ls, rm");
  leases::ListResponse response;
  GANTRY_RETURN_IF_ERROR(
      call.connection.Call(leases::LeasesMethods::kList, leases::ListRequest(), &response));
  Listing listing;
  listing.header = {"LEASE", "CREATED", "EXPIRES"};
  for (const auto& lease : response.leases()) {
    auto expires = lease.labels().find("containerd.io/gc.expire");
    absl::Time created = base::GetTimestamp(lease.created_at());
    listing.rows.push_back(
        {Printable(lease.id()), FormatAge(absl::Now() - created),
         expires == lease.labels().end() ? "never" : Printable(expires->second)});
    listing.ids.push_back(lease.id());
    listing.json.push_back({{"id", lease.id()},
                            {"createdAt", base::FormatRfc3339(created)},
                            {"labels", LabelsJson(lease.labels())}});
  }
  PrintListing(listing, format);
  return 0;
}

absl::StatusOr<int> Events(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  eventsapi::SubscribeRequest request;
  for (const std::string& filter : call.args.positional()) request.add_filters(filter);
  // Without a filter: those of our namespace.
  if (call.args.positional().empty() && !call.args.Bool("all")) {
    request.add_filters(absl::StrCat("namespace==\"", call.connection.ns(), "\""));
  }
  auto stream = call.connection.Open(eventsapi::EventsMethods::kSubscribe, request);
  containerd::types::Envelope envelope;
  while (stream.Read(&envelope)) {
    OrderedJson json = EventJson(envelope);
    if (format == Format::kJson) {
      PrintOut(json.dump() + "\n");
    } else {
      PrintOut(absl::StrCat(std::string(json["time"]), " ", Printable(envelope.namespace_()), " ",
                            Printable(envelope.topic()), " ",
                            format == Format::kQuiet ? "" : json["event"].dump(), "\n"));
    }
    fflush(stdout);
  }
  GANTRY_RETURN_IF_ERROR(stream.Finish());
  return 0;
}

absl::StatusOr<int> Plugins(const Invocation& call) {
  GANTRY_ASSIGN_OR_RETURN(Format format, ListFormat(call.args));
  introspection::PluginsResponse response;
  GANTRY_RETURN_IF_ERROR(call.connection.Call(introspection::IntrospectionMethods::kPlugins,
                                              introspection::PluginsRequest(), &response));
  Listing listing;
  listing.header = {"TYPE", "ID", "STATUS"};
  for (const auto& plugin : response.plugins()) {
    std::string status = plugin.has_init_err() ? Printable(plugin.init_err().message()) : "ok";
    if (status.size() > 60) status = status.substr(0, 57) + "...";
    listing.rows.push_back({Printable(plugin.type()), Printable(plugin.id()), status});
    listing.ids.push_back(absl::StrCat(plugin.type(), ".", plugin.id()));
    listing.json.push_back(
        {{"type", plugin.type()}, {"id", plugin.id()}, {"error", plugin.init_err().message()}});
  }
  PrintListing(listing, format);
  return 0;
}

}  // namespace

std::vector<Command> ObjectCommands() {
  Flag snapshotter = {"snapshotter", '\0', FlagKind::kString, "NAME", "default overlayfs"};
  return {{"content", "Objects", "[ls] | get DIGEST | rm DIGEST...", "Blobs of the content store",
           "gantryctl content\ngantryctl content get sha256:… | jq", ListFlags(), Content},
          {"snapshots", "Objects", "[ls] | rm KEY...", "Snapshots of layers and containers",
           "gantryctl snapshots", ListFlags({snapshotter}), Snapshots},
          {"containers", "Objects", "[ls]", "Container records", "gantryctl containers -q",
           ListFlags(), Containers},
          {"tasks", "Objects", "[ls]", "Running containers' processes", "gantryctl tasks",
           ListFlags(), Tasks},
          {"namespaces", "Objects", "[ls] | create NAME | rm NAME...", "Namespaces of the daemon",
           "gantryctl namespaces", ListFlags(), Namespaces},
          {"leases", "Objects", "[ls] | rm ID...", "What is kept from the garbage collector",
           "gantryctl leases", ListFlags(), Leases},
          {"events", "Objects", "[FLAGS] [FILTER...]", "Show what happens, as it happens",
           "gantryctl events\ngantryctl events --format json 'topic~=^/tasks/'",
           ListFlags({{"all", '\0', FlagKind::kBool, "", "of all namespaces"}}), Events},
          {"plugins", "Objects", "", "What the daemon consists of", "gantryctl plugins",
           ListFlags(), Plugins}};
}

}  // namespace gantry::ctl
