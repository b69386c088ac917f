#include "shim/oci/dbus.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace gantry::oci {
namespace {

constexpr size_t kMaxMessage = 1 << 20;
constexpr size_t kFixedHeader = 12;  // before the array of header fields
enum Field : uint8_t {
  kPath = 1,
  kInterface = 2,
  kMember = 3,
  kErrorName = 4,
  kReplySerial = 5,
  kDestination = 6,
  kSender = 7,
  kSignature = 8
};

uint32_t ReadUint32(absl::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

absl::Status ErrorOf(const DBusMessage& answer) {
  std::string text =
      absl::StartsWith(answer.signature, "s") ? DBusReader(answer.body).String() : "";
  absl::StatusCode code = absl::EndsWith(answer.error, ".NoSuchUnit") ? absl::StatusCode::kNotFound
                          : absl::EndsWith(answer.error, ".UnitExists")
                              ? absl::StatusCode::kAlreadyExists
                              : absl::StatusCode::kUnknown;
  return absl::Status(code, absl::StrCat(answer.error, ": ", text));
}

void SkipOrKeep(uint8_t code, const std::string& type, DBusReader* reader, DBusMessage* message) {
  std::string text;
  uint32_t number = 0;
  if (type == "s" || type == "o") text = reader->String();
  if (type == "g") text = reader->Signature();
  if (type == "u") number = reader->Uint32();
  switch (code) {
    case kPath:
      message->path = text;
      break;
    case kInterface:
      message->interface = text;
      break;
    case kMember:
      message->member = text;
      break;
    case kErrorName:
      message->error = text;
      break;
    case kReplySerial:
      message->reply_to = number;
      break;
    case kSignature:
      message->signature = text;
      break;
    default:
      break;  // sender, destination, descriptors
  }
}

}  // namespace

void DBusWriter::Uint32(uint32_t value) {
  Align(4);
  for (int i = 0; i < 4; ++i) Byte(static_cast<uint8_t>(value >> (8 * i)));
}

void DBusWriter::Uint64(uint64_t value) {
  Align(8);
  for (int i = 0; i < 8; ++i) Byte(static_cast<uint8_t>(value >> (8 * i)));
}

void DBusWriter::String(absl::string_view value) {
  Uint32(static_cast<uint32_t>(value.size()));
  absl::StrAppend(&out_, value);
  Byte(0);
}

void DBusWriter::Signature(absl::string_view value) {
  Byte(static_cast<uint8_t>(value.size()));
  absl::StrAppend(&out_, value);
  Byte(0);
}

size_t DBusWriter::OpenArray(size_t alignment) {
  Uint32(0);
  size_t opened = out_.size();
  Align(alignment);
  return opened;
}

// The length counts the elements, not the padding before the first.
void DBusWriter::CloseArray(size_t opened, size_t alignment) {
  size_t first = (opened + alignment - 1) / alignment * alignment;
  uint32_t length = static_cast<uint32_t>(out_.size() - first);
  for (int i = 0; i < 4; ++i) {
    out_[opened - 4 + static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
  }
}

bool DBusReader::Has(size_t bytes) {
  ok_ = ok_ && at_ <= data_.size() && bytes <= data_.size() - at_;
  return ok_;
}

void DBusReader::Align(size_t boundary) { at_ = (at_ + boundary - 1) / boundary * boundary; }

uint8_t DBusReader::Byte() { return Has(1) ? static_cast<uint8_t>(data_[at_++]) : 0; }

uint32_t DBusReader::Uint32() {
  Align(4);
  if (!Has(4)) return 0;
  at_ += 4;
  return ReadUint32(data_.substr(at_ - 4));
}

std::string DBusReader::String() {
  size_t length = Uint32();
  if (!Has(length + 1)) return "";
  at_ += length + 1;
  return std::string(data_.substr(at_ - length - 1, length));
}

std::string DBusReader::Signature() {
  size_t length = Byte();
  if (!Has(length + 1)) return "";
  at_ += length + 1;
  return std::string(data_.substr(at_ - length - 1, length));
}

std::string EncodeDBusMessage(const DBusMessage& message, absl::string_view destination) {
  DBusWriter out;
  out.Byte('l');
  out.Byte(message.type);
  out.Byte(0);
  out.Byte(1);
  out.Uint32(static_cast<uint32_t>(message.body.size()));
  out.Uint32(message.serial);
  size_t fields = out.OpenArray(8);
  auto text = [&out](Field field, const char* type, absl::string_view value) {
    if (value.empty()) return;
    out.Align(8);
    out.Byte(field);
    out.Signature(type);
    if (*type == 'g') {
      out.Signature(value);
    } else {
      out.String(value);
    }
  };
  text(kPath, "o", message.path);
  text(kInterface, "s", message.interface);
  text(kMember, "s", message.member);
  text(kErrorName, "s", message.error);
  if (message.reply_to != 0) {
    out.Align(8);
    out.Byte(kReplySerial);
    out.Signature("u");
    out.Uint32(message.reply_to);
  }
  text(kDestination, "s", destination);
  text(kSignature, "g", message.signature);
  out.CloseArray(fields, 8);
  out.Align(8);
  return absl::StrCat(out.data(), message.body);
}

absl::StatusOr<bool> DecodeDBusMessage(std::string* buffer, DBusMessage* message) {
  if (buffer->size() < kFixedHeader + 4) return false;
  if ((*buffer)[0] != 'l' || (*buffer)[3] != 1) {
    return absl::InvalidArgumentError("not a little-endian D-Bus message of version 1");
  }
  size_t body = ReadUint32(absl::string_view(*buffer).substr(4));
  size_t fields = ReadUint32(absl::string_view(*buffer).substr(kFixedHeader));
  if (body > kMaxMessage || fields > kMaxMessage) {
    return absl::InvalidArgumentError("a D-Bus message of more than 1 MiB");
  }
  size_t end = kFixedHeader + 4 + fields;
  size_t start = (end + 7) / 8 * 8;
  if (buffer->size() < start + body) return false;
  *message = {};
  message->type = static_cast<uint8_t>((*buffer)[1]);
  message->serial = ReadUint32(absl::string_view(*buffer).substr(8));
  DBusReader reader(absl::string_view(*buffer).substr(0, end));
  while (reader.position() < kFixedHeader + 4) reader.Byte();
  while (reader.ok() && reader.position() < end) {
    reader.Align(8);
    uint8_t code = reader.Byte();
    std::string type = reader.Signature();
    SkipOrKeep(code, type, &reader, message);
  }
  if (!reader.ok()) return absl::InvalidArgumentError("a D-Bus message with a damaged header");
  message->body = buffer->substr(start, body);
  buffer->erase(0, start + body);
  return true;
}

absl::StatusOr<DBusConnection> DBusConnection::Open(const std::string& path) {
  DBusConnection connection;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path too long: ", path));
  }
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  connection.socket_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection.socket_.valid()) return base::ErrnoStatus(errno, "make a socket");
  if (connect(connection.socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) !=
      0) {
    int error = errno;
    absl::Status status = base::ErrnoStatus(error, absl::StrCat("connect to ", path));
    return error == ECONNREFUSED ? base::WithCode(status, absl::StatusCode::kNotFound) : status;
  }
  GANTRY_RETURN_IF_ERROR(
      base::Annotate(connection.Authenticate(absl::Now() + absl::Seconds(10)), path));
  return connection;
}

