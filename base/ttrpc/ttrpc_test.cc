#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/event_loop.h"
#include "base/file.h"
#include "base/ttrpc/client.h"
#include "base/ttrpc/frame.h"
#include "base/ttrpc/server.h"
#include "gantry/ttrpc/v1/ttrpc.pb.h"
#include "gtest/gtest.h"

namespace gantry::base::ttrpc {
namespace {

using ::gantry::ttrpc::v1::KeyValue;
using ::gantry::ttrpc::v1::Request;
using ::gantry::ttrpc::v1::Response;

// A server on a thread of its own with the methods Echo, Namespace, Fail, Hold (answered by
// Release), Big, Drop.
class TtrpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-ttrpc-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    path_ = dir_ + "/s";
    UniqueFd listener;
    ASSERT_TRUE(ListenUnix(path_, &listener).ok());
    server_ = std::make_unique<Server>(&loop_);
    server_->Register("test.Echo", [this](std::shared_ptr<Call> call) { Handle(call); });
    ASSERT_TRUE(server_->Listen(std::move(listener)).ok());
    thread_ = std::thread([this] { EXPECT_TRUE(loop_.Run().ok()); });
  }

  void TearDown() override {
    loop_.Stop();
    if (thread_.joinable()) thread_.join();
    held_.clear();
    server_.reset();
    EXPECT_TRUE(RemoveTree(dir_).ok());
  }

  void Handle(const std::shared_ptr<Call>& call) {
    if (call->method() == "Echo") return call->Reply(std::string(call->payload()));
    if (call->method() == "Namespace")
      return call->Reply(std::string(call->metadata("containerd-namespace-ttrpc")));
    if (call->method() == "Fail") return call->Fail(absl::NotFoundError("no such thing"));
    if (call->method() == "Big") return call->Reply(std::string(kMaxMessage, 'b'));
    if (call->method() == "Drop") return;
    if (call->method() == "Hold") {
      held_.push_back(call);
      ++held_count_;
      return;
    }
    if (call->method() == "Release") {
      // In reverse, to show that the order is free.
      for (auto it = held_.rbegin(); it != held_.rend(); ++it)
        (*it)->Reply(std::string((*it)->payload()));
      held_.clear();
      return call->Reply("");
    }
    call->Fail(absl::UnimplementedError(absl::StrCat("method ", call->method())));
  }

  std::shared_ptr<Client> Connect() {
    auto client = Client::Connect("unix://" + path_);
    EXPECT_TRUE(client.ok()) << client.status();
    return *client;
  }

  static absl::StatusOr<std::string> Raw(Client* client, const std::string& service,
                                         const std::string& method, std::string payload = "",
                                         absl::Duration timeout = absl::InfiniteDuration()) {
    absl::Notification done;
    absl::StatusOr<std::string> result;
    client->CallAsync(service, method, std::move(payload), {}, timeout,
                      [&](absl::StatusOr<std::string> r) {
                        result = std::move(r);
                        done.Notify();
                      });
    done.WaitForNotification();
    return result;
  }

  // Speaks the wire by hand.
  struct RawPeer {
    UniqueFd fd;
    FrameReader in;
    void Send(const std::string& bytes) { ASSERT_TRUE(WriteAll(fd.get(), bytes).ok()); }
    bool Receive(Frame* frame) {
      absl::Time end = absl::Now() + absl::Seconds(10);
      while (absl::Now() < end) {
        if (auto next = in.Next()) {
          *frame = *std::move(next);
          return true;
        }
        if (!in.ReadFrom(fd.get()).ok()) return false;
        absl::SleepFor(absl::Milliseconds(1));
      }
      return false;
    }
    int ReceiveCode(uint32_t stream) {
      Frame frame;
      Response response;
      if (!Receive(&frame) || !response.ParseFromString(frame.data)) return -1;
      EXPECT_EQ(frame.stream, stream);
      EXPECT_EQ(frame.type, kResponse);
      return response.status().code();
    }
  };
  RawPeer RawConnect() {
    RawPeer peer;
    EXPECT_TRUE(ConnectUnix(path_, &peer.fd).ok());
    return peer;
  }
  static std::string RequestBytes(const std::string& service, const std::string& method) {
    Request request;
    request.set_service(service);
    request.set_method(method);
    return request.SerializeAsString();
  }

  std::string dir_, path_;
  EventLoop loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  std::vector<std::shared_ptr<Call>> held_;  // loop thread
  std::atomic<int> held_count_{0};
};

