#ifndef GANTRY_SHIM_OCI_DBUS_H_
#define GANTRY_SHIM_OCI_DBUS_H_

// As much of a D-Bus client as talking to systemd takes (D-Bus specification, "Message Protocol"
// and "Authentication Protocol"): method calls with their answers, and signals, over one unix
// socket.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace gantry::oci {

// Writes values in the wire's little-endian form. Whoever writes keeps the order of the signature.
class DBusWriter {
 public:
  void Byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Uint32(uint32_t value);
  void Uint64(uint64_t value);
  void Bool(bool value) { Uint32(value ? 1 : 0); }
  void String(absl::string_view value);  // object paths too
  void Signature(absl::string_view value);
  void Align(size_t boundary) { out_.resize((out_.size() + boundary - 1) / boundary * boundary); }
  // Elements go between the two; `alignment` is that of their type (8 for structures).
  size_t OpenArray(size_t alignment);
  void CloseArray(size_t opened, size_t alignment);

  const std::string& data() const { return out_; }

 private:
  std::string out_;
};

// Reads what a DBusWriter of the other side wrote. After the first value that does not fit all
// further ones are empty and ok() is false.
class DBusReader {
 public:
  explicit DBusReader(absl::string_view data) : data_(data) {}
  uint8_t Byte();
  uint32_t Uint32();
  std::string String();
  std::string Signature();
  void Align(size_t boundary);
  size_t position() const { return at_; }
  bool ok() const { return ok_; }

 private:
  bool Has(size_t bytes);
  absl::string_view data_;
  size_t at_ = 0;
  bool ok_ = true;
};

struct DBusMessage {
  enum Type : uint8_t { kCall = 1, kReturn = 2, kError = 3, kSignal = 4 };
  uint8_t type = 0;
  uint32_t serial = 0, reply_to = 0;
  std::string path, interface, member, error, signature;
  std::string body;
};

// One message's wire form. `destination` may be empty.
std::string EncodeDBusMessage(const DBusMessage& message, absl::string_view destination);
// Takes the first message off `buffer`; false when it is not whole yet. InvalidArgument for bytes
// that are no message, or one of more than 1 MiB.
absl::StatusOr<bool> DecodeDBusMessage(std::string* buffer, DBusMessage* message);

class DBusConnection {
 public:
  // Connects to the socket and authenticates as our uid. NotFound when nobody listens there.
  static absl::StatusOr<DBusConnection> Open(const std::string& path);

  // Calls and waits for the answer, keeping signals that come meanwhile out of the way. An error
  // answer is a status with the error's name and text in its message, NotFound for …NoSuchUnit and
  // AlreadyExists for …UnitExists.
  absl::StatusOr<DBusMessage> Call(DBusMessage call, absl::string_view destination,
                                   absl::Time deadline);
  // The next signal of that name, also one that came during an earlier call.
  absl::StatusOr<DBusMessage> AwaitSignal(absl::string_view member, absl::Time deadline);

 private:
  absl::Status Authenticate(absl::Time deadline);
  absl::Status Send(absl::string_view bytes);
  absl::Status Receive(absl::Time deadline);  // more bytes into buffer_
  absl::StatusOr<DBusMessage> Next(absl::Time deadline);

  base::UniqueFd socket_;
  uint32_t serial_ = 0;
  std::string buffer_;
  std::vector<DBusMessage> signals_;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_DBUS_H_
