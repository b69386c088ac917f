#ifndef GANTRY_SHIM_ATTACH_SERVER_H_
#define GANTRY_SHIM_ATTACH_SERVER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "shim/attach_input.h"
#include "shim/pump.h"
#include "shim/stdio_uri.h"

namespace gantry::shim {

// What the stdio URIs of a process say of its attach socket; an empty path: none.
struct AttachOptions {
  std::string path;
  bool wait = false;        // attach-wait=1
  bool stdin_once = false;  // stdin-once=1
  bool terminal = false;

  // Takes what `uri` says. InvalidArgument for values other than 0 and 1, a path that is not
  // absolute, or one that differs from an earlier URI's.
  absl::Status Merge(const StdioUri& uri);
  // Whether a key of a query is one of ours.
  static bool IsKey(absl::string_view key);
};

// The attach socket of one process (proto/gantry/shim/v1/attach.proto is the contract): hands its
// output to any number of clients (at most 256) and their input to it. Belongs to the loop's
// thread, and never waits.
class AttachServer : public std::enable_shared_from_this<AttachServer> {
 public:
  // Listens when this returns. Replaces a socket that is left at the path; FailedPrecondition when
  // something else is there.
  static absl::StatusOr<std::shared_ptr<AttachServer>> Listen(base::EventLoop* loop,
                                                              AttachOptions options);
  ~AttachServer();
  AttachServer(const AttachServer&) = delete;
  AttachServer& operator=(const AttachServer&) = delete;

  // A sink for one stream (1 stdout, 2 stderr; with a terminal, 1). It is full while a client that
  // does not read has 1 MiB waiting.
  static std::shared_ptr<Sink> Stream(std::shared_ptr<AttachServer> server, int stream);

  // Where the clients' input goes; it waits for this. Non-blocking.
  void OpenStdin(base::UniqueFd target);
  // The program's stdin ends after what clients have sent so far. Without one: input goes nowhere.
  void CloseStdin();
  // The program reads no more. What it left in its pipes is taken even for clients that are slow.
  void ProcessExited();
  // There is no more output: clients see the end after what waits for them. No new ones come, but
  // for the one whom attach-wait keeps output for.
  void Finish();

  // No output waits for a client.
  bool idle() const;
  // Runs once, from the loop, when idle().
  void WhenIdle(std::function<void()> function);
  size_t clients() const { return clients_.size(); }

  // The owner goes: as Finish(), and clients to whom output is still due keep the server alive, as
  // long as they take some of it every 10 seconds.
  static void Retire(std::shared_ptr<AttachServer> server);
  // Servers that were retired and are still alive in this process.
  static int retired();

 private:
  struct Client;
  using ClientPtr = std::shared_ptr<Client>;
  class OutputSink;

  AttachServer(base::EventLoop* loop, AttachOptions options);
  absl::Status Bind();
  void Unlink();
  void OnConnection();
  void Adopt(base::UniqueFd fd);
  void OnEvents(const ClientPtr& client, uint32_t events);
  void ReadRequest(const ClientPtr& client);
  void Refuse(const ClientPtr& client, absl::string_view why);
  void Welcome(const ClientPtr& client);
  void ReadInput(const ClientPtr& client);
  void OnInputEnd(const ClientPtr& client);
  void OnHangUp(const ClientPtr& client);
  void Output(int stream, absl::string_view data);
  void Queue(Client* client, int stream, absl::string_view data);
  void Send(Client* client);
  void Watch(const ClientPtr& client);
  void EndIfDone(const ClientPtr& client);
  void Close(const ClientPtr& client);
  void ResumeInput();
  bool full() const;
  void WhenRoom(std::function<void()> function);
  void CheckWaiters();
  void CheckProgress(uint64_t sent_before);

  base::EventLoop* loop_;
  AttachOptions options_;
  base::UniqueFd directory_;  // of the socket
  std::string name_;          // in it
  dev_t device_ = 0;          // of the socket's file
  ino_t inode_ = 0;
  base::UniqueFd listener_;
  std::map<int, ClientPtr> clients_;  // by descriptor
  AttachInput input_;
  size_t limit_;  // of what waits for one client
  // Output that waits for the first client, by stream; see attach-wait.
  bool keeping_;
  size_t kept_bytes_ = 0;
  std::vector<std::pair<int, std::string>> kept_;
  bool finished_ = false;
  bool closing_stdin_ = false;
  bool trim_ = false;  // much memory was used
  uint64_t sent_ = 0;  // bytes, to all clients
  std::vector<std::function<void()>> room_waiters_, idle_waiters_;
  std::shared_ptr<AttachServer> keep_;  // itself, while retired
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_ATTACH_SERVER_H_
