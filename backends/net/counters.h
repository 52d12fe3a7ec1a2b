// What each queue counts, and why a frame is dropped.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace net {

enum class Drop : std::uint8_t {
  BadChain,     // the driver's buffers make no frame: too few, too many, in guest memory that is none
  BadHeader,    // the virtio-net header asks for what cannot be, or was not negotiated
  TooShort,     // less than an Ethernet header
  TooLong,      // more than the card takes
  Unparsable,   // what has to be looked at cannot be seen
  SpoofedMac,   // the rest: not who it says it is
  SpoofedArp,   //
  SpoofedIpv4,  //
  SpoofedIpv6,  //
  SpoofedNd,    //
  RogueServer,  // a router's or DHCP server's message from a guest whose addresses are guarded
  Vlan,         // a VLAN that is not allowed
  Flood,        // more broadcasts and multicasts than allowed
  NotWanted,    // the driver's receive filter
  NoRoom,       // a frame that the driver's buffers cannot hold
  LinkDown,     // the cable is pulled out, or nobody is at its other end
  NoOffload,    // a frame with offloads that its receiver has not accepted
  Refused,      // the way out does not take it
};

// Names of a queue's counters: Counter, then Drop.
inline constexpr std::array<std::string_view, 20> kCounterNames{
    "packets",   "bytes",      "bad-chain", "bad-header", "too-short",  "too-long",     "unparsable",
    "spoof-mac", "spoof-arp",  "spoof-ip4", "spoof-ip6",  "spoof-nd",   "rogue-server", "vlan",
    "flood",     "not-wanted", "no-room",   "link-down",  "no-offload", "refused"};

enum class Counter : std::uint8_t { Packets, Bytes, FirstDrop };

constexpr std::size_t index_of(Counter counter) {
  return static_cast<std::size_t>(counter);
}
constexpr std::size_t index_of(Drop drop) {
  return index_of(Counter::FirstDrop) + static_cast<std::size_t>(drop);
}
static_assert(index_of(Drop::Refused) + 1 == kCounterNames.size());

}  // namespace net
