// guard: nobody speaks in another's name, in another's VLAN, or to all too often.
#include "backends/net/guard.h"

#include "tests/support/catch.h"
#include "tests/support/frames.h"

using net::Drop;
using net::EthernetAddress;
using net::Guard;
using net::Policy;
using net::VlanRule;
using support::FrameBuilder;

namespace {

constexpr EthernetAddress kOwn{{0x52, 0x54, 0, 1, 2, 3}};
constexpr EthernetAddress kOther{{0x52, 0x54, 0, 9, 9, 9}};
constexpr EthernetAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr std::array<std::uint8_t, 16> kUnspecified{};
constexpr std::array<std::uint8_t, 16> kOurs{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5};
constexpr std::array<std::uint8_t, 16> kTheirs{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6};
// Of kOwn: fe80::5054:ff:fe01:203.
constexpr std::array<std::uint8_t, 16> kLinkLocal{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 1, 2, 3};
constexpr std::array<std::uint8_t, 16> kOtherLinkLocal{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kIcmpv6 = 58;

Guard guard(const Policy& policy) {
  return Guard(policy, kOwn, 0);
}
const Policy kMac{.own_mac_only = true};
const Policy kAddresses{.own_mac_only = true,
                        .addresses_only = true,
                        .ipv4 = {*net::parse_ipv4("10.0.0.5")},
                        .ipv6 = {*net::parse_ipv6("fd00::5")}};

FrameBuilder own() {
  return FrameBuilder().ethernet(kBroadcast, kOwn);
}

// A neighbour discovery message of `type` with a link-layer option.
FrameBuilder neighbour(std::uint8_t type, std::span<const std::uint8_t, 16> source,
                       std::span<const std::uint8_t, 16> target, std::uint8_t option, const EthernetAddress& mac) {
  return own()
      .ipv6(source, kIcmpv6, 32)
      .bytes({type, 0, 0, 0, 0, 0, 0, 0})
      .bytes(target)
      .bytes({option, 1})
      .bytes(mac.bytes);
}

std::optional<Drop> judge(const Policy& policy, const FrameBuilder& frame) {
  return Guard(policy, kOwn, 0).sent(frame.frame(), 0);
}

}  // namespace

SCENARIO("guard: without a policy everything passes, even what is no frame", "[net][guard]") {
  CHECK_FALSE(judge({}, FrameBuilder().zeros(3)));
  CHECK_FALSE(judge({}, FrameBuilder().ethernet(kBroadcast, kOther).ipv4({1, 2, 3, 4}, kUdp)));
}

SCENARIO("guard: a frame from another's address is dropped", "[net][guard]") {
  CHECK_FALSE(judge(kMac, own().word(0x1234)));
  CHECK(judge(kMac, FrameBuilder().ethernet(kBroadcast, kOther).word(0x1234)) == Drop::SpoofedMac);
  CHECK(judge(kMac, FrameBuilder().zeros(13)) == Drop::TooShort);
}

SCENARIO("guard: ARP names the card, and addresses that are the guest's", "[net][guard]") {
  CHECK_FALSE(judge(kMac, own().arp(kOwn, {1, 2, 3, 4})));
  CHECK(judge(kMac, own().arp(kOther, {1, 2, 3, 4})) == Drop::SpoofedArp);
  CHECK_FALSE(judge(kAddresses, own().arp(kOwn, {10, 0, 0, 5})));
  CHECK(judge(kAddresses, own().arp(kOwn, {10, 0, 0, 6})) == Drop::SpoofedArp);
  CHECK_FALSE(judge(kAddresses, own().arp(kOwn, {0, 0, 0, 0})));  // RFC 5227: a probe
  CHECK(judge(kMac, own().word(0x0806).zeros(10)) == Drop::Unparsable);
  CHECK(judge(kMac, own().word(0x0806).word(6).zeros(40)) == Drop::Unparsable);  // not for Ethernet
}

SCENARIO("guard: IPv4 comes from an address that is the guest's", "[net][guard]") {
  CHECK_FALSE(judge(kMac, own().ipv4({9, 9, 9, 9}, kUdp, 8).udp(1, 2)));
  CHECK_FALSE(judge(kAddresses, own().ipv4({10, 0, 0, 5}, kUdp, 8).udp(1, 2)));
  CHECK(judge(kAddresses, own().ipv4({10, 0, 0, 6}, kUdp, 8).udp(1, 2)) == Drop::SpoofedIpv4);
  CHECK(judge(kAddresses, own().vlan(7).ipv4({10, 0, 0, 6}, kUdp, 8).udp(1, 2)) == Drop::SpoofedIpv4);
  CHECK(judge(kAddresses, own().ipv4({10, 0, 0, 6}, kUdp, 8, 100).zeros(8)) == Drop::SpoofedIpv4);
  CHECK(judge(kAddresses, own().word(0x0800).bytes({0x44}).zeros(30)) == Drop::Unparsable);
  CHECK(judge(kAddresses, own().word(0x0800).zeros(4)) == Drop::Unparsable);
  GIVEN("no address yet") {
    CHECK_FALSE(judge(kAddresses, own().ipv4({0, 0, 0, 0}, kUdp, 8).udp(68, 67)));
    CHECK(judge(kAddresses, own().ipv4({0, 0, 0, 0}, kUdp, 8).udp(68, 53)) == Drop::SpoofedIpv4);
    CHECK(judge(kAddresses, own().ipv4({0, 0, 0, 0}, 6, 20).tcp(0)) == Drop::SpoofedIpv4);
  }
  GIVEN("a DHCP server's reply") {
    CHECK(judge(kAddresses, own().ipv4({10, 0, 0, 5}, kUdp, 8).udp(67, 68)) == Drop::RogueServer);
    CHECK_FALSE(judge(kMac, own().ipv4({10, 0, 0, 5}, kUdp, 8).udp(67, 68)));
  }
}

SCENARIO("guard: IPv6 comes from an address that is the guest's", "[net][guard]") {
  CHECK_FALSE(judge(kAddresses, own().ipv6(kOurs, kUdp, 8).udp(1, 2)));
  CHECK_FALSE(judge(kAddresses, own().ipv6(kLinkLocal, kUdp, 8).udp(1, 2)));
  CHECK(judge(kAddresses, own().ipv6(kTheirs, kUdp, 8).udp(1, 2)) == Drop::SpoofedIpv6);
  CHECK(judge(kAddresses, own().ipv6(kOtherLinkLocal, kUdp, 8).udp(1, 2)) == Drop::SpoofedIpv6);
  CHECK(judge(kAddresses, own().ipv6(kUnspecified, kUdp, 8).udp(1, 2)) == Drop::SpoofedIpv6);
  CHECK(judge(kAddresses, own().ipv6(kOurs, kUdp, 8).udp(547, 546)) == Drop::RogueServer);
  GIVEN("extension headers in front") {
    const auto hidden = [](std::uint16_t source_port) {
      return own()
          .ipv6(kOurs, 0, 24)
          .bytes({60, 0, 0, 0, 0, 0, 0, 0})
          .bytes({kUdp, 0, 0, 0, 0, 0, 0, 0})
          .udp(source_port, 1);
    };
    CHECK_FALSE(judge(kAddresses, hidden(1)));
    CHECK(judge(kAddresses, hidden(547)) == Drop::RogueServer);
  }
  GIVEN("more of them than can be looked at") {
    auto frame = own().ipv6(kOurs, 0, 300);
    for (int i = 0; i < 8; ++i) frame.bytes({0, 0, 0, 0, 0, 0, 0, 0});
    CHECK(judge(kAddresses, frame.udp(1, 2)) == Drop::Unparsable);
    CHECK(judge(kAddresses, own().ipv6(kOurs, 0, 300).bytes({kUdp, 200}).zeros(100)) == Drop::Unparsable);
  }
}

SCENARIO("guard: neighbour discovery names the card and its addresses", "[net][guard]") {
  constexpr std::uint8_t kSolicit = 135, kAdvertise = 136, kRouterAdvertise = 134, kRedirect = 137;
  CHECK_FALSE(judge(kAddresses, neighbour(kSolicit, kOurs, kTheirs, 1, kOwn)));
  CHECK_FALSE(judge(kAddresses, neighbour(kAdvertise, kOurs, kOurs, 2, kOwn)));
  CHECK_FALSE(judge(kAddresses, neighbour(kAdvertise, kLinkLocal, kLinkLocal, 2, kOwn)));
  CHECK(judge(kMac, neighbour(kSolicit, kOurs, kTheirs, 1, kOther)) == Drop::SpoofedNd);
  CHECK(judge(kMac, neighbour(kAdvertise, kOurs, kOurs, 2, kOther)) == Drop::SpoofedNd);
  CHECK(judge(kAddresses, neighbour(kAdvertise, kOurs, kTheirs, 2, kOwn)) == Drop::SpoofedNd);
  CHECK(judge(kAddresses, neighbour(kRouterAdvertise, kLinkLocal, kOurs, 1, kOwn)) == Drop::RogueServer);
  CHECK(judge(kAddresses, neighbour(kRedirect, kLinkLocal, kOurs, 2, kOwn)) == Drop::RogueServer);
  CHECK_FALSE(judge(kMac, neighbour(kRouterAdvertise, kLinkLocal, kOurs, 1, kOwn)));
  GIVEN("who asks whether an address is free") {
    CHECK_FALSE(
        judge(kAddresses, own().ipv6(kUnspecified, kIcmpv6, 24).bytes({kSolicit, 0, 0, 0, 0, 0, 0, 0}).bytes(kOurs)));
  }
  GIVEN("one in fragments (RFC 6980)") {
    CHECK(judge(kMac, own()
                          .ipv6(kOurs, 44, 40)
                          .bytes({kIcmpv6, 0, 0, 1, 0, 0, 0, 9})
                          .bytes({kSolicit, 0, 0, 0, 0, 0, 0, 0})
                          .zeros(24)) == Drop::SpoofedNd);
  }
  GIVEN("options that are cut off, or of no length") {
    CHECK(
        judge(kMac, own().ipv6(kOurs, kIcmpv6, 26).bytes({kSolicit, 0, 0, 0, 0, 0, 0, 0}).bytes(kOurs).bytes({1, 1})) ==
        Drop::Unparsable);
    CHECK(judge(kMac, own().ipv6(kOurs, kIcmpv6, 32).bytes({kSolicit, 0, 0, 0, 0, 0, 0, 0}).bytes(kOurs).zeros(8)) ==
          Drop::Unparsable);
    CHECK(judge(kMac, own()
                          .ipv6(kOurs, kIcmpv6, 4000)
                          .bytes({kSolicit, 0, 0, 0, 0, 0, 0, 0})
                          .bytes(kOurs)
                          .bytes({1, 1})
                          .bytes(kOwn.bytes)) == Drop::Unparsable);
  }
}

SCENARIO("guard: a frame is in a VLAN that is allowed, both ways", "[net][guard]") {
  Policy listed{.vlan_rule = VlanRule::Listed};
  listed.vlans.set(10);
  const Policy untagged{.vlan_rule = VlanRule::UntaggedOnly};
  const auto plain = own().word(0x1234);
  const auto ten = own().vlan(10).word(0x1234);
  const auto twenty = own().vlan(20).word(0x1234);
  const auto priority = own().vlan(0xe000).word(0x1234);
  const auto twice = own().vlan(10, 0x88a8).vlan(10).word(0x1234);
  CHECK_FALSE(judge(untagged, plain));
  CHECK_FALSE(judge(untagged, priority));
  CHECK(judge(untagged, ten) == Drop::Vlan);
  CHECK(judge(untagged, own().vlan(0).vlan(20).word(0x1234)) == Drop::Vlan);
  CHECK(judge(listed, plain) == Drop::Vlan);
  CHECK_FALSE(judge(listed, ten));
  CHECK(judge(listed, twenty) == Drop::Vlan);
  CHECK(judge(listed, twice) == Drop::Vlan);
  listed.vlans.set(0);
  CHECK_FALSE(judge(listed, plain));
  for (const auto& [frame, drop] : {std::pair(ten, false), std::pair(twenty, true), std::pair(twice, true)})
    CHECK(guard(listed).received(*net::parse_frame(frame.frame())).has_value() == drop);
  CHECK(judge(listed, own().vlan(10).bytes({0x81})) == Drop::Unparsable);
}

SCENARIO("guard: broadcasts and multicasts have a limit of their own", "[net][guard]") {
  Guard one({.own_mac_only = true, .flood = {.per_second = 10, .burst = 3}}, kOwn, 0);
  const auto broadcast = own().word(0x1234);
  const auto unicast = FrameBuilder().ethernet(kOther, kOwn).word(0x1234);
  for (int i = 0; i < 3; ++i) CHECK_FALSE(one.sent(broadcast.frame(), 0));
  CHECK(one.sent(broadcast.frame(), 0) == Drop::Flood);
  CHECK_FALSE(one.sent(unicast.frame(), 0));
  CHECK(one.sent(FrameBuilder().ethernet(kBroadcast, kOther).word(1).frame(), 0) == Drop::SpoofedMac);
  CHECK_FALSE(one.sent(broadcast.frame(), 150'000'000));
  one.set({}, 0);
  for (int i = 0; i < 30; ++i) CHECK_FALSE(one.sent(broadcast.frame(), 150'000'000));
}

SCENARIO("addresses: what is none is refused", "[net]") {
  CHECK(net::parse_ethernet("52:54:00:aa:bb:0c") == EthernetAddress{{0x52, 0x54, 0, 0xaa, 0xbb, 0xc}});
  for (const char* text :
       {"", "52:54:00:aa:bb", "52:54:00:aa:bb:cc:", "52-54-00-aa-bb-cc", "52:54:00:aa:bb:cg", "5:54:00:aa:bb:cc0"})
    CHECK_FALSE(net::parse_ethernet(text));
  CHECK(net::parse_ipv4("10.0.0.0/8")->contains({10, 9, 8, 7}));
  CHECK_FALSE(net::parse_ipv4("10.0.0.0/9")->contains({10, 200, 8, 7}));
  CHECK(net::parse_ipv4("0.0.0.0/0")->contains({1, 2, 3, 4}));
  CHECK_FALSE(net::parse_ipv4("10.0.0.5")->contains({10, 0, 0, 4}));
  for (const char* text : {"", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x"})
    CHECK_FALSE(net::parse_ipv4(text));
  CHECK(net::parse_ipv6("fd00::/63")->contains({0xfd, 0, 0, 0, 0, 0, 0, 1}));
  CHECK_FALSE(net::parse_ipv6("fd00::/129"));
}
