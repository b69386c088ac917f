#ifndef GANTRY_SERVICES_NETWORKS_DNS_MESSAGE_H_
#define GANTRY_SERVICES_NETWORKS_DNS_MESSAGE_H_

// DNS messages (RFC 1035), as much as a server needs that answers for containers and passes the
// rest on. Pure; everything that is read comes from containers or from the network.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

inline constexpr uint16_t kDnsA = 1;
inline constexpr uint16_t kDnsPtr = 12;
inline constexpr uint16_t kDnsAaaa = 28;

enum class DnsError : uint8_t {
  kNone = 0,
  kServerFailure = 2,
  kNoSuchName = 3,
  kNotImplemented = 4
};

struct DnsQuery {
  uint16_t id = 0;
  std::string name;  // lower case, without the last dot; bytes of labels that are dots are refused
  uint16_t type = 0;
  uint16_t type_class = 0;
  size_t question_end = 0;  // where the question ends in the message
  size_t udp_limit = 512;   // what the client takes in one datagram
  bool recursion_wanted = false;
};

// Of a standard query with one question; nothing for everything else.
std::optional<DnsQuery> ParseDnsQuery(absl::string_view message);

// The address that a name below in-addr.arpa or ip6.arpa stands for.
std::optional<IpAddress> ParseReverseName(absl::string_view name);

struct DnsAnswer {
  IpAddress address;   // for A and AAAA
  std::string target;  // for PTR
};

// An answer to `message`, which `query` was read from. With more than `limit` bytes it is cut and
// says so, and the client asks again over TCP.
std::string BuildDnsAnswer(absl::string_view message, const DnsQuery& query,
                           const std::vector<DnsAnswer>& answers, DnsError error, size_t limit);

// Whether `answer` is one to that question (the identifiers are compared by the caller).
bool AnswersQuestion(absl::string_view answer, absl::string_view message, const DnsQuery& query);

uint16_t DnsId(absl::string_view message);  // 0 for one without
void SetDnsId(uint16_t id, std::string* message);

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DNS_MESSAGE_H_
