// The virtio-net header at all its corners (virtio 1.2, 5.1.6.2): what leaves the check points nowhere but into the
// frame, and asks for nothing that was not agreed.
#include "backends/net/offload.h"

#include "tests/support/catch.h"
#include "tests/support/frames.h"

using net::check_header;
using net::Drop;
using net::Header;
using net::Offloads;
using support::FrameBuilder;

namespace {

constexpr net::EthernetAddress kTo{{0x52, 0x54, 0, 1, 2, 3}};
constexpr net::EthernetAddress kFrom{{0x52, 0x54, 0, 1, 2, 4}};
constexpr Offloads kAll{
    .checksum = true, .tso4 = true, .tso6 = true, .ecn = true, .ufo = true, .uso4 = true, .uso6 = true};
constexpr std::array<std::uint8_t, 16> kSource{0xfd};
constexpr std::uint8_t kTcp = 6;
constexpr std::size_t kStart4 = 14 + 20;
constexpr std::size_t kStart6 = 14 + 40;

FrameBuilder tcp4(std::size_t payload = 3000) {
  return FrameBuilder().ethernet(kTo, kFrom).ipv4({10, 0, 0, 5}, kTcp, 20 + payload).tcp(payload);
}
FrameBuilder tcp6(std::size_t payload = 3000) {
  return FrameBuilder().ethernet(kTo, kFrom).ipv6(kSource, kTcp, 20 + payload).tcp(payload);
}

Header checksum(std::size_t start, std::size_t offset) {
  Header header{};
  header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
  header.csum_start = static_cast<std::uint16_t>(start);
  header.csum_offset = static_cast<std::uint16_t>(offset);
  return header;
}
Header segments(std::uint8_t type, std::size_t start) {
  Header header = checksum(start, 16);
  header.gso_type = type;
  header.gso_size = 1448;
  return header;
}

std::expected<Header, Drop> check(const Header& header, const FrameBuilder& frame, const Offloads& agreed = kAll) {
  const auto& bytes = frame.frame();
  return check_header(header, agreed, std::span(bytes).first(std::min(bytes.size(), net::kHeadBytes)), bytes.size());
}
bool refused(const std::expected<Header, Drop>& result, Drop why = Drop::BadHeader) {
  return !result && result.error() == why;
}

}  // namespace

SCENARIO("net header: a plain frame needs none", "[net][header][virtio-5.1.6.2]") {
  const auto checked = check(Header{}, tcp4());
  REQUIRE(checked);
  CHECK(checked->flags == 0);
  Header odd{};
  odd.flags = 0xfe;  // DATA_VALID and what is not defined: not the driver's to say
  odd.hdr_len = 0xffff;
  odd.num_buffers = 0xffff;
  const auto cleaned = check(odd, tcp4());
  REQUIRE(cleaned);
  CHECK(cleaned->flags == 0);
  CHECK(cleaned->hdr_len == 0);
  CHECK(cleaned->num_buffers == 0);
}

SCENARIO("net header: a checksum lies in the frame (CVE-2024-11614)", "[net][header][security-11]") {
  const std::size_t bytes = tcp4().frame().size();
  CHECK(check(checksum(kStart4, 16), tcp4()));
  CHECK(check(checksum(14, 0), tcp4()));
  CHECK(check(checksum(bytes - 2, 0), tcp4()));
  CHECK(check(checksum(14, bytes - 16), tcp4()));
  CHECK(refused(check(checksum(13, 0), tcp4())));
  CHECK(refused(check(checksum(bytes - 1, 0), tcp4())));
  CHECK(refused(check(checksum(14, bytes - 15), tcp4())));
  CHECK(refused(check(checksum(0xffff, 0xffff), tcp4())));
  CHECK(refused(check(checksum(0, 0xffff), tcp4())));
  CHECK(refused(check(checksum(kStart4, 16), tcp4(), {}), Drop::NoOffload));
}

