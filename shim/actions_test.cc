#include "shim/actions.h"

#include <stdlib.h>

#include "base/file.h"
#include "containerd/types/introspection.pb.h"
#include "containerd/types/runc/options/oci.pb.h"
#include "gantry/shim/v1/bootstrap.pb.h"
#include "gtest/gtest.h"
#include "shim/launch.h"
#include "shim/runtime_options.h"

namespace gantry::shim {
namespace {

google::protobuf::Any RuncOptions() {
  containerd::runc::v1::Options options;
  options.set_shim_cgroup("/x");
  options.set_io_uid(7);
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/containerd.runc.v1.Options");
  any.set_value(options.SerializeAsString());
  return any;
}

TEST(FlagsTest, GoStyle) {
  auto flags = ParseFlags({"-namespace", "ns", "--address=/a.sock", "-publish-binary", "/c", "-id",
                           "i", "-bundle", "/b", "-debug", "start", "-ignored"});
  ASSERT_TRUE(flags.ok()) << flags.status();
  EXPECT_EQ(flags->ns, "ns");
  EXPECT_EQ(flags->address, "/a.sock");
  EXPECT_EQ(flags->id, "i");
  EXPECT_EQ(flags->bundle, "/b");
  EXPECT_TRUE(flags->debug);
  EXPECT_EQ(flags->action, "start");
  EXPECT_TRUE(ParseFlags({"-v"})->version);
  EXPECT_TRUE(ParseFlags({"-info"})->info);
  EXPECT_FALSE(ParseFlags({"-debug=false"})->debug);
  EXPECT_FALSE(ParseFlags({"-id"}).ok());
  EXPECT_FALSE(ParseFlags({"-what"}).ok());
}

TEST(ActionsTest, StdinOfEveryDaemonIsUnderstood) {
  Flags flags;
  flags.ns = "ns";
  flags.id = "c1";
  flags.address = "/run/c.sock";
  ASSERT_EQ(setenv("TTRPC_ADDRESS", "/run/c.sock.ttrpc", 1), 0);
  ASSERT_EQ(unsetenv("GRPC_ADDRESS"), 0);
  StartInput old = ParseStartInput("", flags);
  EXPECT_TRUE(old.old_daemon);
  EXPECT_EQ(old.ttrpc_address, "/run/c.sock.ttrpc");
  EXPECT_TRUE(old.options.type_url().empty());

  ASSERT_EQ(setenv("GRPC_ADDRESS", "/run/c.sock", 1), 0);
  StartInput any = ParseStartInput(RuncOptions().SerializeAsString(), flags);
  EXPECT_FALSE(any.old_daemon);
  EXPECT_EQ(ParseRuntimeOptions(any.options)->shim_cgroup, "/x");

  ASSERT_EQ(unsetenv("GRPC_ADDRESS"), 0);
  gantry::shim::v1::BootstrapParams params;
  params.set_instance_id("c1");
  params.set_namespace_("ns");
  params.set_containerd_ttrpc_address("/other.ttrpc");
  params.set_socket_dir("/run/x");
  *params.add_extensions()->mutable_value() = RuncOptions();
  StartInput fresh = ParseStartInput(params.SerializeAsString(), flags);
  EXPECT_FALSE(fresh.old_daemon);
  EXPECT_EQ(fresh.ttrpc_address, "/other.ttrpc");
  EXPECT_EQ(fresh.socket_dir, "/run/x");
  EXPECT_EQ(ParseRuntimeOptions(fresh.options)->io_uid, 7u);
  // The same bytes for another container are no parameters.
  flags.id = "c2";
  EXPECT_TRUE(ParseStartInput(params.SerializeAsString(), flags).socket_dir.empty());
  EXPECT_TRUE(ParseStartInput("\xff garbage", flags).options.type_url().empty());
  ASSERT_EQ(unsetenv("TTRPC_ADDRESS"), 0);
}

TEST(ActionsTest, RuntimeOptionsOfOtherKindsAreRefused) {
  google::protobuf::Any any;
  EXPECT_TRUE(ParseRuntimeOptions(any).ok());
  any.set_type_url("runtimeoptions.v1.Options");
  EXPECT_TRUE(ParseRuntimeOptions(any).ok());
  any.set_type_url("example.Options");
  EXPECT_EQ(ParseRuntimeOptions(any).status().code(), absl::StatusCode::kInvalidArgument);
  any.set_type_url("containerd.runc.v1.Options");
  any.set_value("\xff");
  EXPECT_EQ(ParseRuntimeOptions(any).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ActionsTest, ContainersOfAPodShareAGroup) {
  char name[] = "/tmp/gantry-group-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  std::string bundle = name;
  auto write = [&](const char* text) {
    ASSERT_TRUE(base::WriteFile(bundle + "/config.json", text).ok());
  };
  EXPECT_EQ(*GroupOf(bundle, "c1"), "c1");
  write("{}");
  EXPECT_EQ(*GroupOf(bundle, "c1"), "c1");
  write(R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}})");
  EXPECT_EQ(*GroupOf(bundle, "c1"), "pod");
  write(R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod",
                           "io.containerd.runc.v2.group":"g"}})");
  EXPECT_EQ(*GroupOf(bundle, "c1"), "g");
  EXPECT_TRUE(base::RemoveTree(bundle).ok());
}

TEST(ActionsTest, SocketsFitIntoLongDirectories) {
  EXPECT_EQ(SocketPath(std::string(42, 'd'), "/run/c.sock", "ns", "c1").size(), 107u);
  EXPECT_EQ(SocketPath(std::string(43, 'd'), "/run/c.sock", "ns", "c1").size(), 107u);
  EXPECT_EQ(SocketPath(std::string(74, 'd'), "/run/c.sock", "ns", "c1").size(), 107u);
  // Binding it says that the directory is too long.
  EXPECT_EQ(SocketPath(std::string(90, 'd'), "/run/c.sock", "ns", "c1").size(), 90u + 33);
}

TEST(ActionsTest, SocketsOfTheDeadAreReplacedAndOfTheLivingRespected) {
  char name[] = "/tmp/gantry-sock-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  std::string path = SocketPath(std::string(name) + "/s", "/run/c.sock", "ns", "c1");
  EXPECT_EQ(path.size(), std::string(name).size() + 3 + 64);
  {
    auto first = BindShimSocket(path);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_TRUE(first->valid());
    auto second = BindShimSocket(path);
    ASSERT_TRUE(second.ok());
    EXPECT_FALSE(second->valid());
  }
  auto third = BindShimSocket(path);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE(third->valid());
  EXPECT_TRUE(base::RemoveTree(name).ok());
}

TEST(ActionsTest, InfoEchoesTheOptions) {
  auto text = Info(RuncOptions().SerializeAsString());
  ASSERT_TRUE(text.ok());
  containerd::types::RuntimeInfo info;
  ASSERT_TRUE(info.ParseFromString(*text));
  EXPECT_EQ(info.options().value(), RuncOptions().value());
  EXPECT_EQ(info.features().type_url(),
            "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
  EXPECT_FALSE(info.version().version().empty());
  EXPECT_FALSE(Info("\xff").ok());
  EXPECT_TRUE(Info("").ok());
}

}  // namespace
}  // namespace gantry::shim
