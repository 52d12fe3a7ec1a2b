// The control virtqueue's commands (virtio 1.2, 5.1.6.5): each does what it says, or nothing.
#include "backends/net/control.h"

#include "backends/virtio/features.h"
#include "tests/support/catch.h"
#include "tests/support/frames.h"

using net::Control;
using net::EthernetAddress;
using virtio::feature_bit;

namespace {

constexpr EthernetAddress kOwn{{0x52, 0x54, 0, 1, 2, 3}};
constexpr EthernetAddress kOther{{0x52, 0x54, 0, 9, 9, 9}};
constexpr EthernetAddress kGroup{{0x01, 0, 0x5e, 0, 0, 1}};
constexpr EthernetAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr std::uint64_t kAll = ~std::uint64_t{0};

bool done(Control& control, std::initializer_list<std::uint8_t> bytes) {
  std::vector<std::byte> command;
  for (const std::uint8_t byte : bytes) command.push_back(static_cast<std::byte>(byte));
  return control.execute(command) == VIRTIO_NET_OK;
}

bool passes(const Control& control, const EthernetAddress& to, std::uint16_t vlan = 0) {
  support::FrameBuilder frame;
  frame.ethernet(to, kOther);
  if (vlan != 0) frame.vlan(vlan);
  return control.filter().passes(*net::parse_frame(frame.word(0x1234).frame()), control.mac());
}

Control make(std::uint64_t features = kAll, std::uint16_t pairs = 4) {
  Control control(kOwn, pairs);
  control.reset(features);
  return control;
}

}  // namespace

SCENARIO("control: receive modes", "[net][control][virtio-5.1.6.5.1]") {
  Control control = make();
  CHECK(passes(control, kOther));  // promiscuous at first
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}));
  CHECK_FALSE(passes(control, kOther));
  CHECK(passes(control, kOwn));
  CHECK(passes(control, kBroadcast));
  CHECK_FALSE(passes(control, kGroup));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1}));
  CHECK(passes(control, kGroup));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOMULTI, 1}));
  CHECK_FALSE(passes(control, kGroup));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, 1}));
  CHECK(passes(control, kOther));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, 1}));
  CHECK_FALSE(passes(control, kOwn));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, 1}));
  CHECK_FALSE(passes(control, kBroadcast));
  for (const std::uint8_t unknown : {6, 7, 255}) CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_RX, unknown, 1}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1, 1}));
}

SCENARIO("control: tables of addresses", "[net][control][virtio-5.1.6.5.2]") {
  Control control = make();
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}));
  const auto table = [](std::initializer_list<EthernetAddress> unicast, std::uint32_t more,
                        std::initializer_list<EthernetAddress> multicast) {
    std::vector<std::byte> command{std::byte{VIRTIO_NET_CTRL_MAC}, std::byte{VIRTIO_NET_CTRL_MAC_TABLE_SET}};
    const auto add = [&](std::initializer_list<EthernetAddress> addresses, std::uint32_t extra) {
      const auto entries = static_cast<std::uint32_t>(addresses.size()) + extra;
      const auto number = std::as_bytes(std::span(&entries, 1));
      command.insert(command.end(), number.begin(), number.end());
      for (const auto& address : addresses)
        for (const std::uint8_t byte : address.bytes) command.push_back(static_cast<std::byte>(byte));
    };
    add(unicast, more);
    add(multicast, 0);
    return command;
  };
  REQUIRE(control.execute(table({kOther}, 0, {kGroup})) == VIRTIO_NET_OK);
  CHECK(passes(control, kOther));
  CHECK(passes(control, kGroup));
  CHECK(control.execute(table({}, 1, {kGroup})) == VIRTIO_NET_ERR);
  CHECK(control.execute(table({kOwn}, 0x2aaaaaab, {})) == VIRTIO_NET_ERR);  // times 6 it wraps
  CHECK(control.execute(table({kOwn}, 0xfffffffe, {})) == VIRTIO_NET_ERR);
  auto longer = table({kOwn}, 0, {});
  longer.push_back({});
  CHECK(control.execute(longer) == VIRTIO_NET_ERR);
  CHECK(passes(control, kOther));  // what was refused changed nothing
  REQUIRE(control.execute(table({}, 0, {})) == VIRTIO_NET_OK);
  CHECK_FALSE(passes(control, kOther));
  GIVEN("more than the filter holds") {
    std::vector<std::byte> command{
        std::byte{VIRTIO_NET_CTRL_MAC}, std::byte{VIRTIO_NET_CTRL_MAC_TABLE_SET}, std::byte{65}, {}, {}, {}};
    command.resize(command.size() + 65 * 6 + 4);
    REQUIRE(control.execute(command) == VIRTIO_NET_OK);
    CHECK(passes(control, kOther));
    CHECK_FALSE(passes(control, kGroup));
  }
}

