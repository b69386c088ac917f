#include "shim/oci/systemd_unit.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "shim/oci/cgroup_v2_limits.h"

namespace gantry::oci {
namespace {

constexpr char kSystemd[] = "org.freedesktop.systemd1";
constexpr char kBus[] = "org.freedesktop.DBus";
constexpr absl::Duration kPatience = absl::Seconds(30);

uint64_t OrInfinity(int64_t value) { return value < 0 ? UINT64_MAX : static_cast<uint64_t>(value); }

// "0-3,7" as bits, the lowest byte first. InvalidArgument for what is no such list.
absl::StatusOr<std::string> ListToBits(const std::string& list) {
  std::string bits;
  for (absl::string_view range : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(range, absl::MaxSplits('-', 1));
    uint32_t first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.first, &first) ||
        !absl::SimpleAtoi(ends.second.empty() ? ends.first : ends.second, &last) || first > last ||
        last >= 8192) {
      return absl::InvalidArgumentError(absl::StrCat("no list of processors: \"", list, "\""));
    }
    bits.resize(std::max<size_t>(bits.size(), last / 8 + 1));
    for (uint32_t i = first; i <= last; ++i) {
      bits[i / 8] = static_cast<char>(bits[i / 8] | 1 << (i % 8));
    }
  }
  return bits;
}

// In whole percents, as systemd counts; the exact value is in the cgroup's file.
uint64_t QuotaPerSecond(int64_t quota, uint64_t period) {
  if (quota < 0) return UINT64_MAX;
  uint64_t exact = static_cast<uint64_t>(quota) * 1000000 / (period == 0 ? 100000 : period);
  return (exact + 9999) / 10000 * 10000;
}

constexpr std::pair<const char*, const char*> kUnified[] = {
    {"cpu.weight", "CPUWeight"},          {"io.weight", "IOWeight"},
    {"memory.high", "MemoryHigh"},        {"memory.low", "MemoryLow"},
    {"memory.max", "MemoryMax"},          {"memory.min", "MemoryMin"},
    {"memory.swap.max", "MemorySwapMax"}, {"pids.max", "TasksMax"}};

absl::Status LimitPropertiesV2(const Resources& resources, UnitProperties* out) {
  const auto& memory = resources.memory;
  if (memory.limit.value_or(0) != 0) out->Number("MemoryMax", OrInfinity(*memory.limit));
  if (memory.reservation.value_or(0) != 0)
    out->Number("MemoryLow", OrInfinity(*memory.reservation));
  if (memory.limit) {
    GANTRY_ASSIGN_OR_RETURN(std::optional<uint64_t> swap, SwapLimitV2(resources, memory.limit));
    if (swap) out->Number("MemorySwapMax", *swap);
  }
  if (resources.cpu.shares.value_or(0) != 0) {
    out->Number("CPUWeight", SharesToWeight(*resources.cpu.shares));
  }
  if (resources.block_io.weight.value_or(0) != 0) {
    out->Number("IOWeight", BlkioToIoWeight(*resources.block_io.weight));
  }
  for (const auto& [name, list] :
       {std::pair("AllowedCPUs", resources.cpu.cpus), {"AllowedMemoryNodes", resources.cpu.mems}}) {
    if (list.empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(std::string bits, ListToBits(list));
    out->Bytes(name, bits);
  }
  for (const auto& [file, property] : kUnified) {
    auto found = resources.unified.find(file);
    if (found == resources.unified.end()) continue;
    absl::string_view text = absl::StripAsciiWhitespace(found->second);
    uint64_t number = UINT64_MAX;
    if (text == "max" || absl::SimpleAtoi(text, &number)) out->Number(property, number);
  }
  return absl::OkStatus();
}

void LimitPropertiesV1(const Resources& resources, UnitProperties* out) {
  if (resources.memory.limit.value_or(0) != 0) {
    out->Number("MemoryLimit", OrInfinity(*resources.memory.limit));
  }
  if (resources.cpu.shares.value_or(0) != 0) out->Number("CPUShares", *resources.cpu.shares);
  if (resources.block_io.weight.value_or(0) != 0) {
    out->Number("BlockIOWeight", *resources.block_io.weight);
  }
}

}  // namespace

void UnitProperties::Open(absl::string_view name, absl::string_view type) {
  entries_.Align(8);
  entries_.String(name);
  entries_.Signature(type);
}

void UnitProperties::Text(absl::string_view name, absl::string_view value) {
  Open(name, "s");
  entries_.String(value);
}
void UnitProperties::Flag(absl::string_view name, bool value) {
  Open(name, "b");
  entries_.Bool(value);
}
void UnitProperties::Number(absl::string_view name, uint64_t value) {
  Open(name, "t");
  entries_.Uint64(value);
}
void UnitProperties::Bytes(absl::string_view name, absl::string_view value) {
  Open(name, "ay");
  size_t array = entries_.OpenArray(1);
  for (char byte : value) entries_.Byte(static_cast<uint8_t>(byte));
  entries_.CloseArray(array, 1);
}
void UnitProperties::Pids(absl::string_view name, pid_t pid) {
  Open(name, "au");
  size_t array = entries_.OpenArray(4);
  entries_.Uint32(static_cast<uint32_t>(pid));
  entries_.CloseArray(array, 4);
}

