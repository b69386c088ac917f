// Requests that no sane client sends: each gets the code that containerd gives, and leaves nothing.

#include <functional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "containerd/services/containers/v1/containers.grpc.pb.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/diff/v1/diff.grpc.pb.h"
#include "containerd/services/events/v1/events.grpc.pb.h"
#include "containerd/services/images/v1/images.grpc.pb.h"
#include "containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "containerd/services/leases/v1/leases.grpc.pb.h"
#include "containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/conformance/target.h"

namespace gantry::tests {
namespace {

namespace containers = containerd::services::containers::v1;
namespace content = containerd::services::content::v1;
namespace diff = containerd::services::diff::v1;
namespace events = containerd::services::events::v1;
namespace images = containerd::services::images::v1;
namespace introspection = containerd::services::introspection::v1;
namespace leases = containerd::services::leases::v1;
namespace namespaces = containerd::services::namespaces::v1;
namespace snapshots = containerd::services::snapshots::v1;
namespace tasks = containerd::services::tasks::v1;

using google::protobuf::Message;

const char kDigest[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const char kSpecType[] = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

// One call and the code that containerd answers, as gRPC spells it.
struct Row {
  std::string what;
  std::string method;
  std::string request;
  std::string code;
};

template <typename M>
std::string Make(const std::function<void(M&)>& fill) {
  M message;
  fill(message);
  return message.SerializeAsString();
}

class MalformedTest : public ConformanceTest {
 protected:
  // The bytes go out as they are.
  std::string Send(const std::string& method, const std::string& bytes,
                   bool with_namespace = true) {
    auto context = CallIn(with_namespace ? ns() : "");
    grpc::GenericStub stub(channel());
    grpc::CompletionQueue queue;
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1), response;
    auto call =
        stub.PrepareUnaryCall(context.get(), "/containerd.services." + method, request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    return Text(status);
  }
  void Check(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      std::string text = Send(row.method, row.request);
      std::string code = text.substr(0, text.find(':'));
      EXPECT_EQ(code, row.code) << row.method << ", " << row.what << ": " << text;
      EXPECT_TRUE(code == "OK" || text.size() > code.size() + 4) << row.what << ": no message";
    }
  }
};

std::string Container(const std::string& id, const std::string& runtime = "io.containerd.runc.v2",
                      const std::function<void(containers::Container&)>& more = {}) {
  return Make<containers::CreateContainerRequest>([&](auto& r) {
    r.mutable_container()->set_id(id);
    r.mutable_container()->mutable_runtime()->set_name(runtime);
    r.mutable_container()->mutable_spec()->set_type_url(kSpecType);
    r.mutable_container()->mutable_spec()->set_value("{}");
    if (more) more(*r.mutable_container());
  });
}

TEST_F(MalformedTest, Containers) {
  const std::string create = "containers.v1.Containers/Create";
  const std::string update = "containers.v1.Containers/Update";
  auto labelled = [](const std::string& key, const std::string& value) {
    return Container("labels", "io.containerd.runc.v2",
                     [&](auto& c) { (*c.mutable_labels())[key] = value; });
  };
  Check({
      {"nothing", create, "", "INVALID_ARGUMENT"},
      {"empty id", create, Container(""), "INVALID_ARGUMENT"},
      {"slash", create, Container("a/b"), "INVALID_ARGUMENT"},
      {"parent", create, Container(".."), "INVALID_ARGUMENT"},
      {"upwards", create, Container("../../x"), "INVALID_ARGUMENT"},
      {"NUL", create, Container(std::string("a\0b", 3)), "INVALID_ARGUMENT"},
      {"space", create, Container("a b"), "INVALID_ARGUMENT"},
      {"newline", create, Container("a\n"), "INVALID_ARGUMENT"},
      {"77 bytes", create, Container(std::string(77, 'x')), "INVALID_ARGUMENT"},
      {"no runtime", create, Container("a", ""), "INVALID_ARGUMENT"},
      {"no spec", create, Container("a", "io.containerd.runc.v2", [](auto& c) { c.clear_spec(); }),
       "INVALID_ARGUMENT"},
      {"key without snapshotter", create,
       Container("a", "io.containerd.runc.v2", [](auto& c) { c.set_snapshot_key("k"); }),
       "INVALID_ARGUMENT"},
      {"huge label", create, labelled("key", std::string(5000, 'v')), "INVALID_ARGUMENT"},
      {"huge key", create, labelled(std::string(5000, 'k'), "v"), "INVALID_ARGUMENT"},
      {"empty id", "containers.v1.Containers/Get", "", "NOT_FOUND"},
      {"unknown", "containers.v1.Containers/Get",
       Make<containers::GetContainerRequest>([](auto& r) { r.set_id("nobody"); }), "NOT_FOUND"},
      {"empty id", "containers.v1.Containers/Delete", "", "NOT_FOUND"},
      {"no id", update, "", "INVALID_ARGUMENT"},
      {"unknown", update, Make<containers::UpdateContainerRequest>([](auto& r) {
         r.mutable_container()->set_id("nobody");
       }),
       "NOT_FOUND"},
      {"bad filter", "containers.v1.Containers/List",
       Make<containers::ListContainersRequest>([](auto& r) { r.add_filters("id==\"x"); }),
       "INVALID_ARGUMENT"},
  });
}

// The error repeats the id; it must still fit into the header that carries it.
TEST_F(MalformedTest, AMegabyteForAnId) {
  if (containerd_major() > 0) GTEST_SKIP() << "containerd's answer does not fit";
  Check({{"a megabyte", "containers.v1.Containers/Create", Container(std::string(1 << 20, 'x')),
          "INVALID_ARGUMENT"},
         {"a megabyte", "tasks.v1.Tasks/Get",
          Make<tasks::GetRequest>([](auto& r) { r.set_container_id(std::string(1 << 20, 'x')); }),
          "NOT_FOUND"}});
}

TEST_F(MalformedTest, ImagesAndContent) {
  const std::string create = "images.v1.Images/Create";
  auto image = [](const std::string& name, const std::string& digest, int64_t size) {
    return Make<images::CreateImageRequest>([&](auto& r) {
      r.mutable_image()->set_name(name);
      r.mutable_image()->mutable_target()->set_media_type("x/y");
      r.mutable_image()->mutable_target()->set_digest(digest);
      r.mutable_image()->mutable_target()->set_size(size);
    });
  };
  auto info = [](const std::string& digest) {
    return Make<content::InfoRequest>([&](auto& r) { r.set_digest(digest); });
  };
  Check({
      {"nothing", create, "", "INVALID_ARGUMENT"},
      {"no name", create, image("", kDigest, 1), "INVALID_ARGUMENT"},
      {"no digest", create, image("x", "", 1), "INVALID_ARGUMENT"},
      {"bad digest", create, image("x", "sha256:12", 1), "INVALID_ARGUMENT"},
      {"a path as digest", create, image("x", "sha256:../../../../etc/passwd", 1),
       "INVALID_ARGUMENT"},
      {"no size", create, image("x", kDigest, 0), "INVALID_ARGUMENT"},
      {"negative size", create, image("x", kDigest, -1), "INVALID_ARGUMENT"},
      {"empty name", "images.v1.Images/Get", "", "NOT_FOUND"},
      {"empty name", "images.v1.Images/Delete", "", "NOT_FOUND"},
      {"no name", "images.v1.Images/Update", "", "INVALID_ARGUMENT"},
      {"bad filter", "images.v1.Images/List",
       Make<images::ListImagesRequest>([](auto& r) { r.add_filters("name=="); }),
       "INVALID_ARGUMENT"},
      {"empty digest", "content.v1.Content/Info", "", "INVALID_ARGUMENT"},
      {"bad digest", "content.v1.Content/Info", info("x"), "INVALID_ARGUMENT"},
      {"a path", "content.v1.Content/Info", info("sha256:../../x"), "INVALID_ARGUMENT"},
      {"unknown", "content.v1.Content/Info", info(kDigest), "NOT_FOUND"},
      {"empty digest", "content.v1.Content/Delete", "", "INVALID_ARGUMENT"},
      {"empty digest", "content.v1.Content/Update", "", "INVALID_ARGUMENT"},
      {"no ref", "content.v1.Content/Status", "", "NOT_FOUND"},
      {"no ref", "content.v1.Content/Abort", "", "NOT_FOUND"},
  });
}

TEST_F(MalformedTest, Snapshots) {
  const std::string prepare = "snapshots.v1.Snapshots/Prepare";
  auto make = [](const std::string& snapshotter, const std::string& key,
                 const std::string& parent) {
    return Make<snapshots::PrepareSnapshotRequest>([&](auto& r) {
      r.set_snapshotter(snapshotter);
      r.set_key(key);
      r.set_parent(parent);
    });
  };
  Check({
      {"no snapshotter", prepare, make("", "k", ""), "INVALID_ARGUMENT"},
      {"unknown snapshotter", prepare, make("nosuch", "k", ""), "INVALID_ARGUMENT"},
      {"a path as snapshotter", prepare, make("../native", "k", ""), "INVALID_ARGUMENT"},
      {"unknown parent", prepare, make("native", "k", "nosuch"), "NOT_FOUND"},
      {"unknown key", "snapshots.v1.Snapshots/Stat", make("native", "nosuch", ""), "NOT_FOUND"},
      {"empty key", "snapshots.v1.Snapshots/Stat", make("native", "", ""), "NOT_FOUND"},
      {"unknown key", "snapshots.v1.Snapshots/Remove", make("native", "nosuch", ""), "NOT_FOUND"},
      {"unknown key", "snapshots.v1.Snapshots/Mounts", make("native", "nosuch", ""), "NOT_FOUND"},
      {"unknown key", "snapshots.v1.Snapshots/Usage", make("native", "nosuch", ""), "NOT_FOUND"},
      {"unknown key", "snapshots.v1.Snapshots/Commit",
       Make<snapshots::CommitSnapshotRequest>([](auto& r) {
         r.set_snapshotter("native");
         r.set_name("n");
         r.set_key("nosuch");
       }),
       "NOT_FOUND"},
  });
}

TEST_F(MalformedTest, NamespacesLeasesAndEvents) {
  auto space = [](const std::string& name, const std::string& value) {
    return Make<namespaces::CreateNamespaceRequest>([&](auto& r) {
      r.mutable_namespace_()->set_name(name);
      if (!value.empty()) (*r.mutable_namespace_()->mutable_labels())["k"] = value;
    });
  };
  auto publish = [this](const std::string& topic) {
    return Make<events::PublishRequest>([&](auto& r) {
      r.set_topic(topic);
      r.mutable_event()->set_type_url("x");
    });
  };
  const std::string create = "namespaces.v1.Namespaces/Create";
  Check({
      {"empty", create, space("", ""), "INVALID_ARGUMENT"},
      {"slash", create, space("a/b", ""), "INVALID_ARGUMENT"},
      {"upwards", create, space("..", ""), "INVALID_ARGUMENT"},
      {"too long", create, space(std::string(77, 'n'), ""), "INVALID_ARGUMENT"},
      {"huge label", create, space("ok", std::string(5000, 'v')), "INVALID_ARGUMENT"},
      {"unknown", "namespaces.v1.Namespaces/Delete",
       Make<namespaces::DeleteNamespaceRequest>([](auto& r) { r.set_name("nosuch"); }),
       "NOT_FOUND"},
      {"unknown", "leases.v1.Leases/Delete",
       Make<leases::DeleteRequest>([](auto& r) { r.set_id("nosuch"); }), "NOT_FOUND"},
      {"unknown lease", "leases.v1.Leases/AddResource",
       Make<leases::AddResourceRequest>([](auto& r) {
         r.set_id("nosuch");
         r.mutable_resource()->set_type("content");
         r.mutable_resource()->set_id(kDigest);
       }),
       "NOT_FOUND"},
      {"no topic", "events.v1.Events/Publish", publish(""), "INVALID_ARGUMENT"},
      {"relative topic", "events.v1.Events/Publish", publish("a/b"), "INVALID_ARGUMENT"},
      {"bad component", "events.v1.Events/Publish", publish("/a b/c"), "INVALID_ARGUMENT"},
      {"bad filter", "introspection.v1.Introspection/Plugins",
       Make<introspection::PluginsRequest>([](auto& r) { r.add_filters("id==\"x"); }),
       "INVALID_ARGUMENT"},
  });
}

TEST_F(MalformedTest, TasksOfNobody) {
  auto kill = [](const std::string& id, const std::string& exec) {
    return Make<tasks::KillRequest>([&](auto& r) {
      r.set_container_id(id);
      r.set_exec_id(exec);
      r.set_signal(9);
    });
  };
  std::vector<Row> rows = {
      {"a path", "tasks.v1.Tasks/Kill", kill("../../x", ""), "NOT_FOUND"},
      {"NUL", "tasks.v1.Tasks/Kill", kill(std::string("a\0b", 3), ""), "NOT_FOUND"},
      {"exec of nobody", "tasks.v1.Tasks/Kill", kill("nobody", "e"), "NOT_FOUND"},
  };
  const std::string nobody = Make<tasks::GetRequest>([](auto& r) { r.set_container_id("nobody"); });
  // The id is the first field of all of these.
  for (const char* method : {"Create", "Start", "Delete", "Get", "Kill", "ResizePty", "CloseIO",
                             "Pause", "Resume", "ListPids", "Update", "Wait", "DeleteProcess"}) {
    rows.push_back({"unknown", absl::StrCat("tasks.v1.Tasks/", method), nobody, "NOT_FOUND"});
    rows.push_back({"empty", absl::StrCat("tasks.v1.Tasks/", method), "", "NOT_FOUND"});
  }
  auto exec = [](const std::string& container, const std::string& id) {
    return Make<tasks::ExecProcessRequest>([&](auto& r) {
      r.set_container_id(container);
      r.set_exec_id(id);
    });
  };
  rows.push_back({"no exec id", "tasks.v1.Tasks/Exec", exec("nobody", ""), "INVALID_ARGUMENT"});
  rows.push_back({"unknown", "tasks.v1.Tasks/Exec", exec("nobody", "e"), "NOT_FOUND"});
  Check(rows);
}

TEST_F(MalformedTest, TasksWithBadContainers) {
  auto create = [this](const std::string& id) {
    return Send("tasks.v1.Tasks/Create",
                Make<tasks::CreateTaskRequest>([&](auto& r) { r.set_container_id(id); }));
  };
  // runc only says that it failed; our engine says that it was the request.
  const char* refused = containerd_major() > 0 ? "UNKNOWN" : "INVALID_ARGUMENT";
  struct {
    const char* id;
    std::string container;
    const char* code;
  } cases[] = {
      {"unknown-runtime", Container("unknown-runtime", "io.containerd.nosuch.v1"), "UNKNOWN"},
      {"bad-runtime", Container("bad-runtime", "nonsense"), "UNKNOWN"},
      {"no-json",
       Container("no-json", "io.containerd.runc.v2",
                 [](auto& c) { c.mutable_spec()->set_value("not json"); }),
       refused},
      {"empty-spec", Container("empty-spec"), refused},
      {"bad-any",
       Container("bad-any", "io.containerd.runc.v2",
                 [](auto& c) {
                   c.mutable_runtime()->mutable_options()->set_type_url("no/such.Type");
                   c.mutable_runtime()->mutable_options()->set_value("\xff\xff");
                 }),
       refused},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Send("containers.v1.Containers/Create", c.container), "OK") << c.id;
    std::string text = create(c.id);
    EXPECT_EQ(text.substr(0, text.find(':')), c.code) << c.id << ": " << text;
    // Nothing of a task is left, and the container can go.
    EXPECT_TRUE(absl::StartsWith(Send("tasks.v1.Tasks/Get", Make<tasks::GetRequest>([&](auto& r) {
                                        r.set_container_id(c.id);
                                      })),
                                 "NOT_FOUND"));
    EXPECT_EQ(Send("containers.v1.Containers/Delete",
                   Make<containers::DeleteContainerRequest>([&](auto& r) { r.set_id(c.id); })),
              "OK");
  }
}

TEST_F(MalformedTest, Diff) {
  if (old_containerd()) GTEST_SKIP() << "containerd 1.6 dies of the first of these";
  Check({
      {"nothing", "diff.v1.Diff/Apply", "", "INVALID_ARGUMENT"},
      {"unknown blob", "diff.v1.Diff/Apply", Make<diff::ApplyRequest>([](auto& r) {
         r.mutable_diff()->set_media_type("application/vnd.oci.image.layer.v1.tar");
         r.mutable_diff()->set_digest(kDigest);
       }),
       "NOT_FOUND"},
      {"unknown media type", "diff.v1.Diff/Diff",
       Make<diff::DiffRequest>([](auto& r) { r.set_media_type("text/html"); }), "UNIMPLEMENTED"},
  });
}

TEST_F(MalformedTest, BytesThatAreNoMessage) {
  for (const char* method :
       {"containers.v1.Containers/Create", "tasks.v1.Tasks/Create", "images.v1.Images/List"}) {
    std::string text = Send(method, "\xff\xff\xff\xff");
    // gRPC's own libraries differ here.
    EXPECT_TRUE(absl::StartsWith(text, "INTERNAL") || absl::StartsWith(text, "UNIMPLEMENTED"))
        << text;
  }
  EXPECT_TRUE(absl::StartsWith(Send("containers.v1.Containers/NoSuch", ""), "UNIMPLEMENTED"));
  EXPECT_TRUE(absl::StartsWith(Send("nosuch.v1.NoSuch/Get", ""), "UNIMPLEMENTED"));
}

TEST_F(MalformedTest, EveryServiceWantsANamespace) {
  for (const char* method :
       {"containers.v1.Containers/List", "containers.v1.Containers/Get", "images.v1.Images/List",
        "images.v1.Images/Delete", "leases.v1.Leases/List", "leases.v1.Leases/Delete",
        "tasks.v1.Tasks/List", "tasks.v1.Tasks/Get", "tasks.v1.Tasks/Kill",
        "content.v1.Content/Status", "content.v1.Content/ListStatuses"}) {
    std::string text = Send(method, "", false);
    EXPECT_TRUE(absl::StartsWith(text, "FAILED_PRECONDITION")) << method << ": " << text;
  }
}

}  // namespace
}  // namespace gantry::tests
