#ifndef GANTRY_CLIENT_RPC_TRANSPORT_H_
#define GANTRY_CLIENT_RPC_TRANSPORT_H_

// One HTTP/2 connection that carries gRPC calls. Inside of client/rpc; others use Channel and Call.

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace gantry::client::rpc {

// What is said of a call before its first message.
struct CallHead {
  std::string path;  // "/package.Service/Method"
  std::vector<std::pair<std::string, std::string>> metadata;
  absl::Time deadline = absl::InfiniteFuture();
};

// One call as its connection sees it. Guarded by the transport's mutex.
struct Stream {
  int32_t id = -1;
  // Framed messages that HTTP/2 has not taken yet, from `out_taken` on.
  std::string out;
  size_t out_taken = 0;
  bool out_ended = false;
  // Bytes that have come, from `in_taken` on, and how many of them the window does not have back.
  std::string in;
  size_t in_taken = 0;
  size_t unconsumed = 0;
  // Of the headers and trailers.
  size_t header_bytes = 0;
  int http_status = 0;
  std::string content_type;
  std::string grpc_status;
  std::string grpc_message;
  // The end.
  bool finished = false;
  absl::Status result;
};

// Thread-safe. It has no thread: whoever waits reads and writes the socket for everybody, and of
// several who wait one does it for the others.
class Transport {
 public:
  // Unavailable with the errno (base::ErrnoOf) when nobody answers at `path`. Blocks at most ten
  // seconds, while the socket's backlog is full.
  static absl::StatusOr<std::shared_ptr<Transport>> Connect(const std::string& path);
  // Over a connected stream socket.
  explicit Transport(base::UniqueFd socket);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // False when new calls need another connection: it is lost, or the server is going away.
  bool Usable();

  // Sends the head and what `stream->out` holds. `stream` must live until Close().
  void Open(Stream* stream, const CallHead& head);
  // Gives the stream up; a call that has not ended is cancelled.
  void Close(Stream* stream);
  // Ends the call from our side with `why`, unless it has ended.
  void Cancel(Stream* stream, const absl::Status& why);

  // Queues one framed message and waits while too much is queued. False when the call has ended.
  bool Send(Stream* stream, absl::string_view framed, absl::Time deadline);
  void EndSending(Stream* stream);

  // Takes the next whole message, without its prefix. False when there is none yet, or no more.
  bool TakeMessage(Stream* stream, std::string* message);
  // Waits until there is a message or the end; false at `deadline`.
  bool AwaitMessage(const Stream* stream, absl::Time deadline);
  bool AwaitEnd(const Stream* stream, absl::Time deadline);
  // Waits until anything has come, for whichever call, but not beyond `deadline`.
  void AwaitAnything(absl::Time deadline);
  bool Finished(const Stream* stream);
  // Only of a finished stream.
  absl::Status Result(const Stream* stream);

  // For callers with a poll loop of their own: what to poll, and what to call when it is ready.
  pollfd Descriptor();
  void Process();

 private:
  // The largest frame, either way.
  static constexpr uint32_t kMaxFrame = 256 << 10;

  // The functions that nghttp2 calls, always beneath one of our methods that hold the mutex.
  struct Callbacks;
  friend struct Callbacks;
  static const nghttp2_session_callbacks* CallbackTable();
  using Headers = std::vector<std::pair<absl::string_view, absl::string_view>>;
  // The id of the new stream, or an error of nghttp2's.
  int32_t SubmitRequest(const Headers& headers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  bool Await(absl::Time deadline, absl::FunctionRef<bool()> done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  pollfd DescriptorLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Receive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Writes as much as the socket takes, and wakes the one who polls when that was not all.
  void Flush() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Break(const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // These only queue what is to be sent: they run inside of the library's callbacks, too.
  Stream* Find(int32_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(Stream* stream, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish(Stream* stream, const absl::Status& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnHeader(Stream* stream, absl::string_view name, absl::string_view value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnData(Stream* stream, absl::string_view data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnEnd(Stream* stream, uint32_t http2_error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ssize_t OnSend(Stream* stream, uint8_t* to, size_t room, uint32_t* flags)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives the window back what was taken, or everything while a message is incomplete.
  void OpenWindow(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  base::UniqueFd socket_;
  base::UniqueFd wake_;  // eventfd: there is more to write than when the one who polls began
  absl::Mutex mutex_;
  absl::CondVar changed_;
  nghttp2_session* session_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool polled_ ABSL_GUARDED_BY(mutex_) = false;
  bool send_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool send_buffer_grown_ ABSL_GUARDED_BY(mutex_) = false;
  bool going_away_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);
  std::string violation_ ABSL_GUARDED_BY(mutex_);  // what the library did not like
  std::string out_ ABSL_GUARDED_BY(mutex_);
  size_t out_sent_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<char[]> buffer_ ABSL_GUARDED_BY(mutex_);
  std::map<int32_t, Stream*> streams_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace gantry::client::rpc

#endif  // GANTRY_CLIENT_RPC_TRANSPORT_H_
