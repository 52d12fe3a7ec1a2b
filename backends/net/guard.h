// Anti-spoofing, VLANs and the flood limit: judges each frame by a private copy of its head.
#pragma once

#include <optional>

#include "backends/net/frame.h"
#include "backends/net/policy.h"

namespace net {

// One for all queues of a card; judging changes nothing but the flood limit's atomic state. `set` only while no thread
// judges.
class Guard {
 public:
  Guard(const Policy& policy, const EthernetAddress& own, std::uint64_t now_ns)
      : policy_(policy), own_(own), flood_(policy.flood, now_ns) {}

  void set(const Policy& policy, std::uint64_t now_ns) {
    policy_ = policy;
    flood_.set(policy.flood, now_ns);
  }
  const Policy& policy() const { return policy_; }
  // The card's address as the operator gave it: what a driver makes of it does not count.
  const EthernetAddress& own() const { return own_; }

  // Why a frame of the guest's must not leave.
  std::optional<Drop> sent(Head head, std::uint64_t now_ns) {
    if (!policy_.guards() && !flood_.limited()) return std::nullopt;
    return judge_sent(head, now_ns);
  }
  // Why a frame must not reach the guest.
  std::optional<Drop> received(const Frame& frame) const {
    return allows_vlan(frame) ? std::nullopt : std::optional(Drop::Vlan);
  }

 private:
  std::optional<Drop> judge_sent(Head head, std::uint64_t now_ns);
  bool allows_vlan(const Frame& frame) const;
  std::optional<Drop> judge_arp(Head head, std::size_t start) const;
  std::optional<Drop> judge_ipv4(Head head, const Frame& frame) const;
  std::optional<Drop> judge_ipv6(Head head, const Frame& frame) const;
  std::optional<Drop> judge_icmpv6(Head head, const Frame& frame, const Transport& transport) const;
  bool allows(const Ipv4Prefix::Address& address) const;
  bool allows(const Ipv6Prefix::Address& address) const;

  Policy policy_;
  EthernetAddress own_;
  limits::TokenBucket flood_;
};

}  // namespace net