void UnitProperties::AppendTo(DBusWriter* body) const {
  size_t array = body->OpenArray(8);
  for (char byte : entries_.data()) body->Byte(static_cast<uint8_t>(byte));
  body->CloseArray(array, 8);
}

absl::Status LimitProperties(const Resources& resources, bool v2, UnitProperties* properties) {
  if (resources.pids_limit.value_or(0) != 0) {
    properties->Number("TasksMax", OrInfinity(*resources.pids_limit));
  }
  if (resources.cpu.quota.value_or(0) != 0) {
    uint64_t period = resources.cpu.period.value_or(0);
    if (period != 0) properties->Number("CPUQuotaPeriodUSec", period);
    properties->Number("CPUQuotaPerSecUSec", QuotaPerSecond(*resources.cpu.quota, period));
  }
  if (v2) return LimitPropertiesV2(resources, properties);
  LimitPropertiesV1(resources, properties);
  return absl::OkStatus();
}

absl::StatusOr<SystemdManager> SystemdManager::Connect(const SystemdSockets& sockets) {
  auto manager = DBusConnection::Open(sockets.manager);
  if (manager.ok()) return SystemdManager(*std::move(manager), false);
  auto bus = DBusConnection::Open(sockets.bus);
  if (!bus.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("systemd cgroups were asked for, but systemd cannot be reached (",
                     manager.status().message(), "; ", bus.status().message(),
                     "): start it, or leave SystemdCgroup or --systemd-cgroup off"));
  }
  SystemdManager made(*std::move(bus), true);
  GANTRY_RETURN_IF_ERROR(made.Subscribe());
  return made;
}

// On the bus one has a name, and signals come only to those who want them.
absl::Status SystemdManager::Subscribe() {
  absl::Time deadline = absl::Now() + kPatience;
  DBusMessage hello{.path = "/org/freedesktop/DBus", .interface = kBus, .member = "Hello"};
  GANTRY_RETURN_IF_ERROR(connection_.Call(hello, kBus, deadline).status());
  DBusMessage match = hello;
  match.member = "AddMatch";
  match.signature = "s";
  DBusWriter body;
  body.String("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
  match.body = body.data();
  GANTRY_RETURN_IF_ERROR(connection_.Call(match, kBus, deadline).status());
  return Call("Subscribe", "", "").status();
}

absl::StatusOr<DBusMessage> SystemdManager::Call(const char* member, const char* signature,
                                                 std::string body) {
  DBusMessage call{.path = "/org/freedesktop/systemd1",
                   .interface = "org.freedesktop.systemd1.Manager",
                   .member = member,
                   .signature = signature,
                   .body = std::move(body)};
  return connection_.Call(std::move(call), bus_ ? kSystemd : "", absl::Now() + kPatience);
}

absl::Status SystemdManager::StartScope(const std::string& unit, const std::string& slice,
                                        pid_t pid) {
  UnitProperties properties;
  properties.Text("Description", absl::StrCat("gantry container ", unit));
  properties.Text("Slice", slice);
  properties.Flag("Delegate", true);
  properties.Flag("DefaultDependencies", false);
  properties.Text("CollectMode", "inactive-or-failed");
  for (const char* accounting :
       {"CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"}) {
    properties.Flag(accounting, true);
  }
  properties.Pids("PIDs", pid);
  DBusWriter body;
  body.String(unit);
  body.String("replace");
  properties.AppendTo(&body);
  body.CloseArray(body.OpenArray(8), 8);  // no further units
  GANTRY_ASSIGN_OR_RETURN(DBusMessage answer,
                          Call("StartTransientUnit", "ssa(sv)a(sa(sv))", body.data()));
  std::string job = DBusReader(answer.body).String();
  absl::Time deadline = absl::Now() + kPatience;
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(DBusMessage removed, connection_.AwaitSignal("JobRemoved", deadline));
    DBusReader reader(removed.body);
    reader.Uint32();
    if (reader.String() != job) continue;
    reader.String();  // the unit
    std::string result = reader.String();
    if (result == "done") return absl::OkStatus();
    return absl::UnknownError(absl::StrCat("systemd could not start ", unit, ": ", result));
  }
}

absl::Status SystemdManager::SetProperties(const std::string& unit,
                                           const UnitProperties& properties) {
  if (properties.empty()) return absl::OkStatus();
  DBusWriter body;
  body.String(unit);
  body.Bool(true);  // not for the time after the next boot
  properties.AppendTo(&body);
  return Call("SetUnitProperties", "sba(sv)", body.data()).status();
}

absl::Status SystemdManager::Stop(const std::string& unit) {
  DBusWriter body;
  body.String(unit);
  body.String("replace");
  absl::Status status = Call("StopUnit", "ss", body.data()).status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace gantry::oci
