#ifndef GANTRY_SERVICES_NETWORKS_DNS_UPSTREAM_H_
#define GANTRY_SERVICES_NETWORKS_DNS_UPSTREAM_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "services/networks/dns_message.h"
#include "services/networks/ip_address.h"

namespace gantry::services {

// One question to servers in turn until one answers, from the namespace of gantryd. Lives on the
// thread of `loop` and keeps itself alive until it is done.
class DnsUpstream : public std::enable_shared_from_this<DnsUpstream> {
 public:
  // `answer` is empty when no server had one.
  using DoneFn = std::function<void(std::string answer)>;

  // Calls `done` once, later, on the loop's thread.
  static void Ask(base::EventLoop* loop, std::vector<IpAddress> servers, std::string message,
                  const DnsQuery& query, bool tcp, DoneFn done);

  ~DnsUpstream() = default;

 private:
  DnsUpstream(base::EventLoop* loop, std::vector<IpAddress> servers, std::string message,
              DnsQuery query, bool tcp, DoneFn done);
  void TryNext();
  bool Connect(const IpAddress& server);
  void OnDatagram();
  void OnStream();
  bool TakeAnswer(std::string answer);
  void Close();
  void Finish(std::string answer);

  base::EventLoop* const loop_;
  const std::vector<IpAddress> servers_;
  const std::string message_;
  const DnsQuery query_;
  const bool tcp_;
  DoneFn done_;
  size_t next_ = 0;
  uint16_t id_ = 0;
  base::UniqueFd socket_;
  base::EventLoop::TimerId timer_ = 0;
  std::string out_;  // TCP: still to be written
  std::string in_;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_NETWORKS_DNS_UPSTREAM_H_
