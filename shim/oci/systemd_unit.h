#ifndef GANTRY_SHIM_OCI_SYSTEMD_UNIT_H_
#define GANTRY_SHIM_OCI_SYSTEMD_UNIT_H_

// Transient scopes of systemd (org.freedesktop.systemd1), by its private socket or the system bus.

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "shim/oci/dbus.h"
#include "shim/oci/spec.h"

namespace gantry::oci {

// Properties of a unit, "a(sv)", named as in systemd.resource-control(5).
class UnitProperties {
 public:
  void Text(absl::string_view name, absl::string_view value);
  void Flag(absl::string_view name, bool value);
  void Number(absl::string_view name, uint64_t value);  // UINT64_MAX: infinity
  void Bytes(absl::string_view name, absl::string_view value);
  void Pids(absl::string_view name, pid_t pid);

  bool empty() const { return entries_.data().empty(); }
  // For a body that so far holds a multiple of 8 bytes or is padded to it by the array itself.
  void AppendTo(DBusWriter* body) const;

 private:
  void Open(absl::string_view name, absl::string_view type);
  DBusWriter entries_;  // alignment is relative to a multiple of 8
};

// What of `resources` systemd has a property for, so that it does not undo it when it is reloaded;
// the files of the cgroup are written as well, for all there is. InvalidArgument as ApplyLimitsV2.
absl::Status LimitProperties(const Resources& resources, bool v2, UnitProperties* properties);

// Where systemd listens; others in tests.
struct SystemdSockets {
  std::string manager = "/run/systemd/private";
  std::string bus = "/run/dbus/system_bus_socket";
};

class SystemdManager {
 public:
  // FailedPrecondition when systemd does not run here.
  static absl::StatusOr<SystemdManager> Connect(const SystemdSockets& sockets = {});

  // Starts the scope with `pid` in it and delegation to us; returns when it is there. AlreadyExists
  // when a unit of that name is active.
  absl::Status StartScope(const std::string& unit, const std::string& slice, pid_t pid);
  // Changes properties of a unit until the next boot.
  absl::Status SetProperties(const std::string& unit, const UnitProperties& properties);
  // Stops it; OK when there is none. Does not wait.
  absl::Status Stop(const std::string& unit);

 private:
  SystemdManager(DBusConnection connection, bool bus)
      : connection_(std::move(connection)), bus_(bus) {}
  absl::StatusOr<DBusMessage> Call(const char* member, const char* signature, std::string body);
  absl::Status Subscribe();

  DBusConnection connection_;
  bool bus_;  // the system bus; else the manager itself, which tells everything to everybody
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_SYSTEMD_UNIT_H_
