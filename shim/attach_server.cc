#include "shim/attach_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "gantry/shim/v1/attach.pb.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxClients = 256;
constexpr uint32_t kMaxRequest = 4096;
constexpr size_t kBuffer = 1u << 20;
// What a pipe may hold when the program has ended, twice.
constexpr size_t kLastBuffer = kBuffer + (3u << 20);
constexpr absl::Duration kRequestLimit = absl::Seconds(10);
constexpr absl::Duration kProgressLimit = absl::Seconds(10);
constexpr int kBurst = 16;

uint32_t LoadBigEndian(const char* bytes) {
  uint32_t value;
  memcpy(&value, bytes, sizeof value);
  return ntohl(value);
}

int g_retired = 0;
char g_input[16 * 1024];  // shared by all clients; untouched until the first one writes

bool PeerAllowed(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

absl::StatusOr<bool> ParseSwitch(absl::string_view key, absl::string_view value) {
  if (value == "1") return true;
  if (value == "0") return false;
  return absl::InvalidArgumentError(absl::StrCat("stdio option ", key, " must be 0 or 1"));
}

}  // namespace

bool AttachOptions::IsKey(absl::string_view key) {
  return key == "attach" || key == "attach-wait" || key == "stdin-once";
}

absl::Status AttachOptions::Merge(const StdioUri& uri) {
  std::string wanted = uri.scheme == "attach" ? uri.path : "";
  for (const auto& [key, value] : uri.query) {
    if (key == "attach") {
      wanted = value;
    } else if (key == "attach-wait") {
      GANTRY_ASSIGN_OR_RETURN(bool on, ParseSwitch(key, value));
      wait |= on;
    } else if (key == "stdin-once") {
      GANTRY_ASSIGN_OR_RETURN(bool on, ParseSwitch(key, value));
      stdin_once |= on;
    } else if (uri.scheme == "attach") {
      return absl::InvalidArgumentError(absl::StrCat("unknown option ", key, " for attach"));
    }
  }
  if (wanted.empty()) return absl::OkStatus();
  if (wanted[0] != '/' || absl::StrContains(wanted, '\0'))
    return absl::InvalidArgumentError(
        absl::StrCat("attach socket \"", wanted, "\": the path is not absolute"));
  if (!path.empty() && path != wanted)
    return absl::InvalidArgumentError(
        absl::StrCat("a process has one attach socket, not ", path, " and ", wanted));
  path = std::move(wanted);
  return absl::OkStatus();
}

struct AttachServer::Client {
  base::UniqueFd fd;
  std::string request;  // its length and itself, as far as read
  bool welcome = false;
  bool has_stdin = false, has_stdout = false, has_stderr = false;
  bool input_ended = false;
  bool hung_up = false;  // takes nothing any more
  std::string out;       // to be sent, from `sent` on
  size_t sent = 0;
  uint32_t events = 0;
  bool watched = false;
  base::EventLoop::TimerId timer = 0;

  size_t waiting() const { return out.size() - sent; }
  bool wants(int stream) const { return stream == 1 ? has_stdout : has_stderr; }
};

class AttachServer::OutputSink final : public Sink {
 public:
  OutputSink(std::shared_ptr<AttachServer> server, int stream)
      : server_(std::move(server)), stream_(stream) {}
  void Write(absl::string_view data) override { server_->Output(stream_, data); }
  bool full() const override { return server_->full(); }
  void WhenRoom(std::function<void()> function) override { server_->WhenRoom(std::move(function)); }

 private:
  std::shared_ptr<AttachServer> server_;
  int stream_;
};

AttachServer::AttachServer(base::EventLoop* loop, AttachOptions options)
    : loop_(loop),
      options_(std::move(options)),
      input_(loop, [this] { ResumeInput(); }),
      limit_(kBuffer),
      keeping_(options_.wait) {}

AttachServer::~AttachServer() {
  Unlink();
  for (auto& [fd, client] : clients_) {
    loop_->Cancel(client->timer);
    if (client->watched) loop_->Remove(fd);
  }
}

absl::StatusOr<std::shared_ptr<AttachServer>> AttachServer::Listen(base::EventLoop* loop,
                                                                   AttachOptions options) {
  std::shared_ptr<AttachServer> server(new AttachServer(loop, std::move(options)));
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(server->Bind(), absl::StrCat("listen on ", server->options_.path)));
  GANTRY_RETURN_IF_ERROR(loop->Add(server->listener_.get(), EPOLLIN,
                                   [raw = server.get()](uint32_t) { raw->OnConnection(); }));
  return server;
}