SCENARIO("net header: segments are what the frame is, and what was agreed", "[net][header][virtio-5.1.6.2]") {
  const auto checked = check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4), tcp4());
  REQUIRE(checked);
  CHECK(checked->hdr_len == kStart4 + 20);
  CHECK(checked->gso_size == 1448);
  CHECK(check(segments(VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, kStart4), tcp4()));
  CHECK(check(segments(VIRTIO_NET_HDR_GSO_TCPV6, kStart6), tcp6()));
  GIVEN("what was not agreed") {
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4), tcp4(), {.checksum = true, .tso6 = true}),
                  Drop::NoOffload));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV6, kStart6), tcp6(), {.checksum = true, .tso4 = true}),
                  Drop::NoOffload));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, kStart4), tcp4(),
                        {.checksum = true, .tso4 = true}),
                  Drop::NoOffload));
  }
  GIVEN("another protocol than it says") {
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV6, kStart4), tcp4())));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart6), tcp6())));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_UDP, kStart4), tcp4())));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4), FrameBuilder().ethernet(kTo, kFrom).zeros(200))));
  }
  GIVEN("no size, no checksum, no such type") {
    Header header = segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4);
    header.gso_size = 0;
    CHECK(refused(check(header, tcp4())));
    header = segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4);
    header.flags = 0;
    CHECK(refused(check(header, tcp4())));
    for (const std::uint8_t type : {2, 6, 0x7f, 0x80}) CHECK(refused(check(segments(type, kStart4), tcp4())));
  }
  GIVEN("headers that are not where it says, or cut off") {
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4 + 2), tcp4())));
    CHECK(refused(check(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4),
                        FrameBuilder().ethernet(kTo, kFrom).ipv4({1, 2, 3, 4}, kTcp).zeros(18))));
    auto short_header = tcp4().frame();
    short_header[kStart4 + 12] = std::byte{0x40};  // a TCP header of 16 bytes
    CHECK_FALSE(check_header(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4), kAll, std::span(short_header).first(256),
                             short_header.size()));
    auto long_header = tcp4(4).frame();
    long_header[kStart4 + 12] = std::byte{0xf0};  // of 60, of which 24 are there
    CHECK_FALSE(check_header(segments(VIRTIO_NET_HDR_GSO_TCPV4, kStart4), kAll, long_header, long_header.size()));
  }
}

SCENARIO("net header: no header makes the check read or say what is not in the frame", "[net][header]") {
  // All headers of a small field space against frames cut anywhere.
  const auto whole = tcp4(100).frame();
  for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    const auto frame = std::span(whole).first(bytes);
    for (const std::size_t start : {std::size_t{0}, kStart4, bytes, std::size_t{0xffff}}) {
      for (const std::uint8_t type : {0, 1, 3, 4, 5, 0x81, 0xff}) {
        const auto checked =
            check_header(segments(type, start), kAll, frame.first(std::min(bytes, net::kHeadBytes)), bytes);
        if (!checked) continue;
        REQUIRE(std::size_t{checked->csum_start} + checked->csum_offset + 2 <= bytes);
        REQUIRE(checked->hdr_len <= bytes);
      }
    }
  }
}

SCENARIO("net header: a checksum is made where nobody else makes it (RFC 1071)", "[net][header]") {
  // The example of RFC 1071, 3: the sum of 00 01 f2 03 f4 f5 f6 f7 is ddf2, its complement 220d.
  const std::size_t odd = GENERATE(std::size_t{0}, std::size_t{1});
  std::vector<std::byte> frame(14);
  for (const int byte : {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7, 0, 0})
    frame.push_back(static_cast<std::byte>(byte));
  frame.resize(frame.size() + odd);
  net::complete_checksum(checksum(14, 8), frame);
  CHECK(std::to_integer<int>(frame[22]) == 0x22);
  CHECK(std::to_integer<int>(frame[23]) == 0x0d);
}