TEST_F(TtrpcTest, AnswersErrorsAndMetadata) {
  auto client = Connect();
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "hello"), "hello");
  absl::Status failed = Raw(client.get(), "test.Echo", "Fail").status();
  EXPECT_EQ(failed, absl::NotFoundError("no such thing"));
  EXPECT_EQ(Raw(client.get(), "other.Service", "Echo").status().code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Nothing").status().code(),
            absl::StatusCode::kUnimplemented);
  KeyValue request;
  absl::Notification done;
  client->CallAsync("test.Echo", "Namespace", "", {{"containerd-namespace-ttrpc", "k8s.io"}},
                    absl::Seconds(10), [&](absl::StatusOr<std::string> r) {
                      EXPECT_EQ(*r, "k8s.io");
                      done.Notify();
                    });
  done.WaitForNotification();
}

TEST_F(TtrpcTest, SynchronousCallParsesTheAnswer) {
  auto client = Connect();
  KeyValue request, response;
  request.set_key("k");
  ASSERT_TRUE(client->Call("test.Echo", "Echo", request, &response).ok());
  EXPECT_EQ(response.key(), "k");
  EXPECT_TRUE(client->Call("test.Echo", "Echo", request, nullptr).ok());
}

TEST_F(TtrpcTest, SocketIsPrivate) {
  struct stat st;
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  UniqueFd second;
  EXPECT_EQ(ListenUnix(path_, &second).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(TtrpcTest, CallsRunConcurrentlyAndAnswersComeInAnyOrder) {
  auto client = Connect();
  constexpr int kCalls = 500;
  absl::BlockingCounter answered(kCalls);
  std::atomic<int> wrong{0};
  for (int i = 0; i < kCalls; ++i) {
    std::string payload = absl::StrCat("call ", i);
    client->CallAsync("test.Echo", "Hold", payload, {}, absl::InfiniteDuration(),
                      [&, payload](absl::StatusOr<std::string> r) {
                        if (!r.ok() || *r != payload) ++wrong;
                        answered.DecrementCount();
                      });
  }
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "not blocked"), "not blocked");
  EXPECT_TRUE(Raw(client.get(), "test.Echo", "Release").ok());
  answered.Wait();
  EXPECT_EQ(wrong, 0);
}

TEST_F(TtrpcTest, ManyThreadsShareOneClient) {
  auto client = Connect();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        KeyValue request, response;
        request.set_key(absl::StrCat(t, "/", i));
        if (!client->Call("test.Echo", "Echo", request, &response, {}, absl::Seconds(30)).ok() ||
            response.key() != request.key())
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(TtrpcTest, TimeoutEndsTheCallAndNotTheConnection) {
  auto client = Connect();
  absl::Time start = absl::Now();
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Hold", "", absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "alive"), "alive");
}

TEST_F(TtrpcTest, DroppedCallIsAnsweredWithAnError) {
  auto client = Connect();
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Drop").status().code(), absl::StatusCode::kInternal);
}

TEST_F(TtrpcTest, DisconnectEndsPendingCallsAndNotifiesOnce) {
  absl::Notification gone;
  auto client = *Client::Connect(path_, [&] { gone.Notify(); });
  absl::Notification done;
  absl::Status result;
  client->CallAsync("test.Echo", "Hold", "", {}, absl::InfiniteDuration(),
                    [&](absl::StatusOr<std::string> r) {
                      result = r.status();
                      done.Notify();
                    });
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "x"), "x");
  loop_.Stop();
  thread_.join();
  EXPECT_EQ(held_count_, 1);
  held_.clear();
  server_.reset();
  done.WaitForNotification();
  gone.WaitForNotification();
  // Either the goodbye of the held call or the loss of the connection.
  EXPECT_FALSE(result.ok());
  EXPECT_FALSE(client->connected());
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Echo").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Client::Connect(dir_ + "/none").status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(TtrpcTest, ServerSeesThatTheClientHasGone) {
  auto client = Connect();
  client->CallAsync("test.Echo", "Hold", "", {}, absl::InfiniteDuration(),
                    [](absl::StatusOr<std::string>) {});
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "x"), "x");
  client->Close();
  client->Close();
  std::atomic<bool> finished{false};
  for (int i = 0; i < 500 && !finished; ++i) {
    loop_.Post([&] { finished = held_.size() == 1 && held_[0]->finished(); });
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_TRUE(finished);
}

