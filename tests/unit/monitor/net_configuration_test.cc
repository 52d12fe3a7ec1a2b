// What the monitor accepts of a network card, and the address that a card has when nobody says.
#include "monitor/net_configuration.h"

#include <capnp/message.h>

#include <set>

#include "tests/support/catch.h"

namespace schema = ipc::schema;
using monitor::NetConfiguration;

namespace {

// A machine's cards, for a test to describe.
class Wish {
 public:
  explicit Wish(unsigned cards = 1) : nets(message_.initRoot<schema::Machine>().initNets(cards)) {
    for (auto net : nets) net.initTap();
  }
  ipc::Result<std::vector<NetConfiguration>> check() { return monitor::check_nets(nets.asReader(), "web1"); }
  // "" if it is right.
  std::string refusal() {
    const auto result = check();
    return result ? "" : ipc::describe(result.error());
  }

 private:
  capnp::MallocMessageBuilder message_;

 public:
  capnp::List<schema::Net>::Builder nets;
};

}  // namespace

SCENARIO("a card that says nothing has what the schema says, and its own MAC alone", "[monitor][net]") {
  Wish wish;
  const auto cards = wish.check();
  REQUIRE(cards);
  const NetConfiguration& card = cards->front();
  CHECK(card.mtu == 1500);
  CHECK(card.queue_pairs == 1);
  CHECK(card.own_mac_only);
  CHECK(card.mac == monitor::derive_mac("web1", 0));
}

SCENARIO("a card's address is always the same, and unlike others", "[monitor][net]") {
  CHECK(monitor::derive_mac("web1", 0) == ipc::EthernetAddress{{0x52, 0x54, 0x84, 0x5e, 0x39, 0x93}});
  std::set<ipc::EthernetAddress> seen;
  for (int machine = 0; machine < 100; ++machine)
    for (std::size_t card = 0; card < 4; ++card) {
      const auto mac = monitor::derive_mac("vm" + std::to_string(machine), card);
      CHECK((mac.bytes[0] & 3) == 2);  // locally administered, no group
      CHECK(seen.insert(mac).second);
    }
}

SCENARIO("a card that cannot be is refused, by its number", "[monitor][net]") {
  using Catch::Matchers::StartsWith;
  GIVEN("an MTU that is none") {
    Wish wish;
    wish.nets[0].setMtu(67);
    CHECK(wish.refusal() == "network card 0: MTU 67: 68 to 65535 is right");
  }
  GIVEN("too many queues") {
    Wish wish;
    wish.nets[0].setQueuePairs(32);
    CHECK(wish.refusal() == "network card 0: 32 pairs of queues: 1 to 31 is right");
    wish.nets[0].setPair("/run/cable");
    wish.nets[0].setQueuePairs(2);
    CHECK(wish.refusal() == "network card 0: 2 pairs of queues: 1 to 1 is right for what is no tap");
  }
  GIVEN("a MAC address that is none, of a group, or another card's") {
    Wish wish(2);
    for (const char* mac : {"52:54:00:12:34", "52:54:00:12:34:5g", "53:54:00:12:34:56", "52:54:00:12:34:567"}) {
      wish.nets[1].setMac(mac);
      CHECK_THAT(wish.refusal(), StartsWith(std::string("network card 1: mac ") + mac));
    }
    wish.nets[0].setMac("52:54:00:12:34:56");
    wish.nets[1].setMac("52:54:00:12:34:56");
    CHECK(wish.refusal() == "network card 1: MAC address 52:54:00:12:34:56 is that of card 0 too");
  }
  GIVEN("names that no interface can have") {
    Wish wish;
    for (const char* name : {"sixteen-letters-", "a/b", "a b", "..", "a:b"}) {
      wish.nets[0].getTap().setName(name);
      CHECK_THAT(wish.refusal(), StartsWith(std::string("interface \"") + name + "\""));
    }
  }
  GIVEN("forwards that are none") {
    for (const char* forward : {"", "2222:22", "tcp:2222", "tcp:0:22", "tcp:22:65536", "tcp:22:22:22", "icmp:1:1"}) {
      Wish wish;
      wish.nets[0].initUser().initForwards(1).set(0, forward);
      CHECK_THAT(wish.refusal(), StartsWith(std::string("network card 0: forward ") + forward + ":"));
    }
    Wish wish;
    wish.nets[0].initUser().initForwards(1).set(0, "udp:65535:1");
    CHECK(wish.refusal().empty());
  }
  GIVEN("a pair without a path") {
    Wish wish;
    wish.nets[0].setPair("");
    CHECK(wish.refusal() == "network card 0: the pair's socket has no path");
  }
}
