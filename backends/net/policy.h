// What a card's guest may send, and what may reach it, whatever it thinks of that.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/limits/token_bucket.h"
#include "backends/net/ethernet.h"

namespace net {

enum class VlanRule : std::uint8_t {
  Any,
  UntaggedOnly,
  Listed,  // those of Policy::vlans, where 0 stands for frames without a tag
};

struct Policy {
  static constexpr std::size_t kMostAddresses = 64;  // of each kind

  bool own_mac_only = false;    // frames, ARP and neighbour discovery name no other sender than the card
  bool addresses_only = false;  // nor one that is not among these, and the guest is no router and no DHCP server:
  std::vector<Ipv4Prefix> ipv4 = {};
  std::vector<Ipv6Prefix> ipv6 = {};
  VlanRule vlan_rule = VlanRule::Any;
  std::bitset<4096> vlans = {};
  limits::Rate flood = {};  // broadcasts and multicasts a second that it may send; 0: no limit

  // Do frames have to be looked at?
  bool guards() const { return own_mac_only || addresses_only || vlan_rule != VlanRule::Any; }
};

// For people: "own MAC only, addresses 10.0.0.5/32, untagged only"; "none".
std::string describe(const Policy& policy);

}  // namespace net
