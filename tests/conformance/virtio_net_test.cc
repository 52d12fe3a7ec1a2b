// The network device's data queues (virtio 1.2, 5.1.6), as a driver and a network use and abuse them.
#include "tests/conformance/net_fixture.h"

using conformance::Bytes;
using conformance::kCard;
using conformance::kPeer;
using conformance::make_frame;
using conformance::NetFixture;
using net::Drop;
using support::Layout;
using virtio::feature_bit;

namespace {

constexpr std::uint64_t kMergeable = std::uint64_t{1} << VIRTIO_NET_F_MRG_RXBUF;

Layout any_layout() {
  return GENERATE(Layout::Split, Layout::Packed);
}

bool alive(NetFixture& net) {
  const Bytes frame = make_frame(100, kPeer, kCard);
  net.transmit(frame);
  return net.network->receive() == frame && net.transmitted();
}

}  // namespace

SCENARIO("net: a frame that the driver sends reaches the network as it is", "[net][virtio-5.1.6.2]") {
  NetFixture net({.layout = any_layout()});
  REQUIRE(net.ready);
  for (const std::size_t bytes : {14u, 60u, 255u, 256u, 257u, 1514u, 9014u, 65549u}) {
    const Bytes frame = make_frame(bytes, kPeer, kCard);
    net.transmit(frame);
    REQUIRE((net.network->receive() == frame));
    const auto used = net.queues[1].wait_used();
    REQUIRE(used);
    CHECK(used->length == 0);
  }
  CHECK(net.counted(1, net::index_of(net::Counter::Packets)) == 8);
  CHECK(net.counted(1, net::index_of(net::Counter::Bytes)) == 14 + 60 + 255 + 256 + 257 + 1514 + 9014 + 65549);
}

SCENARIO("net: header and frame may be cut anywhere (CVE-2022-2132)", "[net][virtio-2.7.4.1][security-10]") {
  NetFixture net({.layout = any_layout()});
  REQUIRE(net.ready);
  const Bytes frame = make_frame(700, kPeer, kCard);
  for (std::size_t first = 1; first < 40; ++first) {
    net.transmit(frame, {}, {first});
    REQUIRE((net.network->receive() == frame));
    REQUIRE(net.transmitted());
  }
  GIVEN("a header of a descriptor for each byte, and a frame of many") {
    std::vector<std::size_t> cuts(12 + 40, 1);
    net.transmit(frame, {}, cuts);
    CHECK((net.network->receive() == frame));
    CHECK(net.transmitted());
  }
}

