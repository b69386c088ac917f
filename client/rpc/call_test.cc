// The client against servers of gRPC C++ on a unix socket.

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/connection.h"
#include "containerd/services/content/v1/content.grpc.pb.h"
#include "containerd/services/content/v1/content.methods.h"
#include "containerd/services/version/v1/version.methods.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/server_context.h"
#include "gtest/gtest.h"

namespace gantry::client {
namespace {

namespace api = ::containerd::services::content::v1;
using Methods = api::ContentMethods;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Does what the request's digest says.
class Subject : public api::Content::Service {
 public:
  // "fail CODE TEXT", "hang", "big BYTES", "headers"; else an echo.
  grpc::Status Info(grpc::ServerContext* context, const api::InfoRequest* request,
                    api::InfoResponse* response) override {
    std::vector<std::string> words = absl::StrSplit(request->digest(), absl::MaxSplits(' ', 2));
    response->mutable_info()->set_digest(request->digest());
    if (words[0] == "fail") {
      int code = 0;
      EXPECT_TRUE(absl::SimpleAtoi(words[1], &code));
      return grpc::Status(static_cast<grpc::StatusCode>(code), words[2]);
    }
    if (words[0] == "hang") {
      ++hanging;
      while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
      --hanging;
    }
    if (words[0] == "big") {
      size_t size = 0;
      EXPECT_TRUE(absl::SimpleAtoi(words[1], &size));
      response->mutable_info()->set_digest(std::string(size, 'b'));
    }
    if (words[0] == "headers") {
      std::string all;
      for (const auto& [name, value] : context->client_metadata()) {
        absl::StrAppend(&all, std::string(name.data(), name.size()), "=",
                        std::string(value.data(), value.size()), "\n");
      }
      response->mutable_info()->set_digest(all);
    }
    return grpc::Status::OK;
  }

  // `size` messages of `offset` bytes, then the status of the digest, if it has one.
  grpc::Status Read(grpc::ServerContext* context, const api::ReadContentRequest* request,
                    grpc::ServerWriter<api::ReadContentResponse>* writer) override {
    api::ReadContentResponse part;
    part.set_data(std::string(static_cast<size_t>(request->offset()), 'd'));
    for (int64_t i = 0; i < request->size(); ++i) {
      part.set_offset(i);
      if (!writer->Write(part)) return grpc::Status(grpc::StatusCode::ABORTED, "reader has gone");
      ++sent;
    }
    if (request->digest() == "hang") {
      ++hanging;
      while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
      --hanging;
    }
    return request->digest() == "fail" ? grpc::Status(grpc::StatusCode::DATA_LOSS, "torn")
                                       : grpc::Status::OK;
  }

  // Echoes data until the client ends, or COMMIT, which ends the call from our side.
  grpc::Status Write(grpc::ServerContext*,
                     grpc::ServerReaderWriter<api::WriteContentResponse, api::WriteContentRequest>*
                         stream) override {
    api::WriteContentRequest request;
    api::WriteContentResponse response;
    while (stream->Read(&request)) {
      if (request.action() == api::COMMIT) {
        return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "enough");
      }
      response.set_digest(request.data());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  std::atomic<int> hanging{0};
  std::atomic<int> sent{0};
};

class CallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-rpc-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    StartServer();
  }
  void TearDown() override {
    StopServer();
    std::filesystem::remove_all(dir_);
  }