SCENARIO("control: the card's address", "[net][control][virtio-5.1.6.5.2]") {
  Control control = make();
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0, 9, 9, 9}));
  CHECK(control.mac() == kOther);
  CHECK(passes(control, kOther));
  CHECK_FALSE(
      done(control, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x53, 0x54, 0, 9, 9, 9}));  // a multicast one
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0, 9, 9}));
  control.reset(kAll);
  CHECK(control.mac() == kOwn);
}

SCENARIO("control: VLANs", "[net][control][virtio-5.1.6.5.3]") {
  Control control = make();
  CHECK(passes(control, kOwn, 10));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 20, 0}));
  CHECK_FALSE(passes(control, kOwn, 10));
  CHECK(passes(control, kOwn, 20));
  CHECK(passes(control, kOwn));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, 20, 0}));
  CHECK_FALSE(passes(control, kOwn, 20));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0, 0x10}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_VLAN, 2, 20, 0}));
}

SCENARIO("control: pairs of queues, offloads, announcements", "[net][control][virtio-5.1.6.5.4]") {
  Control control = make();
  REQUIRE(done(control, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 4, 0}));
  CHECK(control.pairs() == 4);
  for (const auto& [low, high] : {std::pair(0, 0), std::pair(5, 0), std::pair(1, 0x80)})
    CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, static_cast<std::uint8_t>(low),
                               static_cast<std::uint8_t>(high)}));
  CHECK(control.pairs() == 4);

  CHECK(control.offloads().tso4);
  REQUIRE(done(control, {VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 2, 0, 0, 0, 0, 0, 0, 0}));
  CHECK(control.offloads() == net::Offloads{.checksum = true});
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 1, 0, 0, 0, 0, 0, 0,
                             0}));  // CSUM: not the guest's

  control.want_announce();
  REQUIRE(done(control, {VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK}));
  CHECK_FALSE(control.announce_wanted());
}

SCENARIO("control: what was not negotiated, and what is unknown, is refused", "[net][control][virtio-5.1.6.5]") {
  Control control = make(feature_bit(VIRTIO_NET_F_CTRL_VQ));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0, 9, 9, 9}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 20, 0}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 0}));
  CHECK_FALSE(done(control, {VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  CHECK_FALSE(done(control, {99, 0}));
  CHECK_FALSE(done(control, {0}));
  CHECK_FALSE(done(control, {}));
  Control extra = make(feature_bit(VIRTIO_NET_F_CTRL_RX));
  CHECK_FALSE(done(extra, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOMULTI, 1}));
  CHECK(control.execute(std::vector<std::byte>(Control::kMostBytes + 1)) == VIRTIO_NET_ERR);
}

SCENARIO("control: another process takes the state up, and trusts nothing of it", "[net][control]") {
  Control control = make();
  REQUIRE(done(control, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 20, 0}));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}));
  REQUIRE(done(control,
               {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 1, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0}));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, 2, 0, 0, 0, 0, 0, 0, 0}));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 3, 0}));
  REQUIRE(done(control, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0, 9, 9, 9}));
  auto state = control.save();
  Control other = make();
  REQUIRE(other.restore(state));
  CHECK(other.pairs() == 3);
  CHECK(other.mac() == kOther);
  CHECK(other.filter() == control.filter());
  CHECK(other.offloads() == net::Offloads{.checksum = true});
  THEN("a migration brings it before the features") {
    Control migrated(kOwn, 4);
    REQUIRE(migrated.load(state));
    CHECK(migrated.pairs() == 1);
    migrated.reset(kAll);
    CHECK(migrated.pairs() == 3);
    CHECK(migrated.filter() == control.filter());
    migrated.reset(kAll);
    CHECK(migrated.pairs() == 1);
  }
  Control fewer = make(kAll, 2);
  CHECK_FALSE(fewer.load(state));
  for (std::size_t bytes = 0; bytes < state.size(); ++bytes) CHECK_FALSE(other.load(std::span(state).first(bytes)));
  for (std::size_t i = 0; i < state.size(); ++i) {
    auto damaged = state;
    damaged[i] = std::byte{0xff};
    static_cast<void>(Control(kOwn, 4).restore(damaged));  // some are states too
  }
  state[6] |= std::byte{1};  // a multicast address
  CHECK_FALSE(other.load(state));
  CHECK(other.mac() == kOther);
}
