#include "services/networks/firewall.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "services/networks/netlink.h"

namespace gantry::services {
namespace {

absl::StatusOr<base::UniqueFd> OpenNotes() {
  base::UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  if (!fd) return base::ErrnoStatus(errno, "open a netlink socket for changes of rules");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  int group = NFNLGRP_NFTABLES;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
    return base::ErrnoStatus(errno, "listen for changes of rules");
  }
  return fd;
}

// Whether one of the messages says that something of `table` went which we never take away alone.
bool TellsOfLoss(const char* data, size_t size, const std::string& table) {
  size_t left = size;
  bool loss = false;
  for (auto* head = reinterpret_cast<const nlmsghdr*>(data); NLMSG_OK(head, left);
       head = NLMSG_NEXT(head, left)) {
    int type = head->nlmsg_type & 0xff;
    if (head->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES) continue;
    if (type != NFT_MSG_DELTABLE && type != NFT_MSG_DELCHAIN && type != NFT_MSG_DELRULE &&
        type != NFT_MSG_DELSET && type != NFT_MSG_NEWRULE)
      continue;
    ForEachAttribute(*head, sizeof(nfgenmsg), [&](int attribute, const char* text, size_t length) {
      // The first attribute of all of these is the table's name.
      if (attribute == NFTA_TABLE_NAME && std::string(text, strnlen(text, length)) == table)
        loss = true;
    });
  }
  return loss;
}

}  // namespace

Firewall::~Firewall() {
  if (!watcher_.joinable()) return;
  eventfd_write(stop_.get(), 1);
  watcher_.join();
}

absl::Status Firewall::StartLocked() {
  if (nft_.has_value()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(Nft nft, Nft::Open());
  GANTRY_ASSIGN_OR_RETURN(notes_, OpenNotes());
  stop_.Reset(eventfd(0, EFD_CLOEXEC));
  nft_ = std::move(nft);
  watcher_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

std::string Firewall::WantedLocked() const {
  std::string text = TableText(table_, guard_forwarding_);
  for (const auto& [bridge, network] : networks_) text += NetworkText(table_, "add", network);
  for (const PortRule& port : ports_) text += PortText(table_, "add", port);
  return text;
}

absl::Status Firewall::RebuildLocked() {
  GANTRY_RETURN_IF_ERROR(StartLocked());
  if (networks_.empty() && ports_.empty()) {
    rules_.clear();
    return nft_->Run(absl::StrCat("add table inet ", table_, "\ndelete table inet ", table_, "\n"))
        .status();
  }
  GANTRY_RETURN_IF_ERROR(nft_->Run(WantedLocked()).status());
  GANTRY_ASSIGN_OR_RETURN(rules_, nft_->Run(absl::StrCat("list table inet ", table_)));
  return absl::OkStatus();
}

// A change that the kernel refuses may have met a table that somebody else has changed: the whole
// is made anew then, and if that fails too, its error counts.
absl::Status Firewall::ApplyLocked(const std::string& change) {
  if (!rules_.empty() && nft_->Run(change).ok()) return absl::OkStatus();
  return RebuildLocked();
}

absl::Status Firewall::AddNetwork(const NetworkRules& network) {
  std::lock_guard lock(mutex_);
  if (networks_.contains(network.bridge)) return absl::OkStatus();
  networks_[network.bridge] = network;
  absl::Status status = ApplyLocked(NetworkText(table_, "add", network));
  if (!status.ok()) networks_.erase(network.bridge);
  return status;
}

absl::Status Firewall::RemoveNetwork(const std::string& bridge) {
  std::lock_guard lock(mutex_);
  auto it = networks_.find(bridge);
  if (it == networks_.end()) return absl::OkStatus();
  std::string change = NetworkText(table_, "delete", it->second);
  networks_.erase(it);
  return networks_.empty() ? RebuildLocked() : ApplyLocked(change);
}

absl::Status Firewall::AddPorts(const std::vector<PortRule>& ports) {
  if (ports.empty()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  std::string change;
  for (const PortRule& port : ports) {
    ports_.insert(port);
    change += PortText(table_, "add", port);
  }
  absl::Status status = ApplyLocked(change);
  if (!status.ok()) {
    for (const PortRule& port : ports) ports_.erase(port);
  }
  return status;
}

absl::Status Firewall::RemovePorts(const std::vector<PortRule>& ports) {
  if (ports.empty()) return absl::OkStatus();
  std::lock_guard lock(mutex_);
  std::string change;
  for (const PortRule& port : ports) {
    if (ports_.erase(port) != 0) change += PortText(table_, "delete", port);
  }
  return change.empty() ? absl::OkStatus() : ApplyLocked(change);
}

void Firewall::GuardForwarding(bool guard) {
  std::lock_guard lock(mutex_);
  guard_forwarding_ = guard;
}

absl::Status Firewall::Rebuild() {
  std::lock_guard lock(mutex_);
  return RebuildLocked();
}

absl::StatusOr<bool> Firewall::IsWholeLocked() {
  if (!nft_.has_value() || rules_.empty()) return true;
  absl::StatusOr<std::string> now = nft_->Run(absl::StrCat("list table inet ", table_));
  return now.ok() && *now == rules_;
}

absl::StatusOr<bool> Firewall::IsWhole() {
  std::lock_guard lock(mutex_);
  return IsWholeLocked();
}

void Firewall::Watch() {
  std::string buffer(64u << 10, '\0');
  while (true) {
    pollfd fds[2] = {{notes_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    bool lost = false;
    while (true) {
      ssize_t n = recv(notes_.get(), buffer.data(), buffer.size(), 0);
      if (n < 0 && errno == ENOBUFS) lost = true;  // some notes were dropped: look
      if (n < 0 && errno != ENOBUFS && errno != EINTR) break;
      if (n > 0 && TellsOfLoss(buffer.data(), static_cast<size_t>(n), table_)) lost = true;
    }
    if (!lost) continue;
    std::lock_guard lock(mutex_);
    absl::StatusOr<bool> whole = IsWholeLocked();
    if (whole.ok() && *whole) continue;  // we did it ourselves
    base::LogWarn("somebody has changed gantry's firewall rules; making them anew",
                  {{"table", table_}});
    absl::Status status = RebuildLocked();
    if (!status.ok()) base::LogError("restore firewall rules", {{"error", status.message()}});
  }
}

}  // namespace gantry::services