  std::string socket() const { return dir_ + "/s"; }
  void StartServer() {
    subject_ = std::make_unique<Subject>();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket(), grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(64 << 20);
    builder.RegisterService(subject_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void StopServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
    server_->Wait();
    server_.reset();
  }
  bool HangingBecomes(int count) {
    for (int i = 0; i < 1000 && subject_->hanging != count; ++i) {
      absl::SleepFor(absl::Milliseconds(2));
    }
    return subject_->hanging == count;
  }
  Connection Connect() { return Connection::ToSocket(socket(), "spaces"); }
  absl::Status Info(const Connection& connection, const std::string& what,
                    std::string* answer = nullptr,
                    absl::Duration timeout = absl::InfiniteDuration()) {
    api::InfoRequest request;
    request.set_digest(what);
    api::InfoResponse response;
    absl::Status status = connection.Call(Methods::kInfo, request, &response, timeout);
    if (answer != nullptr) *answer = response.info().digest();
    return status;
  }

  std::string dir_;
  std::unique_ptr<Subject> subject_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(CallTest, EveryStatusComesThrough) {
  Connection connection = Connect();
  for (int code = 1; code <= 16; ++code) {
    for (const char* text : {"plain", "per %cent%20", "zwei\nZeilen, ü"}) {
      absl::Status status = Info(connection, absl::StrCat("fail ", code, " ", text));
      EXPECT_EQ(static_cast<int>(status.code()), code);
      EXPECT_EQ(std::string(status.message()), text);
    }
  }
  std::string answer;
  EXPECT_TRUE(Info(connection, "echo", &answer).ok());
  EXPECT_EQ(answer, "echo");
}

TEST_F(CallTest, AServiceThatIsNotThereSaysSo) {
  ::containerd::services::version::v1::VersionResponse response;
  absl::Status status =
      Connect().Call(::containerd::services::version::v1::VersionMethods::kVersion,
                     google::protobuf::Empty(), &response);
  EXPECT_EQ(status, absl::UnimplementedError("the daemon does not serve this call"));
}

TEST_F(CallTest, NamespaceAndLeaseAreHeaders) {
  std::string headers;
  ASSERT_TRUE(Info(Connect().WithLease("le ase"), "headers", &headers).ok());
  EXPECT_THAT(headers, HasSubstr("containerd-namespace=spaces\n"));
  EXPECT_THAT(headers, HasSubstr("containerd-lease=le ase\n"));
  EXPECT_TRUE(absl::IsInvalidArgument(Info(Connect().WithNamespace("a\nb: c"), "headers")));
}

TEST_F(CallTest, DeadlinesEndTheCallOnBothSides) {
  Connection connection = Connect();
  absl::Time before = absl::Now();
  absl::Status status = Info(connection, "hang", nullptr, absl::Milliseconds(100));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_LT(absl::Now() - before, absl::Seconds(5));
  EXPECT_TRUE(HangingBecomes(0));
  EXPECT_TRUE(absl::IsDeadlineExceeded(Info(connection, "echo", nullptr, absl::ZeroDuration())));
  EXPECT_TRUE(Info(connection, "echo", nullptr, absl::Seconds(60)).ok());
}

TEST_F(CallTest, WhoGivesACallUpCancelsIt) {
  Connection connection = Connect();
  api::ReadContentRequest request;
  request.set_digest("hang");
  {
    auto stream = connection.Open(Methods::kRead, request);
    ASSERT_TRUE(HangingBecomes(1));
  }
  EXPECT_TRUE(HangingBecomes(0));
  auto stream = connection.Open(Methods::kRead, request);
  ASSERT_TRUE(HangingBecomes(1));
  stream.Cancel();
  EXPECT_TRUE(absl::IsCancelled(stream.Finish()));
  EXPECT_TRUE(HangingBecomes(0));
  EXPECT_TRUE(Info(connection, "echo").ok());
}

TEST_F(CallTest, MessagesUpToTheLimit) {
  constexpr size_t kLimit = 16 << 20;
  Connection connection = Connect();
  std::string answer;
  ASSERT_TRUE(Info(connection, std::string(kLimit - 100, 'a'), &answer).ok());
  EXPECT_EQ(answer.size(), kLimit - 100);
  EXPECT_TRUE(absl::IsResourceExhausted(Info(connection, std::string(kLimit, 'a'))));
  EXPECT_TRUE(absl::IsResourceExhausted(Info(connection, absl::StrCat("big ", kLimit))));
  EXPECT_TRUE(Info(connection, "echo").ok());
}

TEST_F(CallTest, StreamsFromTheServer) {
  struct Case {
    const char* name;
    int64_t messages;
    int64_t bytes;
    const char* digest;
    absl::StatusCode code;
  };
  Connection connection = Connect();
  for (const Case& c :
       {Case{"nothing", 0, 0, "", absl::StatusCode::kOk},
        Case{"an error at once", 0, 0, "fail", absl::StatusCode::kDataLoss},
        Case{"many small ones", 5000, 10, "", absl::StatusCode::kOk},
        Case{"empty ones", 100, 0, "fail", absl::StatusCode::kDataLoss},
        Case{"more than the window", 40, 1 << 20, "", absl::StatusCode::kOk},
        Case{"longer than the window", 3, 10 << 20, "fail", absl::StatusCode::kDataLoss}}) {
    SCOPED_TRACE(c.name);
    api::ReadContentRequest request;
    request.set_digest(c.digest);
    request.set_size(c.messages);
    request.set_offset(c.bytes);
    auto stream = connection.Open(Methods::kRead, request);
    api::ReadContentResponse part;
    int64_t count = 0;
    while (stream.Read(&part)) {
      EXPECT_EQ(part.offset(), count++);
      EXPECT_EQ(static_cast<int64_t>(part.data().size()), c.bytes);
    }
    EXPECT_EQ(count, c.messages);
    EXPECT_EQ(stream.Finish().code(), c.code);
  }
}

// A reader that is slow holds its server back, and nobody else.
TEST_F(CallTest, AStreamThatNobodyReadsIsHeldBack) {
  Connection connection = Connect();
  api::ReadContentRequest request;
  request.set_size(200);
  request.set_offset(1 << 20);
  auto stream = connection.Open(Methods::kRead, request);
  api::ReadContentResponse part;
  ASSERT_TRUE(stream.Read(&part));
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Info(connection, "echo").ok());
  EXPECT_LT(subject_->sent, 30);
  while (stream.Read(&part)) {
  }
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(subject_->sent, 200);
}

TEST_F(CallTest, TalkInBothDirections) {
  Connection connection = Connect();
  auto stream = connection.Open(Methods::kWrite);
  api::WriteContentRequest request;
  api::WriteContentResponse response;
  for (int i = 0; i < 1000; ++i) {
    request.set_data(absl::StrCat("message ", i));
    ASSERT_TRUE(stream.Write(request));
    ASSERT_TRUE(stream.Read(&response));
    EXPECT_EQ(response.digest(), request.data());
  }
  stream.WritesDone();
  EXPECT_FALSE(stream.Read(&response));
  EXPECT_TRUE(stream.Finish().ok());

  auto ended = connection.Open(Methods::kWrite);
  request.set_action(api::COMMIT);
  EXPECT_TRUE(ended.Write(request));
  EXPECT_FALSE(ended.Read(&response));
  EXPECT_EQ(ended.Finish(), absl::AlreadyExistsError("enough"));
  EXPECT_FALSE(ended.Write(request));
}

TEST_F(CallTest, CallsAtTheSameTimeOverOneConnection) {
  Connection connection = Connect();
  api::InfoRequest hang;
  hang.set_digest("hang");
  api::InfoResponse never;
  Batch waiting(connection);
  waiting.Start(Methods::kInfo, hang, &never);
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      Batch batch(connection);
      std::vector<api::InfoResponse> answers(50);
      for (int i = 0; i < 50; ++i) {
        api::InfoRequest request;
        request.set_digest(absl::StrCat(t, "-", i, std::string(5000, 'x')));
        batch.Start(Methods::kInfo, request, &answers[static_cast<size_t>(i)]);
      }
      for (size_t i = 50; i-- > 0;) {
        bool same = batch.Wait(i).ok() &&
                    absl::StartsWith(answers[i].info().digest(), absl::StrCat(t, "-", i, "x"));
        good += same ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8 * 50);
  EXPECT_FALSE(waiting.call(0).finished());
}

TEST_F(CallTest, OneThreadReadsWhileAnotherWrites) {
  Connection connection = Connect();
  auto stream = connection.Open(Methods::kWrite);
  constexpr int kCount = 300;
  std::thread writer([&] {
    api::WriteContentRequest request;
    request.set_data(std::string(50000, 'w'));
    for (int i = 0; i < kCount; ++i) EXPECT_TRUE(stream.Write(request));
    stream.WritesDone();
  });
  api::WriteContentResponse response;
  int count = 0;
  while (stream.Read(&response)) ++count;
  writer.join();
  EXPECT_EQ(count, kCount);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(CallTest, AServerThatGoesTakesItsCallsWithItAndTheNextFindsTheNewOne) {
  Connection connection = Connect();
  api::InfoRequest hang;
  hang.set_digest("hang");
  api::InfoResponse never;
  Batch waiting(connection);
  waiting.Start(Methods::kInfo, hang, &never);
  ASSERT_TRUE(HangingBecomes(1));
  StopServer();
  absl::Status lost = waiting.Wait(0);
  EXPECT_TRUE(absl::IsUnavailable(lost) || absl::IsCancelled(lost)) << lost;
  absl::Status nobody = Info(connection, "echo");
  EXPECT_TRUE(absl::IsUnavailable(nobody)) << nobody;
  StartServer();
  EXPECT_TRUE(Info(connection, "echo").ok());
}

TEST_F(CallTest, WhyNobodyAnswers) {
  std::string path = dir_ + "/none";
  EXPECT_THAT(std::string(Info(Connection::ToSocket(path, "ns"), "echo").message()),
              StartsWith(absl::StrCat("no daemon at ", path)));
  std::string file = dir_ + "/file";
  FILE* made = fopen(file.c_str(), "w");
  ASSERT_NE(made, nullptr);
  fclose(made);
  absl::Status refused = Info(Connection::ToSocket("unix://" + file, "ns"), "echo");
  EXPECT_TRUE(absl::IsUnavailable(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("is a leftover"));
  EXPECT_TRUE(absl::IsUnavailable(Info(Connection::ToSocket(std::string(200, 'p'), "ns"), "echo")));
  if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody without permission";
  ASSERT_EQ(seteuid(65534), 0);
  absl::Status denied = Info(Connect(), "echo");
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(denied)) << denied;
  EXPECT_THAT(std::string(denied.message()), HasSubstr("run this command as root"));
}

// The loop of an attached session: polls the call's descriptor itself.
TEST_F(CallTest, ACallCanBePolledFromOutside) {
  Connection connection = Connect();
  api::InfoRequest request;
  request.set_digest("echo");
  rpc::Call call = connection.Start(Methods::kInfo.path, &request);
  for (int i = 0; i < 1000 && !call.finished(); ++i) {
    pollfd fd = call.descriptor();
    if (poll(&fd, 1, 5000) > 0) call.Process();
  }
  ASSERT_TRUE(call.finished());
  EXPECT_EQ(call.descriptor().fd, -1);
  api::InfoResponse response;
  EXPECT_TRUE(call.FinishUnary(&response).ok());
  EXPECT_EQ(response.info().digest(), "echo");
}

}  // namespace
}  // namespace gantry::client