absl::Status DBusConnection::Authenticate(absl::Time deadline) {
  std::string identity = absl::BytesToHexString(absl::StrCat(geteuid()));
  // BEGIN at once, not behind the answer: systemd may read it together with the first message then,
  // and leaves that message lying until there is more to read.
  GANTRY_RETURN_IF_ERROR(
      Send(absl::StrCat(std::string(1, '\0'), "AUTH EXTERNAL ", identity, "\r\nBEGIN\r\n")));
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (buffer_.size() > 4096) return absl::InvalidArgumentError("no D-Bus server");
    GANTRY_RETURN_IF_ERROR(Receive(deadline));
  }
  std::string answer = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  if (!absl::StartsWith(answer, "OK ")) {
    return absl::PermissionDeniedError(absl::StrCat("the D-Bus server answers: ", answer));
  }
  return absl::OkStatus();
}

absl::Status DBusConnection::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "write to D-Bus");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status DBusConnection::Receive(absl::Time deadline) {
  while (true) {
    int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    pollfd wait = {socket_.get(), POLLIN, 0};
    int ready = left > 0 ? poll(&wait, 1, static_cast<int>(left)) : 0;
    if (ready == 0) return absl::DeadlineExceededError("no answer over D-Bus in time");
    if (ready < 0 && errno == EINTR) continue;
    char bytes[4096];
    ssize_t n = read(socket_.get(), bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::ErrnoStatus(errno, "read from D-Bus");
    if (n == 0) return absl::UnavailableError("the D-Bus server closed the connection");
    buffer_.append(bytes, static_cast<size_t>(n));
    return absl::OkStatus();
  }
}

absl::StatusOr<DBusMessage> DBusConnection::Next(absl::Time deadline) {
  DBusMessage message;
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(bool whole, DecodeDBusMessage(&buffer_, &message));
    if (whole) return message;
    GANTRY_RETURN_IF_ERROR(Receive(deadline));
  }
}

absl::StatusOr<DBusMessage> DBusConnection::Call(DBusMessage call, absl::string_view destination,
                                                 absl::Time deadline) {
  call.type = DBusMessage::kCall;
  call.serial = ++serial_;
  GANTRY_RETURN_IF_ERROR(Send(EncodeDBusMessage(call, destination)));
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(DBusMessage message, Next(deadline));
    if (message.type == DBusMessage::kSignal) {
      signals_.push_back(std::move(message));
    } else if (message.reply_to == call.serial) {
      if (message.type == DBusMessage::kError) return base::Annotate(ErrorOf(message), call.member);
      return message;
    }
  }
}

absl::StatusOr<DBusMessage> DBusConnection::AwaitSignal(absl::string_view member,
                                                        absl::Time deadline) {
  while (true) {
    for (size_t i = 0; i < signals_.size(); ++i) {
      if (signals_[i].member != member) continue;
      DBusMessage found = std::move(signals_[i]);
      signals_.erase(signals_.begin() + static_cast<long>(i));
      return found;
    }
    signals_.clear();  // of other names
    GANTRY_ASSIGN_OR_RETURN(DBusMessage message, Next(deadline));
    if (message.type == DBusMessage::kSignal) signals_.push_back(std::move(message));
  }
}

}  // namespace gantry::oci
