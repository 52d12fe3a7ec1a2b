// bulkhead-net between a driver and the kernel's own network stack, by a tap in a network of the test's own.
#include <arpa/inet.h>
#include <linux/udp.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "backends/net/checksum.h"
#include "tests/integration/net/served_card.h"
#include "tests/support/catch.h"

using support::Bytes;
using support::kCard;
using support::kPeer;
using virtio::feature_bit;

namespace {

constexpr const char* kTap = "bhtap0";
constexpr std::uint16_t kPort = 2000;
constexpr std::size_t kEthernet = 14;
constexpr std::size_t kUdp = kEthernet + 20;
constexpr std::size_t kPayload = kUdp + 8;
constexpr std::uint64_t kChecksums = feature_bit(VIRTIO_NET_F_CSUM) | feature_bit(VIRTIO_NET_F_GUEST_CSUM);
constexpr std::uint64_t kLongUdp =
    feature_bit(VIRTIO_NET_F_HOST_USO) | feature_bit(VIRTIO_NET_F_GUEST_USO4) | feature_bit(VIRTIO_NET_F_GUEST_USO6);

sockaddr_in address(const char* host, std::uint16_t port) {
  sockaddr_in place{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
  ::inet_pton(AF_INET, host, &place.sin_addr);
  return place;
}

template <class Request>
void put_address(Request& member, const char* host) {
  const sockaddr_in place = address(host, 0);
  std::memcpy(&member, &place, sizeof place);
}

// 10.0.0.1/24 on the tap, whose MAC address is kPeer, and a neighbour 10.0.0.5 with kCard.
bool configure(const ipc::UniqueFd& socket) {
  ifreq request{};
  std::strncpy(request.ifr_name, kTap, sizeof request.ifr_name - 1);
  const auto set = [&](unsigned long what) { return ::ioctl(socket.get(), what, &request) == 0; };
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::ranges::copy(kPeer.bytes, reinterpret_cast<std::uint8_t*>(request.ifr_hwaddr.sa_data));
  bool done = set(SIOCSIFHWADDR);
  put_address(request.ifr_addr, "10.0.0.1");
  done = done && set(SIOCSIFADDR);
  put_address(request.ifr_netmask, "255.255.255.0");
  done = done && set(SIOCSIFNETMASK);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  done = done && set(SIOCSIFFLAGS);
  arpreq neighbour{};
  put_address(neighbour.arp_pa, "10.0.0.5");
  neighbour.arp_ha.sa_family = ARPHRD_ETHER;
  std::ranges::copy(kCard.bytes, reinterpret_cast<std::uint8_t*>(neighbour.arp_ha.sa_data));
  neighbour.arp_flags = ATF_COM | ATF_PERM;
  std::strncpy(neighbour.arp_dev, kTap, sizeof neighbour.arp_dev - 1);
  return done && ::ioctl(socket.get(), SIOCSARP, &neighbour) == 0;
}

// A card on a tap, the driver behind it, and a UDP socket of the host's on port 2000.
struct Tapped : integration::ServedCard {
  // Why there can be none here; empty: there is one.
  std::string start(std::uint64_t wanted) {
    if (::unshare(CLONE_NEWNET) != 0) return "a network of its own needs root";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) return "no /dev/net/tun";
    ServedCard::start({"--tap=" + std::string(kTap)});
    await_service();
    REQUIRE(connect(wanted));
    udp = ipc::UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    REQUIRE(configure(udp));
    const sockaddr_in own = address("10.0.0.1", kPort);
    REQUIRE(::bind(udp.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) == 0);
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(udp.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return offered & feature_bit(VIRTIO_NET_F_HOST_USO) ? "" : "this kernel's taps take no long UDP frames (Linux 6.2)";
  }

  std::uint64_t offer_buffer() {
    constexpr std::uint32_t kBytes = 8192;
    const std::uint64_t place = ram.allocate(kBytes);
    const std::vector<support::Descriptor> parts{{place, kBytes, support::kWrite}};
    queues[0].offer(queues[0].link(parts));
    return place;
  }
  // The payload of the next datagram for the guest from port 2000, of one of `buffers`; other frames are passed over.
  std::size_t datagram_in(std::vector<std::uint64_t>& buffers, net::Header& header) {
    while (const auto used = queues[0].wait_used()) {
      const std::uint64_t place = buffers.front();
      buffers.erase(buffers.begin());
      const auto frame = ram.at(place + sizeof header, used->length - sizeof header);
      if (frame.size() < kPayload || net::word_at(frame, 12) != 0x0800 || net::word_at(frame, kUdp) != kPort) continue;
      header = ram.object<net::Header>(place);
      return frame.size() - kPayload;
    }
    return 0;
  }

  ipc::UniqueFd udp;
};

// A UDP datagram of 10.0.0.5's whose checksum is left to its receiver, as 5.1.6.2 has it.
Bytes make_long_datagram(std::size_t payload) {
  Bytes frame = support::FrameBuilder()
                    .ethernet(kPeer, kCard)
                    .ipv4({10, 0, 0, 5}, IPPROTO_UDP, 8 + payload)
                    .udp(kPort, kPort, payload)
                    .frame();
  const std::span<std::byte> packet(frame);
  net::put_word(packet, kEthernet + 10, net::checksum_of(net::sum_of_words(packet.subspan(kEthernet, 20))));
  const std::uint64_t pseudo = net::sum_of_words(packet.subspan(kEthernet + 12, 8)) + IPPROTO_UDP + 8 + payload;
  net::put_word(packet, kUdp + 6, static_cast<std::uint16_t>(~net::checksum_of(pseudo)));
  return frame;
}

}  // namespace

SCENARIO("net tap: one long UDP frame of the driver's is as many datagrams as it says", "[net-tap][virtio-5.1.6.2]") {
  Tapped net;
  if (const std::string reason = net.start(kChecksums | kLongUdp); !reason.empty()) SKIP_TEST(reason.c_str());
  net::Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
  header.gso_size = 1000;
  header.hdr_len = kPayload;
  header.csum_start = kUdp;
  header.csum_offset = 6;
  REQUIRE(net.transmit(make_long_datagram(2500), header));
  std::array<char, 4096> datagram{};
  for (const ssize_t right : {1000, 1000, 500})
    CHECK(::recv(net.udp.get(), datagram.data(), datagram.size(), 0) == right);
}

SCENARIO("net tap: what the host sends as one is one for a driver that takes it so, and cut for others",
         "[net-tap][virtio-5.1.6.4]") {
  const bool taken = GENERATE(true, false);
  Tapped net;
  if (const std::string reason = net.start(taken ? kChecksums | kLongUdp : kChecksums); !reason.empty())
    SKIP_TEST(reason.c_str());
  std::vector<std::uint64_t> buffers;
  for (int i = 0; i < 32; ++i) buffers.push_back(net.offer_buffer());
  net.queues[0].kick();
  const int segment = 1000;
  REQUIRE(::setsockopt(net.udp.get(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
  const sockaddr_in guest = address("10.0.0.5", kPort);
  const Bytes sent(2500);
  REQUIRE(::sendto(net.udp.get(), sent.data(), sent.size(), 0, reinterpret_cast<const sockaddr*>(&guest),
                   sizeof guest) == 2500);
  net::Header header{};
  if (taken) {
    CHECK(net.datagram_in(buffers, header) == 2500);
    CHECK(header.gso_type == VIRTIO_NET_HDR_GSO_UDP_L4);
    CHECK(header.gso_size == 1000);
  } else {
    for (const std::size_t right : {1000u, 1000u, 500u}) {
      CHECK(net.datagram_in(buffers, header) == right);
      CHECK(header.gso_type == VIRTIO_NET_HDR_GSO_NONE);
    }
  }
}