TEST_F(TtrpcTest, BadFramesGetErrorsAndDoNotHurtOthers) {
  RawPeer peer = RawConnect();
  peer.Send(EncodeFrame(2, kRequest, RequestBytes("test.Echo", "Echo")));
  EXPECT_EQ(peer.ReceiveCode(2), 3);
  peer.Send(EncodeFrame(5, kRequest, RequestBytes("test.Echo", "Echo")));
  EXPECT_EQ(peer.ReceiveCode(5), 0);
  peer.Send(EncodeFrame(5, kRequest, RequestBytes("test.Echo", "Echo")));
  EXPECT_EQ(peer.ReceiveCode(5), 3);
  peer.Send(EncodeFrame(3, kRequest, RequestBytes("test.Echo", "Echo")));
  EXPECT_EQ(peer.ReceiveCode(3), 3);
  peer.Send(EncodeFrame(7, kRequest, "\xff\xff\xff\xff"));
  EXPECT_EQ(peer.ReceiveCode(7), 3);
  peer.Send(EncodeFrame(9, kRequest, RequestBytes("", "")));
  EXPECT_EQ(peer.ReceiveCode(9), 12);
  peer.Send(EncodeFrame(11, kRequest, RequestBytes("test.Echo", "Echo"), kRemoteOpen));
  EXPECT_EQ(peer.ReceiveCode(11), 12);
  // Unknown types are skipped.
  peer.Send(EncodeFrame(13, static_cast<FrameType>(77), "?"));
  peer.Send(EncodeFrame(13, kRequest, RequestBytes("test.Echo", "Echo")));
  EXPECT_EQ(peer.ReceiveCode(13), 0);
}

TEST_F(TtrpcTest, OversizeRequestIsRefusedAndTheConnectionGoesOn) {
  RawPeer peer = RawConnect();
  std::string big = EncodeFrame(1, kRequest, std::string(kMaxMessage + 4096, 'x'));
  WriteBuffer out;
  out.Append(big + EncodeFrame(3, kRequest, RequestBytes("test.Echo", "Echo")));
  while (!out.empty()) ASSERT_TRUE(out.Flush(peer.fd.get()).ok());
  EXPECT_EQ(peer.ReceiveCode(1), 8);
  EXPECT_EQ(peer.ReceiveCode(3), 0);

  auto client = Connect();
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Echo", std::string(kMaxMessage, 'x')).status().code(),
            absl::StatusCode::kResourceExhausted);
  // An answer that does not fit becomes an error as well.
  EXPECT_EQ(Raw(client.get(), "test.Echo", "Big").status().code(),
            absl::StatusCode::kResourceExhausted);
  std::string large(kMaxMessage - 100, 'y');
  EXPECT_TRUE(*Raw(client.get(), "test.Echo", "Echo", large) == large);
}

TEST_F(TtrpcTest, AClientThatTakesNoAnswersDoesNotFillTheMemory) {
  RawPeer peer = RawConnect();
  Request request;
  request.set_service("test.Echo");
  request.set_method("Echo");
  request.set_payload(std::string(1u << 20, 'z'));
  WriteBuffer out;
  for (int i = 0; i < 40; ++i)
    out.Append(EncodeFrame(2 * i + 1, kRequest, request.SerializeAsString()));
  size_t before = 0;
  absl::Time end = absl::Now() + absl::Milliseconds(500);
  while (absl::Now() < end) {
    ASSERT_TRUE(out.Flush(peer.fd.get()).ok());
    absl::SleepFor(absl::Milliseconds(5));
    before = out.size();
  }
  // Most requests are still ours: the server reads no more.
  EXPECT_GT(before, 30u << 20);
  // Others are served meanwhile.
  auto client = Connect();
  EXPECT_EQ(*Raw(client.get(), "test.Echo", "Echo", "x"), "x");
  // When it reads, everything arrives.
  int answers = 0;
  end = absl::Now() + absl::Seconds(30);
  while (answers < 40 && absl::Now() < end) {
    ASSERT_TRUE(out.Flush(peer.fd.get()).ok());
    ASSERT_TRUE(peer.in.ReadFrom(peer.fd.get()).ok());
    while (auto frame = peer.in.Next()) ++answers;
  }
  EXPECT_EQ(answers, 40);
}

}  // namespace
}  // namespace gantry::base::ttrpc