// Through the directory's descriptor: the whole path may be longer than a socket's address.
absl::Status AttachServer::Bind() {
  size_t slash = options_.path.rfind('/');
  name_ = options_.path.substr(slash + 1);
  GANTRY_ASSIGN_OR_RETURN(directory_, base::Open(slash == 0 ? "/" : options_.path.substr(0, slash),
                                                 O_PATH | O_DIRECTORY));
  std::string path = absl::StrCat("/proc/self/fd/", directory_.get(), "/", name_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name_.empty() || path.size() >= sizeof address.sun_path)
    return absl::InvalidArgumentError("the file's name is empty or longer than a socket's may be");
  memcpy(address.sun_path, path.data(), path.size());
  struct stat st {};
  if (fstatat(directory_.get(), name_.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (!S_ISSOCK(st.st_mode)) return absl::FailedPreconditionError("the file is no socket");
    if (unlinkat(directory_.get(), name_.c_str(), 0) != 0 && errno != ENOENT)
      return base::ErrnoStatus(errno, "remove the old socket");
  }
  listener_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_) return base::ErrnoStatus(errno, "socket");
  // The file gets the socket's mode: nobody else can connect, not even for a moment.
  if (fchmod(listener_.get(), 0600) != 0 ||
      bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return base::ErrnoStatus(errno, "bind");
  if (fstatat(directory_.get(), name_.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return base::ErrnoStatus(errno, "stat");
  device_ = st.st_dev;
  inode_ = st.st_ino;
  if (listen(listener_.get(), 128) != 0) return base::ErrnoStatus(errno, "listen");
  return absl::OkStatus();
}

// Only what is ours: the next process of the container may listen there already.
void AttachServer::Unlink() {
  if (!listener_) return;
  loop_->Remove(listener_.get());
  listener_.Reset();
  struct stat st {};
  if (inode_ != 0 && fstatat(directory_.get(), name_.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      st.st_dev == device_ && st.st_ino == inode_)
    unlinkat(directory_.get(), name_.c_str(), 0);
  directory_.Reset();
}

void AttachServer::OnConnection() {
  while (true) {
    base::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      if (PeerAllowed(fd.get())) Adopt(std::move(fd));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EMFILE && errno != ENFILE) return;
    // Level-triggered: without a pause the loop would spin on the waiting client.
    if (loop_->Modify(listener_.get(), 0).ok())
      loop_->After(absl::Milliseconds(200), [weak = weak_from_this()] {
        auto self = weak.lock();
        if (self && self->listener_) (void)self->loop_->Modify(self->listener_.get(), EPOLLIN);
      });
    return;
  }
}

void AttachServer::Adopt(base::UniqueFd fd) {
  auto client = std::make_shared<Client>();
  client->fd = std::move(fd);
  clients_[client->fd.get()] = client;
  if (clients_.size() > kMaxClients) return Refuse(client, "too many clients are attached");
  client->timer =
      loop_->After(kRequestLimit, [weak = weak_from_this(), late = std::weak_ptr(client)] {
        auto self = weak.lock();
        auto alive = late.lock();
        if (self && alive) self->Refuse(alive, "no request came within 10 seconds");
      });
  Watch(client);
}

void AttachServer::OnEvents(const ClientPtr& client, uint32_t events) {
  auto self = shared_from_this();  // a retired one ends with its last client
  if (!client->welcome && !(events & EPOLLOUT)) ReadRequest(client);
  if (!client->fd) return;
  if (events & (EPOLLHUP | EPOLLERR)) return OnHangUp(client);
  if (events & EPOLLOUT) Send(client.get());
  if (client->welcome && (events & EPOLLIN)) ReadInput(client);
  EndIfDone(client);
  CheckWaiters();
}

// Reads no byte too many: what follows the request is the program's.
void AttachServer::ReadRequest(const ClientPtr& client) {
  std::string& got = client->request;
  while (true) {
    uint32_t length = got.size() < 4 ? 0 : LoadBigEndian(got.data());
    if (length > kMaxRequest)
      return Refuse(client, absl::StrCat("the request is longer than ", kMaxRequest, " bytes"));
    if (got.size() >= 4 && got.size() == 4 + length) return Welcome(client);
    size_t wanted = got.size() < 4 ? 4 - got.size() : 4 + length - got.size();
    ssize_t n = recv(client->fd.get(), g_input, wanted, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return Close(client);
    got.append(g_input, static_cast<size_t>(n));
  }
}

void AttachServer::Refuse(const ClientPtr& client, absl::string_view why) {
  std::string answer = absl::StrCat("\1", why);
  (void)send(client->fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  Close(client);
}

void AttachServer::Welcome(const ClientPtr& client) {
  gantry::shim::v1::AttachRequest request;
  if (!request.ParseFromArray(client->request.data() + 4,
                              static_cast<int>(client->request.size() - 4)))
    return Refuse(client, "the request is malformed");
  loop_->Cancel(std::exchange(client->timer, 0));
  std::string().swap(client->request);
  client->welcome = true;
  client->has_stdin = request.stdin();
  client->has_stdout = request.stdout();
  client->has_stderr = request.stderr() && !options_.terminal;
  if (options_.terminal) client->has_stdout |= request.stderr();
  client->out.push_back('\0');
  if (keeping_ && (client->has_stdout || client->has_stderr)) {
    keeping_ = false;
    for (const auto& [stream, data] : std::exchange(kept_, {})) Queue(client.get(), stream, data);
    kept_bytes_ = 0;
    trim_ = true;
    if (finished_) Unlink();
  }
  Send(client.get());
  Watch(client);
  EndIfDone(client);
  CheckWaiters();
}

void AttachServer::ReadInput(const ClientPtr& client) {
  for (int i = 0; i < kBurst && client->fd && !client->input_ended; ++i) {
    if (client->has_stdin && input_.stalled()) break;
    ssize_t n = recv(client->fd.get(), g_input, sizeof g_input, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      OnInputEnd(client);
    } else if (client->has_stdin) {
      input_.Write({g_input, static_cast<size_t>(n)});
    }
  }
  if (client->fd) Watch(client);
}

void AttachServer::OnInputEnd(const ClientPtr& client) {
  client->input_ended = true;
  // A terminal has no end of input that others could not use any longer.
  if (client->has_stdin && options_.stdin_once && !options_.terminal) input_.End();
  if (client->hung_up) Close(client);
}

// The client is gone; what it has sent before still counts.
void AttachServer::OnHangUp(const ClientPtr& client) {
  client->hung_up = true;
  std::string().swap(client->out);
  client->sent = 0;
  if (!client->welcome || client->input_ended) {
    Close(client);
  } else {
    ReadInput(client);
  }
  CheckWaiters();
}

void AttachServer::Output(int stream, absl::string_view data) {
  if (options_.terminal) stream = 1;
  if (keeping_) {
    if (kept_.empty() || kept_.back().first != stream) kept_.emplace_back(stream, "");
    kept_.back().second.append(data.data(), data.size());
    kept_bytes_ += data.size();
    return;
  }
  for (const auto& [fd, client] : clients_) {
    if (!client->welcome || client->hung_up || !client->wants(stream)) continue;
    Queue(client.get(), stream, data);
    Send(client.get());
    Watch(client);
  }
}

void AttachServer::Queue(Client* client, int stream, absl::string_view data) {
  if (!client->wants(stream)) return;
  if (!options_.terminal) {
    char header[8] = {static_cast<char>(stream)};
    uint32_t length = htonl(static_cast<uint32_t>(data.size()));
    memcpy(header + 4, &length, sizeof length);
    client->out.append(header, sizeof header);
  }
  client->out.append(data.data(), data.size());
}

void AttachServer::Send(Client* client) {
  while (client->waiting() > 0) {
    ssize_t n = send(client->fd.get(), client->out.data() + client->sent, client->waiting(),
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {  // the loop hears of the end, too
      client->hung_up = true;
      client->sent = client->out.size();
      break;
    }
    client->sent += static_cast<size_t>(n);
    sent_ += static_cast<uint64_t>(n);
  }
  trim_ |= client->out.size() > kBuffer / 4;
  if (client->waiting() == 0) {
    std::string().swap(client->out);
    client->sent = 0;
  } else if (client->sent > kBuffer / 4) {
    client->out.erase(0, client->sent);
    client->sent = 0;
  }
}

// A client that is gone and cannot be read yet would be reported again and again: it is taken out
// until its input is wanted.
void AttachServer::Watch(const ClientPtr& client) {
  bool stalled = client->welcome && client->has_stdin && input_.stalled();
  uint32_t events = 0;
  if (!client->input_ended && !stalled) events |= EPOLLIN;
  if (client->waiting() > 0) events |= EPOLLOUT;
  int fd = client->fd.get();
  if (client->hung_up && stalled) {
    if (std::exchange(client->watched, false)) loop_->Remove(fd);
    return;
  }
  if (client->watched && events == client->events) return;
  absl::Status watched =
      client->watched ? loop_->Modify(fd, events)
                      : loop_->Add(fd, events, [this, weak = std::weak_ptr(client)](uint32_t seen) {
                          if (ClientPtr alive = weak.lock()) OnEvents(alive, seen);
                        });
  if (!watched.ok())
    base::LogError("an attached client is lost: cannot watch it", {{"error", watched.ToString()}});
  client->watched = watched.ok() || client->watched;
  client->events = events;
}

void AttachServer::EndIfDone(const ClientPtr& client) {
  if (finished_ && client->fd && client->welcome && client->waiting() == 0) Close(client);
}

// A socket that is closed with unread input would tell the client of an error, not of the end.
void AttachServer::Close(const ClientPtr& client) {
  if (!client->fd) return;
  loop_->Cancel(client->timer);
  int fd = client->fd.get();
  if (client->watched) loop_->Remove(fd);
  shutdown(fd, SHUT_RDWR);
  while (recv(fd, g_input, sizeof g_input, MSG_DONTWAIT) > 0) {
  }
  ClientPtr last = client;  // the caller's reference may be the map's
  clients_.erase(fd);
  last->fd.Reset();
  if (clients_.empty() && std::exchange(trim_, false)) malloc_trim(0);
  if (clients_.empty() && keep_) {
    --g_retired;
    loop_->Post([end = std::exchange(keep_, nullptr)] {});
  }
}

void AttachServer::ResumeInput() {
  auto clients = clients_;  // reading may close some
  for (const auto& [fd, client] : clients) {
    if (client->fd && client->welcome && client->has_stdin) ReadInput(client);
  }
  if (closing_stdin_ && !input_.stalled()) input_.End();
  CheckWaiters();
}

void AttachServer::OpenStdin(base::UniqueFd target) { input_.Open(std::move(target)); }

void AttachServer::CloseStdin() {
  closing_stdin_ = true;
  ResumeInput();
}

void AttachServer::ProcessExited() {
  limit_ = kLastBuffer;
  input_.Drop();
  ResumeInput();
}

void AttachServer::Finish() {
  if (std::exchange(finished_, true)) return;
  if (listener_) OnConnection();  // who has connected already gets an answer
  if (!keeping_) Unlink();
  auto clients = clients_;
  for (const auto& [fd, client] : clients) {
    if (!client->welcome && client->fd) ReadRequest(client);
    EndIfDone(client);
  }
  CheckWaiters();
}

bool AttachServer::full() const {
  if (keeping_ && kept_bytes_ >= limit_) return true;
  return std::any_of(clients_.begin(), clients_.end(),
                     [this](const auto& entry) { return entry.second->waiting() >= limit_; });
}

bool AttachServer::idle() const {
  if (kept_bytes_ > 0) return false;
  return std::all_of(clients_.begin(), clients_.end(),
                     [](const auto& entry) { return entry.second->waiting() == 0; });
}

void AttachServer::WhenRoom(std::function<void()> function) {
  room_waiters_.push_back(std::move(function));
  CheckWaiters();
}

void AttachServer::WhenIdle(std::function<void()> function) {
  idle_waiters_.push_back(std::move(function));
  CheckWaiters();
}

// Calls whoever waited for what is the case now; never from within.
void AttachServer::CheckWaiters() {
  auto fire = [this](std::vector<std::function<void()>>* waiters) {
    for (auto& waiter : std::exchange(*waiters, {})) loop_->Post(std::move(waiter));
  };
  if (!room_waiters_.empty() && !full()) fire(&room_waiters_);
  if (!idle_waiters_.empty() && idle()) fire(&idle_waiters_);
}

void AttachServer::Retire(std::shared_ptr<AttachServer> server) {
  server->input_.Drop();
  server->kept_.clear();
  server->kept_bytes_ = 0;
  server->keeping_ = false;
  server->Finish();
  server->Unlink();
  auto clients = server->clients_;
  for (const auto& [fd, client] : clients) {
    if (client->welcome) continue;  // those that remain have output to take
    server->Close(client);
  }
  if (server->clients_.empty()) return;
  server->keep_ = server;
  ++g_retired;
  server->CheckProgress(server->sent_);
}

void AttachServer::CheckProgress(uint64_t sent_before) {
  loop_->After(kProgressLimit, [weak = weak_from_this(), sent_before] {
    auto self = weak.lock();
    if (!self) return;
    if (self->sent_ > sent_before) return self->CheckProgress(self->sent_);
    base::LogWarn("output is lost: the client does not take it", {{"path", self->options_.path}});
    auto clients = self->clients_;
    for (const auto& [fd, client] : clients) self->Close(client);
  });
}

int AttachServer::retired() { return g_retired; }

std::shared_ptr<Sink> AttachServer::Stream(std::shared_ptr<AttachServer> server, int stream) {
  return std::make_shared<OutputSink>(std::move(server), stream);
}

}  // namespace gantry::shim
