#include "services/networks/dns_message.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace gantry::services {
namespace {

constexpr size_t kHeader = 12;
constexpr size_t kMaxName = 255;
constexpr uint16_t kOpt = 41;
constexpr uint32_t kTtlSeconds = 600;

uint16_t Read16(absl::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 |
                               static_cast<uint8_t>(bytes[at + 1]));
}

void Append16(uint16_t value, std::string* to) {
  to->push_back(static_cast<char>(value >> 8));
  to->push_back(static_cast<char>(value & 0xff));
}

void Append32(uint32_t value, std::string* to) {
  Append16(static_cast<uint16_t>(value >> 16), to);
  Append16(static_cast<uint16_t>(value & 0xffff), to);
}

// A question's name is never compressed. Returns where it ends, or 0.
size_t ParseName(absl::string_view message, size_t at, std::string* name) {
  size_t start = at;
  while (at < message.size()) {
    size_t length = static_cast<uint8_t>(message[at++]);
    if (length == 0) return at;
    if (length > 63 || at + length > message.size() || at + length - start > kMaxName) return 0;
    if (!name->empty()) name->push_back('.');
    for (char c : message.substr(at, length)) {
      if (c == '.' || c == '\0') return 0;
      name->push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    }
    at += length;
  }
  return 0;
}

void AppendName(absl::string_view name, std::string* to) {
  for (absl::string_view label : absl::StrSplit(name, '.', absl::SkipEmpty())) {
    label = label.substr(0, 63);
    to->push_back(static_cast<char>(label.size()));
    absl::StrAppend(to, label);
  }
  to->push_back('\0');
}

// The client's limit stands in the pseudo record that follows the question, if there is one.
size_t UdpLimit(absl::string_view message, size_t question_end) {
  bool plain = Read16(message, 6) == 0 && Read16(message, 8) == 0 && Read16(message, 10) > 0;
  if (!plain || question_end + 5 > message.size() || message[question_end] != '\0' ||
      Read16(message, question_end + 1) != kOpt) {
    return 512;
  }
  return std::clamp<size_t>(Read16(message, question_end + 3), 512, 4096);
}

}  // namespace

std::optional<DnsQuery> ParseDnsQuery(absl::string_view message) {
  if (message.size() < kHeader) return std::nullopt;
  uint16_t flags = Read16(message, 2);
  bool is_query = (flags & 0x8000) == 0 && (flags & 0x7800) == 0;
  if (!is_query || Read16(message, 4) != 1) return std::nullopt;
  DnsQuery query;
  query.id = Read16(message, 0);
  query.recursion_wanted = (flags & 0x0100) != 0;
  size_t end = ParseName(message, kHeader, &query.name);
  if (end == 0 || end + 4 > message.size()) return std::nullopt;
  query.type = Read16(message, end);
  query.type_class = Read16(message, end + 2);
  query.question_end = end + 4;
  query.udp_limit = UdpLimit(message, query.question_end);
  return query;
}

std::optional<IpAddress> ParseReverseName(absl::string_view name) {
  std::vector<std::string> labels;
  if (absl::ConsumeSuffix(&name, ".in-addr.arpa")) {
    labels = absl::StrSplit(name, '.');
    if (labels.size() != 4) return std::nullopt;
    std::reverse(labels.begin(), labels.end());
    auto address = IpAddress::Parse(absl::StrJoin(labels, "."));
    return address.ok() ? std::optional(*address) : std::nullopt;
  }
  if (!absl::ConsumeSuffix(&name, ".ip6.arpa")) return std::nullopt;
  labels = absl::StrSplit(name, '.');
  if (labels.size() != 32) return std::nullopt;
  std::string text;
  for (size_t i = 0; i < 32; ++i) {
    if (labels[31 - i].size() != 1) return std::nullopt;
    if (i > 0 && i % 4 == 0) text.push_back(':');
    text += labels[31 - i];
  }
  auto address = IpAddress::Parse(text);
  return address.ok() ? std::optional(*address) : std::nullopt;
}

std::string BuildDnsAnswer(absl::string_view message, const DnsQuery& query,
                           const std::vector<DnsAnswer>& answers, DnsError error, size_t limit) {
  std::string question(message.substr(kHeader, query.question_end - kHeader));
  std::string records;
  uint16_t count = 0;
  bool cut = false;
  for (const DnsAnswer& answer : answers) {
    std::string data;
    if (query.type == kDnsPtr) {
      AppendName(answer.target, &data);
    } else {
      data.assign(reinterpret_cast<const char*>(answer.address.data()), answer.address.size());
    }
    std::string record = "\xc0\x0c";  // the name of the question
    Append16(query.type, &record);
    Append16(1, &record);
    Append32(kTtlSeconds, &record);
    Append16(static_cast<uint16_t>(data.size()), &record);
    record += data;
    cut = kHeader + question.size() + records.size() + record.size() > limit;
    if (cut) break;
    records += record;
    ++count;
  }
  std::string answer;
  Append16(query.id, &answer);
  // An answer; authoritative is not claimed; recursion is offered.
  uint16_t flags = 0x8080;
  if (query.recursion_wanted) flags |= 0x0100;
  if (cut) flags |= 0x0200;
  Append16(static_cast<uint16_t>(flags | static_cast<uint16_t>(error)), &answer);
  Append16(1, &answer);
  Append16(count, &answer);
  Append32(0, &answer);
  return answer + question + records;
}

bool AnswersQuestion(absl::string_view answer, absl::string_view message, const DnsQuery& query) {
  if (answer.size() < kHeader || (Read16(answer, 2) & 0x8000) == 0) return false;
  // A server that does not understand may leave the question out.
  if (Read16(answer, 4) == 0) return (Read16(answer, 2) & 0x000f) != 0;
  std::string name;
  size_t end = ParseName(answer, kHeader, &name);
  return end != 0 && end + 4 <= answer.size() && name == query.name &&
         answer.substr(end, 4) == message.substr(query.question_end - 4, 4);
}

uint16_t DnsId(absl::string_view message) { return message.size() < 2 ? 0 : Read16(message, 0); }

void SetDnsId(uint16_t id, std::string* message) {
  if (message->size() < 2) return;
  (*message)[0] = static_cast<char>(id >> 8);
  (*message)[1] = static_cast<char>(id & 0xff);
}

}  // namespace gantry::services
