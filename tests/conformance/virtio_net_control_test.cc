// The control virtqueue (virtio 1.2, 5.1.6.5) on a running device. Its commands are walked in tests/unit/backends/net.
#include "tests/conformance/net_fixture.h"

using conformance::kCard;
using conformance::kPeer;
using conformance::make_frame;
using conformance::NetFixture;
using net::Drop;
using virtio::feature_bit;

namespace {

constexpr std::uint64_t kControl = feature_bit(VIRTIO_NET_F_CTRL_VQ) | feature_bit(VIRTIO_NET_F_CTRL_RX);

}  // namespace

SCENARIO("control queue: a command takes effect before it is acknowledged", "[net][control][virtio-5.1.6.5]") {
  NetFixture net({.layout = GENERATE(support::Layout::Split, support::Layout::Packed), .features = kControl});
  REQUIRE(net.ready);
  REQUIRE(net.command({VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}) == VIRTIO_NET_OK);
  const std::uint64_t place = net.offer_buffer({2'000});
  net.network->send(make_frame(100, kPeer, kPeer));
  net.network->send(make_frame(101, kCard, kPeer));
  CHECK((net.received(place) == make_frame(101, kCard, kPeer)));
  CHECK(net.dropped(0, Drop::NotWanted) == 1);
}

SCENARIO("control queue: commands that are wrong are refused, and the queue goes on",
         "[net][control][virtio-5.1.6.5]") {
  NetFixture net({.features = kControl});
  REQUIRE(net.ready);
  CHECK(net.command({99, 1}) == VIRTIO_NET_ERR);
  CHECK(net.command({VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 1, 0}) == VIRTIO_NET_ERR);  // not negotiated
  support::FakeQueue& queue = net.queues[2];
  const std::uint64_t place = net.ram.allocate(200'000);
  const auto offer = [&](std::vector<support::Descriptor> parts) {
    queue.offer(queue.link(parts));
    queue.kick();
    return queue.wait_used();
  };
  GIVEN("no room for the answer") {
    const auto used = offer({{place, 3}});
    REQUIRE(used);
    CHECK(used->length == 0);
  }
  GIVEN("nothing but an answer") {
    REQUIRE(offer({{place, 1, support::kWrite}}));
    CHECK(net.ram.object<std::uint8_t>(place) == VIRTIO_NET_ERR);
  }
  GIVEN("a command without end") {
    REQUIRE(offer({{place + 1, 199'999}, {place, 1, support::kWrite}}));
    CHECK(net.ram.object<std::uint8_t>(place) == VIRTIO_NET_ERR);
  }
  GIVEN("one outside of guest memory") {
    REQUIRE(offer({{net.ram.end(), 3}, {place, 1, support::kWrite}}));
  }
  CHECK(net.command({VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1}) == VIRTIO_NET_OK);
}

SCENARIO("control queue: a flood of commands leaves frames their turn", "[net][control]") {
  NetFixture net({.queue_size = 256, .features = kControl});
  REQUIRE(net.ready);
  support::FakeQueue& queue = net.queues[2];
  const std::uint64_t place = net.ram.allocate(16);
  const std::vector<support::Descriptor> parts{{place, 3}, {place + 8, 1, support::kWrite}};
  for (int i = 0; i < 120; ++i) queue.offer(queue.link(parts));
  queue.kick();
  const auto frame = make_frame(100, kPeer, kCard);
  net.transmit(frame);
  CHECK((net.network->receive() == frame));
  for (int i = 0; i < 120; ++i) REQUIRE(queue.wait_used());
}

SCENARIO("control queue: what the driver chose outlives the process that it told",
         "[net][control][vhost-user-inflight]") {
  ipc::UniqueFd region;
  const NetFixture::Setup setup{.layout = GENERATE(support::Layout::Split, support::Layout::Packed),
                                .features = kControl | virtio::feature_bit(VIRTIO_NET_F_CTRL_VLAN),
                                .inflight = &region};
  {
    NetFixture first(setup);
    REQUIRE(first.ready);
    CHECK(first.command({VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 20, 0}) == VIRTIO_NET_OK);
  }
  NetFixture net(setup);
  REQUIRE(net.ready);
  const auto tagged = [](std::uint8_t vlan) {
    auto frame = make_frame(100, kPeer, kCard);
    constexpr std::uint8_t kTag[] = {0x81, 0x00, 0x00};
    frame.insert(frame.begin() + 12, std::as_bytes(std::span(kTag)).begin(), std::as_bytes(std::span(kTag)).end());
    frame.insert(frame.begin() + 15, std::byte{vlan});
    return frame;
  };
  const std::uint64_t place = net.offer_buffer({2048});
  net.network->send(tagged(21));
  net.network->send(tagged(20));
  THEN("its VLANs come, and no others") {
    CHECK((net.received(place) == tagged(20)));
  }
}
