// What happens to the streams of a connection: nghttp2's callbacks and what they do.

#include <nghttp2/nghttp2.h>
#include <sys/types.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/rpc/transport.h"
#include "client/rpc/wire.h"

namespace gantry::client::rpc {
namespace {

// Headers and trailers of one answer.
constexpr size_t kMaxHeaders = 64 << 10;

absl::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  auto bytes = [](absl::string_view s) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(s.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

// What nghttp2 calls, always beneath one of our methods that hold the mutex.
struct Transport::Callbacks {
  static Transport* Self(void* user) { return static_cast<Transport*>(user); }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                      size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                      void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;  // of a promise that nobody asked for
    if (Stream* stream = Self(user)->Find(frame->hd.stream_id)) {
      Self(user)->OnHeader(stream, View(name, name_size), View(value, value_size));
    }
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    // The connection's window is the kernel's matter; a call's holds back who is not read.
    nghttp2_session_consume_connection(session, size);
    if (Stream* stream = Self(user)->Find(id)) Self(user)->OnData(stream, View(data, size));
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame,
                     void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (frame->hd.type == NGHTTP2_GOAWAY) Self(user)->going_away_ = true;
    bool ends = (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!ends) return 0;
    if (Stream* stream = Self(user)->Find(frame->hd.stream_id)) Self(user)->OnEnd(stream, 0);
    return 0;
  }

  static int OnClose(nghttp2_session*, int32_t id, uint32_t http2_error,
                     void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (Stream* stream = Self(user)->Find(id)) Self(user)->OnEnd(stream, http2_error);
    return 0;
  }

  // A request that could not be sent: the server is going away.
  static int OnNotSent(nghttp2_session*, const nghttp2_frame* frame, int,
                       void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (Stream* stream = Self(user)->Find(frame->hd.stream_id)) {
      Self(user)->Finish(stream, absl::UnavailableError("the daemon takes no more calls"));
    }
    return 0;
  }

  static ssize_t OnSend(nghttp2_session*, int32_t id, uint8_t* to, size_t room, uint32_t* flags,
                        nghttp2_data_source*, void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Stream* stream = Self(user)->Find(id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return Self(user)->OnSend(stream, to, room, flags);
  }

  // Not more than there is: the library allocates it.
  static ssize_t OnFrameSize(nghttp2_session*, uint8_t, int32_t id, int32_t connection_window,
                             int32_t stream_window, uint32_t max_frame,
                             void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Stream* stream = Self(user)->Find(id);
    int64_t queued = stream == nullptr ? 0 : stream->out.size() - stream->out_taken;
    return std::min<int64_t>(
        {connection_window, stream_window, max_frame, kMaxFrame, std::max<int64_t>(queued, 1)});
  }

  static int OnError(nghttp2_session*, int, const char* text, size_t size,
                     void* user) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    Self(user)->violation_.assign(text, size);
    return 0;
  }
};

// Made once; sessions copy it.
const nghttp2_session_callbacks* Transport::CallbackTable() {
  static const nghttp2_session_callbacks* const kTable = [] {
    nghttp2_session_callbacks* table = nullptr;
    nghttp2_session_callbacks_new(&table);
    nghttp2_session_callbacks_set_on_header_callback(table, Callbacks::OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, Callbacks::OnData);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, Callbacks::OnFrame);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, Callbacks::OnClose);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(table, Callbacks::OnNotSent);
    nghttp2_session_callbacks_set_data_source_read_length_callback(table, Callbacks::OnFrameSize);
    nghttp2_session_callbacks_set_error_callback2(table, Callbacks::OnError);
    return table;
  }();
  return kTable;
}

int32_t Transport::SubmitRequest(const Headers& headers) {
  std::vector<nghttp2_nv> fields;
  for (const auto& [name, value] : headers) fields.push_back(Header(name, value));
  nghttp2_data_provider body = {};
  body.read_callback = Callbacks::OnSend;
  return nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &body, nullptr);
}

Stream* Transport::Find(int32_t id) {
  auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

void Transport::Fail(Stream* stream, const absl::Status& why) {
  if (stream->finished) return;
  int32_t id = stream->id;
  Finish(stream, why);
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
}

void Transport::Finish(Stream* stream, const absl::Status& result) {
  if (stream->finished) return;
  stream->finished = true;
  stream->result = result;
  streams_.erase(stream->id);
  changed_.SignalAll();
}

void Transport::OnHeader(Stream* stream, absl::string_view name, absl::string_view value) {
  stream->header_bytes += name.size() + value.size();
  if (stream->header_bytes > kMaxHeaders) {
    return Fail(stream, absl::ResourceExhaustedError(absl::StrCat(
                            "the daemon's headers are longer than ", kMaxHeaders, " bytes")));
  }
  if (name == ":status") {
    stream->http_status = 100 * (value[0] - '0') + 10 * (value[1] - '0') + (value[2] - '0');
  } else if (name == "content-type") {
    stream->content_type = std::string(value);
  } else if (name == "grpc-status") {
    stream->grpc_status = std::string(value);
  } else if (name == "grpc-message") {
    stream->grpc_message = std::string(value);
  }
}

void Transport::OnData(Stream* stream, absl::string_view data) {
  stream->unconsumed += data.size();
  // The body of an error page is nobody's message.
  if (absl::StartsWith(stream->content_type, "application/grpc")) {
    stream->in.append(data.data(), data.size());
  }
  OpenWindow(stream);
}

void Transport::OpenWindow(Stream* stream) {
  size_t have = stream->in.size() - stream->in_taken;
  bool whole = false;
  if (have >= kPrefixSize) {
    size_t length = 0;
    absl::Status prefix = ParsePrefix(stream->in.data() + stream->in_taken, &length);
    if (!prefix.ok()) return Fail(stream, prefix);
    whole = have >= kPrefixSize + length;
  }
  size_t keep = whole ? std::min(have, stream->unconsumed) : 0;
  if (stream->unconsumed == keep) return;
  nghttp2_session_consume_stream(session_, stream->id, stream->unconsumed - keep);
  stream->unconsumed = keep;
}

void Transport::OnEnd(Stream* stream, uint32_t http2_error) {
  absl::Status result;
  if (!stream->grpc_status.empty()) {
    result = ParseStatus(stream->grpc_status, stream->grpc_message);
  } else if (stream->http_status != 0 &&
             (stream->http_status != 200 ||
              !absl::StartsWith(stream->content_type, "application/grpc"))) {
    result = StatusOfHttp(stream->http_status, stream->content_type);
  } else if (http2_error != 0) {
    result = StatusOfReset(http2_error);
  } else {
    result = absl::InternalError("the daemon ended the call without a status");
  }
  // The server is through with a call that we have not ended: it needs to hear no more of it.
  if (nghttp2_session_get_stream_local_close(session_, stream->id) == 0) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
  }
  Finish(stream, result);
}

ssize_t Transport::OnSend(Stream* stream, uint8_t* to, size_t room, uint32_t* flags) {
  size_t size = std::min(room, stream->out.size() - stream->out_taken);
  if (size == 0 && !stream->out_ended) return NGHTTP2_ERR_DEFERRED;
  memcpy(to, stream->out.data() + stream->out_taken, size);
  stream->out_taken += size;
  if (stream->out_taken == stream->out.size()) {
    stream->out.clear();
    stream->out_taken = 0;
    if (stream->out_ended) *flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  return static_cast<ssize_t>(size);
}

}  // namespace gantry::client::rpc
