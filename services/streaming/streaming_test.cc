#include <thread>

#include "absl/time/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "containerd/services/streaming/v1/streaming.grpc.pb.h"
#include "containerd/types/transfer/streaming.pb.h"
#include "google/protobuf/empty.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/streaming/stream.h"
#include "services/streaming/streaming_service.h"

namespace gantry::services {
namespace {

using containerd::services::streaming::v1::Streaming;
using containerd::services::streaming::v1::StreamInit;
using containerd::types::transfer::Data;
using containerd::types::transfer::WindowUpdate;
using google::protobuf::Any;
using Call = grpc::ClientReaderWriter<Any, Any>;

class StreamingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = "/tmp/gantry-streaming-" + base::RandomHex(6);
    service_ = MakeStreamingService(&streams_);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path_, grpc::InsecureServerCredentials());
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = Streaming::NewStub(
        grpc::CreateChannel("unix:" + path_, grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    unlink(path_.c_str());
  }
  std::unique_ptr<Call> Open(grpc::ClientContext* context, const std::string& id) {
    context->AddMetadata("containerd-namespace", "n");
    auto call = stub_->Stream(context);
    StreamInit init;
    init.set_id(id);
    call->Write(PackBare(init));
    return call;
  }

  StreamManager streams_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Streaming::Stub> stub_;
  std::string path_;
  const Context ctx_{"n", ""};
};

TEST_F(StreamingTest, RegistersAnswersAndForgets) {
  grpc::ClientContext context;
  auto call = Open(&context, "a");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  EXPECT_EQ(TypeNameOf(answer), "google.protobuf.Empty");
  auto stream = streams_.Get(ctx_, "a");
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(streams_.Get({"other", ""}, "a").status().code(), absl::StatusCode::kNotFound);
  grpc::ClientContext second;
  auto again = Open(&second, "a");
  EXPECT_FALSE(again->Read(&answer));
  EXPECT_EQ(again->Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  (*stream)->Close();
  (*stream)->Close();
  EXPECT_FALSE(call->Read(&answer));
  EXPECT_TRUE(call->Finish().ok());
  EXPECT_FALSE(streams_.Get(ctx_, "a").ok());
  EXPECT_FALSE((*stream)->Send(answer).ok());
}

TEST_F(StreamingTest, RefusesAnotherFirstMessage) {
  grpc::ClientContext context;
  auto call = stub_->Stream(&context);
  call->Write(PackBare(google::protobuf::Empty()));
  Any answer;
  EXPECT_FALSE(call->Read(&answer));
  EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(StreamingTest, ReceivesBytesWithinTheWindow) {
  grpc::ClientContext context;
  auto call = Open(&context, "in");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  std::string sent;
  std::thread client([&] {
    int64_t window = 0;
    for (int i = 0; i < 300; ++i) {
      Data data;
      data.set_data(std::string(20000, static_cast<char>('a' + i % 26)));
      sent += data.data();
      while (window < 20000) {
        WindowUpdate update;
        ASSERT_TRUE(call->Read(&answer) && UnpackBare(answer, &update));
        window += update.update();
      }
      window -= 20000;
      ASSERT_TRUE(call->Write(PackBare(data)));
    }
    call->WritesDone();
  });
  std::string got;
  auto stream = streams_.Get(ctx_, "in");
  ASSERT_TRUE(stream.ok());
  absl::Status status = ReceiveBytes(stream->get(), [&](absl::string_view d) {
    got.append(d.data(), d.size());
    return absl::OkStatus();
  });
  client.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(got, sent);
  (*stream)->Close();
  while (call->Read(&answer)) {
  }
  EXPECT_TRUE(call->Finish().ok());
}

TEST_F(StreamingTest, SendsNoMoreThanTheWindow) {
  grpc::ClientContext context;
  auto call = Open(&context, "out");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  auto stream = streams_.Get(ctx_, "out");
  ASSERT_TRUE(stream.ok());
  std::string sent(500000, 'z');
  std::thread server([&] {
    ByteSender sender(stream->get());
    EXPECT_TRUE(sender.Write(sent).ok());
    (*stream)->Close();
  });
  std::string got;
  int64_t allowed = 0;
  while (true) {
    if (allowed - static_cast<int64_t>(got.size()) <= 0) {
      WindowUpdate update;
      update.set_update(65536);
      allowed += 65536;
      call->Write(PackBare(update));
    }
    if (!call->Read(&answer)) break;
    Data data;
    ASSERT_TRUE(UnpackBare(answer, &data));
    got += data.data();
    EXPECT_LE(static_cast<int64_t>(got.size()), allowed);
  }
  server.join();
  EXPECT_TRUE(call->Finish().ok());
  EXPECT_EQ(got, sent);
}

// The last report of a transfer got lost when the client read slowly or left with the answer.
TEST_F(StreamingTest, WhatIsPostedComesBeforeTheEnd) {
  grpc::ClientContext context;
  auto call = Open(&context, "reports");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  auto stream = streams_.Get(ctx_, "reports");
  ASSERT_TRUE(stream.ok());
  constexpr int kMessages = 1000;
  Data data;
  data.set_data(std::string(1000, 'r'));
  for (int i = 0; i < kMessages; ++i) (*stream)->Post(PackBare(data));
  std::thread server([&] { (*stream)->CloseAndWait(absl::Seconds(30)); });
  int got = 0;
  while (call->Read(&answer)) ++got;
  server.join();
  EXPECT_EQ(got, kMessages);
  EXPECT_TRUE(call->Finish().ok());
  (*stream)->Post(PackBare(data));  // nothing happens any more
}

TEST_F(StreamingTest, NobodyWaitsLongForAClientThatDoesNotRead) {
  grpc::ClientContext context;
  auto call = Open(&context, "deaf");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  auto stream = streams_.Get(ctx_, "deaf");
  ASSERT_TRUE(stream.ok());
  Data data;
  data.set_data(std::string(1 << 20, 'd'));
  for (int i = 0; i < 20; ++i) (*stream)->Post(PackBare(data));
  absl::Time start = absl::Now();
  (*stream)->CloseAndWait(absl::Milliseconds(50));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(50));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  context.TryCancel();
  EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamingTest, ACancelledClientWakesTheReceiver) {
  grpc::ClientContext context;
  auto call = Open(&context, "gone");
  Any answer;
  ASSERT_TRUE(call->Read(&answer));
  auto stream = streams_.Get(ctx_, "gone");
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->Receive(absl::Milliseconds(10)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  context.TryCancel();
  auto got = (*stream)->Receive(absl::Seconds(10));
  EXPECT_TRUE(!got.ok() || !got->has_value());
  EXPECT_NE(got.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(call->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace gantry::services
