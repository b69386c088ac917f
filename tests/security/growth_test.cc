// What must not grow: daemons and shims that clients use wrongly and often, and documents of images
// that are made to be large.

#include <sys/stat.h>
#include <zlib.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/json.h"
#include "client/connection.h"
#include "client/spec/spec.h"
#include "containerd/services/tasks/v1/tasks.methods.h"
#include "containerd/services/tasks/v1/tasks.pb.h"
#include "gmock/gmock.h"
#include "tests/integration/image_archive.h"
#include "tests/security/daemon_fixture.h"

namespace gantry::tests {
namespace {

namespace tasks = ::containerd::services::tasks::v1;
using tasks::TasksMethods;

using CVE_2022_23471 = DaemonAttack;
using CVE_2025_64329 = DaemonAttack;
using CVE_2017_14992 = DaemonAttack;
using CVE_2021_21285 = DaemonAttack;

void ExpectFlat(const char* who, const Holdings& before, const Holdings& now, int64_t kib) {
  EXPECT_LE(now.descriptors, before.descriptors + 4) << who;
  EXPECT_LE(now.threads, before.threads + 4) << who;
  EXPECT_LE(now.rss_kib, before.rss_kib + kib) << who;
}

// A second process on a terminal, whose program does not exist, resized before and after.
void ExecNothing(const client::Connection& connection, const std::string& id, int number) {
  tasks::ExecProcessRequest exec;
  exec.set_container_id(id);
  exec.set_exec_id(absl::StrCat("e", number));
  exec.set_terminal(true);
  exec.mutable_spec()->set_type_url(client::kProcessTypeUrl);
  exec.mutable_spec()->set_value(
      R"({"args":["/nosuch"],"cwd":"/","terminal":true,"user":{"uid":0,"gid":0}})");
  google::protobuf::Empty nothing;
  EXPECT_TRUE(connection.Call(TasksMethods::kExec, exec, &nothing, absl::Seconds(5)).ok());
  tasks::ResizePtyRequest resize;
  resize.set_container_id(id);
  resize.set_exec_id(exec.exec_id());
  resize.set_width(80);
  resize.set_height(25);
  connection.Call(TasksMethods::kResizePty, resize, &nothing, absl::Seconds(5)).IgnoreError();
  tasks::StartRequest start;
  start.set_container_id(id);
  start.set_exec_id(exec.exec_id());
  tasks::StartResponse started;
  absl::Status status = connection.Call(TasksMethods::kStart, start, &started, absl::Seconds(5));
  EXPECT_FALSE(status.ok());
  connection.Call(TasksMethods::kResizePty, resize, &nothing, absl::Seconds(5)).IgnoreError();
  tasks::DeleteProcessRequest remove;
  remove.set_container_id(id);
  remove.set_exec_id(exec.exec_id());
  tasks::DeleteResponse removed;
  status = connection.Call(TasksMethods::kDeleteProcess, remove, &removed, absl::Seconds(5));
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(CVE_2022_23471, ExecsThatNeverRunLeaveNothing) {
  MustHoldHere({Mistake::kForgetsToClose}, [&] {
    Begin();
    ImportBusybox();
    CtrOk({"run", "-d", Busybox(), "one", "sleep", "1000"});
    auto connection = client::Connection::ToSocket(socket(), ns());
    int number = 0;
    while (number < 200) ExecNothing(connection, "one", ++number);
    pid_t shim = ShimOf("one");
    Holdings shim_before = HoldingsOf(shim), before = HoldingsOf(gantryd_pid());
    while (number < 1200) {
      ExecNothing(connection, "one", ++number);
      if (number % 100 == 0 && HoldingsOf(shim).descriptors > shim_before.descriptors + 50) break;
    }
    ExpectFlat("shim", shim_before, HoldingsOf(shim), 512);
    ExpectFlat("gantryd", before, HoldingsOf(gantryd_pid()), 8192);
  });
}

// Clients that wait for a process, as attaching does, and go away.
TEST_F(CVE_2025_64329, ClientsThatGoAwayLeaveNothing) {
  MustHoldHere({}, [&] {
    Begin();
    ImportBusybox();
    CtrOk({"run", "-d", Busybox(), "one", "sleep", "1000"});
    auto connection = client::Connection::ToSocket(socket(), ns());
    tasks::WaitRequest wait;
    wait.set_container_id("one");
    tasks::WaitResponse response;
    auto come_and_go = [&](int times) {
      for (int i = 0; i < times; ++i) {
        absl::Status status =
            connection.Call(TasksMethods::kWait, wait, &response, absl::Milliseconds(3));
        EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
      }
    };
    come_and_go(200);
    pid_t shim = ShimOf("one");
    Holdings shim_before = HoldingsOf(shim), before = HoldingsOf(gantryd_pid());
    come_and_go(1500);
    ExpectFlat("shim", shim_before, HoldingsOf(shim), 512);
    ExpectFlat("gantryd", before, HoldingsOf(gantryd_pid()), 8192);
  });
}

std::string Gzip(const std::string& data) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// CVE-2016-6595: layers that inflate without end, documents without end. 2 GiB of zeros weigh 9 MB.
TEST_F(CVE_2017_14992, LargeLayersAndDocumentsStayOutOfMemory) {
  MustHoldHere({}, [&] {
    Begin();
    const std::vector<TarItem> items = {TarFile("x", "x")};
    std::vector<std::pair<const char*, ImageArchive>> cases;
    auto add = [&](const char* name) -> ImageArchive& {
      cases.push_back({name, {"docker.io/library/large:1", items}});
      return cases.back().second;
    };
    add("layer").change_layer = [](std::string* layer) {
      const std::string zeros = Gzip(std::string(64 << 20, '\0'));
      for (int i = 0; i < 32; ++i) layer->append(zeros);
    };
    add("manifest").change_manifest = [](std::string* manifest) {
      manifest->insert(
          1, absl::StrCat("\"annotations\":{\"x\":\"", std::string(100 << 20, 'y'), "\"},"));
    };
    add("index").change_index = [](std::string* index) {
      index->insert(1,
                    absl::StrCat("\"annotations\":{\"x\":\"", std::string(100 << 20, 'y'), "\"},"));
    };
    add("config").change_config = [](std::string* config) {
      std::string history = "\"history\":[";
      for (int i = 0; i < 1000000; ++i) history += "{\"created_by\":\"x\",\"empty_layer\":true},";
      history.back() = ']';
      auto json = base::ParseJson(*config);
      json->erase("history");
      *config = json->dump();
      config->insert(1, history + ",");
    };
    for (const auto& [name, image] : cases) {
      std::string path = dir() + "/large.tar";
      ASSERT_TRUE(base::WriteFile(path, image.Pack()).ok());
      Holdings before = HoldingsOf(gantryd_pid());
      base::RunResult imported = Gantryctl({"import", path});
      Holdings after = HoldingsOf(gantryd_pid());
      EXPECT_LT(after.peak_kib - before.peak_kib, 64 << 10) << name << ": " << imported.err;
      EXPECT_EQ(imported.exit.code, 1) << name;
      EXPECT_EQ(CtrOk({"image", "ls", "-q"}), "") << name;
    }
  });
}

// Documents of every wrong shape: an error, and the daemon lives.
TEST_F(CVE_2021_21285, MalformedDocumentsAreOnlyRefused) {
  MustHoldHere({}, [&] {
    Begin();
    pid_t daemon = gantryd_pid();
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    std::vector<std::string> documents = {
        "null", "[]", "{}", "123", "\"x\"", "", "\xff\xfe", deep, "{\"a\":" + deep + "}"};
    for (const char* field : {"layers", "config", "mediaType", "schemaVersion", "rootfs", "os",
                              "manifests", "history", "annotations"}) {
      for (const char* value :
           {"null", "[null]", "{}", "-1", "1e300", "\"\"", "[{\"size\":-1}]", "[{\"digest\":{}}]",
            "[{\"digest\":\"sha256:../../x\",\"size\":1}]"}) {
        documents.push_back(absl::StrCat("{\"", field, "\":", value, "}"));
      }
    }
    int number = 0;
    for (const std::string& document : documents) {
      auto replace = [&](std::string* old) { *old = document; };
      ImageArchive image{"docker.io/library/malformed:1", {TarFile("x", "x")}};
      (number % 3 == 0   ? image.change_manifest
       : number % 3 == 1 ? image.change_config
                         : image.change_index) = replace;
      ++number;
      std::string path = dir() + "/malformed.tar";
      ASSERT_TRUE(base::WriteFile(path, image.Pack()).ok());
      base::RunResult imported = Gantryctl({"import", path});
      EXPECT_TRUE(imported.exit.code == 0 || imported.exit.code == 1) << document.substr(0, 80);
    }
    EXPECT_EQ(gantryd_pid(), daemon);
    CtrOk({"version"});
    ImportBusybox();
  });
}

}  // namespace
}  // namespace gantry::tests
