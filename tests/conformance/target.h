#ifndef GANTRY_TESTS_CONFORMANCE_TARGET_H_
#define GANTRY_TESTS_CONFORMANCE_TARGET_H_

// What a conformance suite talks to. The same cases run against gantryd and against containerd, so
// that each is known to be true of the original:
//
//   GANTRY_CONFORMANCE_ADDRESS=/run/containerd/containerd.sock   a daemon that runs already
//   GANTRY_CONFORMANCE_DAEMON=/usr/bin/containerd                a program to start for the suite
//   neither                                                      $GANTRY_BIN_DIR/gantryd
//
// A program is started once for all tests of the process, with root, state and socket of its own.

#include <map>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "gtest/gtest.h"

namespace gantry::tests {

// Each test gets a containerd namespace of its own, and is skipped with a reason when there is no
// daemon to talk to.
class ConformanceTest : public ::testing::Test {
 protected:
  void SetUp() override;

  std::shared_ptr<grpc::Channel> channel() const;
  const std::string& ns() const { return ns_; }
  // Path of the socket.
  std::string address() const;
  // 1 or 2 when the peer is containerd of that major version, for the few cases where it is known
  // to differ; 0 when the program was started for the suite and is gantryd.
  int containerd_major() const;
  bool old_containerd() const { return containerd_major() == 1; }

  // A context for one call: namespace (ns() unless given), lease, a deadline of 30 s.
  std::unique_ptr<grpc::ClientContext> Call(absl::string_view lease = {}) const;
  std::unique_ptr<grpc::ClientContext> CallIn(absl::string_view ns,
                                              absl::string_view lease = {}) const;

  // "OK", or "NOT_FOUND: message". The codes are spelled as gRPC spells them.
  static std::string Text(const grpc::Status& status);

 private:
  std::string ns_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_CONFORMANCE_TARGET_H_