SCENARIO("net: what is no frame comes back, is counted, and the queue goes on", "[net][virtio-5.1.6.2]") {
  NetFixture net({.layout = any_layout()});
  REQUIRE(net.ready);
  const auto send_raw = [&](std::vector<support::Descriptor> parts) {
    net.queues[1].offer(net.queues[1].link(parts));
    net.queues[1].kick();
    REQUIRE(net.transmitted());
  };
  const std::uint64_t place = net.ram.allocate(70'000);
  send_raw({{place, 11}});
  CHECK(net.dropped(1, Drop::BadChain) == 1);
  send_raw({{place, 12}});
  send_raw({{place, 12 + 13}});
  CHECK(net.dropped(1, Drop::TooShort) == 2);
  send_raw({{place, 70'000}});
  CHECK(net.dropped(1, Drop::TooLong) == 1);
  send_raw({{place, 100, support::kWrite}});  // nothing to read
  send_raw({{net.ram.end() - 50, 100}});      // beyond guest memory
  CHECK(net.dropped(1, Drop::BadChain) == 3);
  CHECK(net.network->silent());
  CHECK(alive(net));
}

SCENARIO("net: a header asks for nothing that was not negotiated", "[net][virtio-5.1.6.2][security-11]") {
  NetFixture net({.cable = true});
  REQUIRE(net.ready);
  net::Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = 14;
  net.transmit(make_frame(100), header);
  REQUIRE(net.transmitted());
  CHECK(net.dropped(1, Drop::NoOffload) == 1);
  CHECK(alive(net));
}

SCENARIO("net: offloads that were negotiated go through a cable", "[net][virtio-5.1.6.2]") {
  NetFixture net({.features = feature_bit(VIRTIO_NET_F_CSUM) | feature_bit(VIRTIO_NET_F_HOST_TSO4), .cable = true});
  REQUIRE(net.ready);
  const Bytes frame = support::FrameBuilder().ethernet(kPeer, kCard).ipv4({10, 0, 0, 5}, 6, 20'020).tcp(20'000).frame();
  net::Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = 34;
  header.csum_offset = 16;
  header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  header.gso_size = 1448;
  header.hdr_len = 9;  // a hint, and a wrong one
  net.transmit(frame, header);
  REQUIRE((net.network->receive() == frame));
  CHECK(net.network->last_header.gso_size == 1448);
  CHECK(net.network->last_header.hdr_len == 54);
  header.csum_start = 0xfff0;
  net.transmit(frame, header);
  CHECK(net.transmitted());
  CHECK(net.transmitted());
  CHECK(net.dropped(1, Drop::BadHeader) == 1);
}

SCENARIO("net: a frame of the network reaches the driver's buffer", "[net][virtio-5.1.6.4]") {
  NetFixture net({.layout = any_layout(), .features = GENERATE(std::uint64_t{0}, kMergeable)});
  REQUIRE(net.ready);
  for (const std::size_t bytes : {14u, 60u, 1514u, 9014u}) {
    const std::uint64_t place = net.offer_buffer({10'000});
    const Bytes frame = make_frame(bytes);
    net.network->send(frame);
    REQUIRE((net.received(place) == frame));
    CHECK(net.last_header.num_buffers == 1);
    CHECK(net.last_header.flags == 0);
  }
}

SCENARIO("net: buffers may be cut anywhere", "[net][virtio-2.7.4.1]") {
  NetFixture net({.layout = any_layout(), .features = GENERATE(std::uint64_t{0}, kMergeable)});
  REQUIRE(net.ready);
  const Bytes frame = make_frame(300);
  for (std::uint32_t first = 1; first < 20; ++first) {
    const std::uint64_t place = net.offer_buffer({first, 1, 2, 400});
    net.network->send(frame);
    REQUIRE((net.received(place) == frame));
    REQUIRE(net.last_header.num_buffers == 1);
  }
}

SCENARIO("net: a frame is spread over buffers that can be merged (CVE-2021-3748)",
         "[net][virtio-5.1.6.4][security-23]") {
  NetFixture net({.layout = any_layout(), .features = kMergeable});
  REQUIRE(net.ready);
  const std::uint32_t size = GENERATE(1u, 11u, 12u, 13u, 100u);
  const Bytes frame = make_frame(size == 1 ? 40 : 400);
  const std::size_t needed = (12 + frame.size() + size - 1) / size;
  std::vector<std::uint64_t> places;
  for (std::size_t i = 0; i < needed; ++i) places.push_back(net.offer_buffer({size}));
  net.network->send(frame);
  Bytes all;
  for (std::size_t i = 0; i < needed; ++i) {
    const auto used = net.queues[0].wait_used();
    REQUIRE(used);
    const auto part = net.ram.at(places[i], used->length);
    all.insert(all.end(), part.begin(), part.end());
  }
  REQUIRE(all.size() == 12 + frame.size());
  net::Header header;
  std::memcpy(&header, all.data(), sizeof header);
  CHECK(header.num_buffers == needed);
  CHECK((Bytes(all.begin() + 12, all.end()) == frame));
}

SCENARIO("net: a frame waits for buffers, and the other direction does not (CVE-2020-16843)", "[net][security-18]") {
  NetFixture net({.layout = any_layout(), .features = GENERATE(std::uint64_t{0}, kMergeable)});
  REQUIRE(net.ready);
  std::vector<Bytes> frames;
  for (std::size_t i = 0; i < 20; ++i) net.network->send(frames.emplace_back(make_frame(100 + i)));
  for (int i = 0; i < 5; ++i) REQUIRE(alive(net));
  for (const Bytes& frame : frames) {
    const std::uint64_t place = net.offer_buffer({2'000});
    REQUIRE((net.received(place) == frame));
  }
}

SCENARIO("net: a frame that the driver's buffers can never hold is dropped", "[net][virtio-5.1.6.3.1]") {
  GIVEN("no mergeable buffers") {
    NetFixture net({.layout = any_layout()});
    REQUIRE(net.ready);
    net.offer_buffer({100});
    net.network->send(make_frame(400));
    const auto used = net.queues[0].wait_used();
    REQUIRE(used);
    CHECK(used->length == 0);
    CHECK(net.dropped(0, Drop::NoRoom) == 1);
    const Bytes next = make_frame(60);
    const std::uint64_t place = net.offer_buffer({100});
    net.network->send(next);
    CHECK((net.received(place) == next));
  }
  GIVEN("mergeable ones, too few, of a driver that gives no more") {
    NetFixture net({.layout = any_layout(), .features = kMergeable});
    REQUIRE(net.ready);
    net.offer_buffer({100});
    net.offer_buffer({100});
    net.network->send(make_frame(400));
    CHECK(net.queues[0].wait_used());
    CHECK(net.queues[0].wait_used());
    CHECK(net.dropped(0, Drop::NoRoom) == 1);
  }
  GIVEN("buffers that nothing can be written into") {
    NetFixture net({.layout = any_layout()});
    REQUIRE(net.ready);
    const std::vector<support::Descriptor> readable{{net.ram.allocate(100), 100}};
    net.queues[0].offer(net.queues[0].link(readable));
    net.queues[0].kick();
    net.network->send(make_frame(60));
    CHECK(net.queues[0].wait_used());
    CHECK(net.dropped(0, Drop::BadChain) == 1);
  }
}

SCENARIO("net: long TCP frames of a peer are cut for a driver that does not do so itself", "[net][virtio-5.1.6.4]") {
  NetFixture net({.cable = true});
  REQUIRE(net.ready);
  constexpr std::size_t kPayload = 2500;
  auto frame =
      support::FrameBuilder().ethernet(kCard, kPeer).ipv4({10, 0, 0, 5}, 6, 20 + kPayload).tcp(kPayload).frame();
  net::Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
  header.gso_size = 1000;
  header.csum_start = 34;
  header.csum_offset = 16;
  const std::uint64_t place = net.offer_buffer({2048});
  net.network->send(frame, header);
  net.network->send(make_frame(100, kPeer, kCard));
  const auto first = net.received(place);
  REQUIRE(first);
  CHECK(first->size() == 1054);
  for (const std::size_t bytes : {std::size_t{1054}, std::size_t{554}, std::size_t{100}}) {
    const auto next = net.received(net.offer_buffer({2048}));
    REQUIRE(next);
    CHECK(next->size() == bytes);
    CHECK(net.last_header.gso_type == 0);
  }
}

SCENARIO("net: a peer on a cable is trusted no more than a guest", "[net][virtio-5.1.6.4]") {
  NetFixture net({.features = kMergeable, .cable = true});
  REQUIRE(net.ready);
  net::Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = 14;
  header.csum_offset = 8;
  GIVEN("a checksum that the driver has not agreed to make: it is made") {
    const std::uint64_t place = net.offer_buffer({2'000});
    Bytes frame =
        support::FrameBuilder().ethernet(kCard, kPeer).bytes({0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0}).frame();
    frame.insert(frame.begin() + 12, 2, std::byte{0x12});
    net.network->send(frame, header);
    const auto got = net.received(place);
    REQUIRE(got);
    CHECK(net.last_header.flags == 0);
    CHECK(std::to_integer<int>((*got)[22]) == 0x22);
  }
  GIVEN("one outside of the frame") {
    header.csum_start = 0xffff;
    net.network->send(make_frame(100), header);
  }
  GIVEN("segments that the driver has not agreed to take") {
    header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    header.gso_size = 100;
    net.network->send(make_frame(1'000), header);
  }
  CHECK(alive(net));
}

SCENARIO("net: a peer that breaks the framing, or goes, takes the link down and nothing else", "[net]") {
  NetFixture net({.features = feature_bit(VIRTIO_NET_F_STATUS)});
  REQUIRE(net.ready);
  REQUIRE(net.status_becomes(VIRTIO_NET_S_LINK_UP));
  GIVEN("a length beyond all frames") {
    const std::uint32_t length = htonl(0x7fffffff);
    net.network->put(std::as_bytes(std::span(&length, 1)));
  }
  GIVEN("the end") {
    net.network->hang_up();
  }
  GIVEN("the end, which a front end that has closed its back channel cannot be told of") {
    auto [ours, theirs] = support::make_stream_pair();
    const int channel = theirs.get();
    REQUIRE(net.front_end->send(static_cast<std::uint32_t>(ipc::vhost_user::Request::SetBackendReqFd), {},
                                std::span(&channel, 1), ipc::vhost_user::kNeedReplyFlag));
    REQUIRE(net.front_end->acknowledged());
    ours = ipc::UniqueFd();
    theirs = ipc::UniqueFd();
    net.network->hang_up();
  }
  CHECK(net.status_becomes(0));
  net.transmit(make_frame(100, kPeer, kCard));
  CHECK(net.transmitted());
  CHECK(net.dropped(1, Drop::LinkDown) == 1);
  net.hang_up();
  CHECK(net.outcome);
}

SCENARIO("net: frames without end that the guest does not get leave others their turn", "[net]") {
  net::Policy none{.vlan_rule = net::VlanRule::Listed};
  NetFixture net({.layout = any_layout(), .endless = 60, .policy = none});
  REQUIRE(net.ready);
  net.transmit(make_frame(60, kPeer, kCard));
  // VLANs hold for what the guest sends too: it comes back, dropped.
  CHECK(net.transmitted());
  CHECK(net.dropped(1, Drop::Vlan) == 1);
  CHECK(net.dropped(0, Drop::Vlan) > 0);
  net.hang_up();
  CHECK(net.outcome);
}

SCENARIO("net: the rest of a frame goes out when there is room, without another behind it", "[net]") {
  for (std::size_t frames = 1; frames <= 10; ++frames) {
    NetFixture net({.queue_size = 16});
    REQUIRE(net.ready);
    for (std::size_t i = 0; i < frames; ++i) net.transmit(make_frame(60'000, kPeer, kCard));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    for (std::size_t i = 0; i < frames; ++i) REQUIRE((net.network->receive() == make_frame(60'000, kPeer, kCard)));
  }
}

SCENARIO("net: a card that goes on where another process left it announces itself", "[net][virtio-5.1.6.5.4]") {
  const std::uint64_t features =
      feature_bit(VIRTIO_NET_F_STATUS) | feature_bit(VIRTIO_NET_F_CTRL_VQ) | feature_bit(VIRTIO_NET_F_GUEST_ANNOUNCE);
  NetFixture net({.features = features});
  REQUIRE(net.ready);
  const std::uint64_t place = net.offer_buffer({2'000});
  net.network->send(make_frame(60));
  REQUIRE(net.received(place));
  REQUIRE(net.status_becomes(VIRTIO_NET_S_LINK_UP));
  const auto base = net.front_end->stop(0);
  REQUIRE(base);
  REQUIRE(net.front_end->start(net.queues[0], 0, *base));
  CHECK(net.status_becomes(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE));
  CHECK(net.command({VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK}) == VIRTIO_NET_OK);
  CHECK(net.status_becomes(VIRTIO_NET_S_LINK_UP));
}

SCENARIO("net: the next front end finds nothing of the last", "[net][vhost-user]") {
  auto device = net::Device::create({}, net::Abilities::Frames, {.mac = kCard});
  REQUIRE(device);
  const auto mtu = [&] {
    virtio_net_config config{};
    std::memcpy(&config, (*device)->config().data(), sizeof config);
    return config.mtu;
  };
  REQUIRE((*device)->set_mtu(9'000));
  CHECK(mtu() == 9'000);
  (*device)->forget_front_end();
  CHECK(mtu() == 1'500);
}

SCENARIO("net: a full stream holds the queue back, and loses nothing", "[net]") {
  NetFixture net({.layout = any_layout(), .queue_size = 256});
  REQUIRE(net.ready);
  constexpr std::size_t kFrames = 100;
  for (std::size_t i = 0; i < kFrames; ++i) net.transmit(make_frame(30'000 + i, kPeer, kCard));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  for (std::size_t i = 0; i < kFrames; ++i) REQUIRE((net.network->receive() == make_frame(30'000 + i, kPeer, kCard)));
  for (std::size_t i = 0; i < kFrames; ++i) REQUIRE(net.transmitted());
}

SCENARIO("net: rings stop and start in the midst of traffic", "[net][vhost-user]") {
  NetFixture net({.layout = any_layout(), .features = kMergeable});
  REQUIRE(net.ready);
  REQUIRE(alive(net));
  net.offer_buffer({100});
  net.network->send(make_frame(400));  // it is begun, and cannot be finished
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  for (const std::uint32_t ring : {0u, 1u}) {
    const auto base = net.front_end->stop(ring);
    REQUIRE(base);
    REQUIRE(net.front_end->start(net.queues[ring], ring, *base));
  }
  const auto announcement = net.network->receive();  // a card that went on somewhere may be in another place now
  REQUIRE(announcement);
  CHECK(net::parse_frame(*announcement)->type == 0x8035);
  CHECK(alive(net));
}

SCENARIO("net: what the guest may not say does not leave", "[net][guard]") {
  NetFixture net({.policy = {.own_mac_only = true}});
  REQUIRE(net.ready);
  net.transmit(make_frame(100, kCard, kPeer));
  REQUIRE(net.transmitted());
  CHECK(net.dropped(1, Drop::SpoofedMac) == 1);
  CHECK(net.network->silent());
  CHECK(alive(net));
}

SCENARIO("net: SEND_RARP tells the network where the card is", "[net][vhost-user]") {
  NetFixture net({.policy = {.own_mac_only = GENERATE(false, true)}});
  REQUIRE(net.ready);
  std::uint64_t mac = 0;
  std::memcpy(&mac, kCard.bytes.data(), kCard.bytes.size());
  REQUIRE(net.front_end->ask(ipc::vhost_user::Request::SendRarp, mac));
  const auto frame = net.network->receive();
  REQUIRE(frame);
  const auto parsed = net::parse_frame(*frame);
  REQUIRE(parsed);
  CHECK(parsed->source == kCard);
  CHECK(parsed->destination.is_broadcast());
  CHECK(parsed->type == 0x8035);
  CHECK_FALSE(net.front_end->ask(ipc::vhost_user::Request::SendRarp, mac | 1));
  std::memcpy(&mac, kPeer.bytes.data(), kPeer.bytes.size());
  CHECK(net.front_end->ask(ipc::vhost_user::Request::SendRarp, mac) == !net.setup.policy.own_mac_only);
  CHECK(net.front_end->ask(ipc::vhost_user::Request::NetSetMtu, std::uint64_t{9'000}));
  for (const std::uint64_t wrong : {67u, 65'536u})
    CHECK_FALSE(net.front_end->ask(ipc::vhost_user::Request::NetSetMtu, wrong));
}
