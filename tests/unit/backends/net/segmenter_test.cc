#include "backends/net/segmenter.h"

#include <algorithm>

#include "backends/net/checksum.h"
#include "tests/support/catch.h"
#include "tests/support/frames.h"

using net::byte_at;
using net::Header;
using net::Incoming;
using net::word_at;
using support::FrameBuilder;

namespace {

constexpr net::EthernetAddress kTo{{0x52, 0x54, 0, 1, 2, 3}};
constexpr net::EthernetAddress kFrom{{0x52, 0x54, 0, 9, 9, 9}};
constexpr std::array<std::uint8_t, 16> kSource{0xfd};
constexpr std::uint8_t kTcp = 6;

// A TCP frame whose payload counts, with FIN, PSH, ACK and CWR, sequence number 0xfffffff0.
struct Long {
  Long(bool ipv6, std::size_t payload, std::uint16_t segment) : ip(14), tcp(ipv6 ? 54 : 34) {
    FrameBuilder builder = FrameBuilder().ethernet(kTo, kFrom);
    frame = (ipv6 ? builder.ipv6(kSource, kTcp, 20 + payload) : builder.ipv4({10, 0, 0, 5}, kTcp, 20 + payload))
                .tcp(payload)
                .frame();
    for (std::size_t i = 0; i < 3; ++i) frame[tcp + 4 + i] = std::byte{0xff};
    frame[tcp + 7] = std::byte{0xf0};
    frame[tcp + 13] = std::byte{0x99};
    for (std::size_t i = 0; i < payload; ++i) frame[tcp + 20 + i] = static_cast<std::byte>(i * 7);
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.gso_type = ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    header.gso_size = segment;
    header.hdr_len = static_cast<std::uint16_t>(tcp + 20);
    header.csum_start = static_cast<std::uint16_t>(tcp);
    header.csum_offset = 16;
  }
  Incoming incoming() { return {.header = header, .frame = frame}; }

  std::size_t ip, tcp;
  std::vector<std::byte> frame;
  Header header{};
};

// RFC 1071: with its checksum in it, what is covered sums up to all ones.
std::uint16_t sum(std::span<const std::byte> bytes, std::uint64_t start = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i)
    start += std::to_integer<std::uint64_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (start >> 16 != 0) start = (start & 0xffff) + (start >> 16);
  return static_cast<std::uint16_t>(start);
}

}  // namespace

SCENARIO("segmenter: a long TCP frame becomes those that it is meant to be", "[net][segmenter][virtio-5.1.6.2]") {
  const bool ipv6 = GENERATE(false, true);
  const std::size_t payload = GENERATE(std::size_t{3000}, std::size_t{2000}, std::size_t{999}, std::size_t{2001});
  Long whole(ipv6, payload, 1000);
  net::Segmenter segmenter;
  REQUIRE(segmenter.begin(whole.incoming()));
  std::vector<std::byte> together;
  std::size_t number = 0;
  while (const auto segment = segmenter.next()) {
    const std::span<std::byte> frame = segment->frame;
    INFO("segment " << number);
    CHECK(segment->header.flags == 0);
    CHECK(segment->header.gso_type == 0);
    const std::size_t own = frame.size() - whole.tcp - 20;
    const bool last = together.size() + own == payload;
    CHECK((last || own == 1000));
    if (ipv6) {
      CHECK(word_at(frame, whole.ip + 4) == frame.size() - whole.tcp);
      CHECK(sum(frame.subspan(whole.tcp), sum(frame.subspan(whole.ip + 8, 32)) + kTcp + frame.size() - whole.tcp) ==
            0xffff);
    } else {
      CHECK(word_at(frame, whole.ip + 2) == frame.size() - whole.ip);
      CHECK(word_at(frame, whole.ip + 4) == 1 + number);
      CHECK(sum(frame.subspan(whole.ip, 20)) == 0xffff);
      CHECK(sum(frame.subspan(whole.tcp), sum(frame.subspan(whole.ip + 12, 8)) + kTcp + frame.size() - whole.tcp) ==
            0xffff);
    }
    const auto sequence = static_cast<std::uint32_t>(0xfffffff0u + together.size());
    CHECK(word_at(frame, whole.tcp + 4) == sequence >> 16);
    CHECK(word_at(frame, whole.tcp + 6) == (sequence & 0xffff));
    // CWR in the first alone, FIN and PSH in the last.
    CHECK(byte_at(frame, whole.tcp + 13) == ((number == 0 ? 0x80 : 0) | 0x10 | (last ? 0x09 : 0)));
    together.insert(together.end(), frame.begin() + static_cast<std::ptrdiff_t>(whole.tcp + 20), frame.end());
    ++number;
  }
  CHECK(number == (payload + 999) / 1000);
  CHECK(std::ranges::equal(together, std::span(whole.frame).subspan(whole.tcp + 20)));
}

SCENARIO("segmenter: what cannot be cut is not", "[net][segmenter]") {
  net::Segmenter segmenter;
  Long whole(false, 3000, 1000);
  GIVEN("segments so small that one frame would be thousands") {
    whole.header.gso_size = 63;
  }
  GIVEN("a length beyond the frame") {
    whole.frame[whole.ip + 2] = std::byte{0xff};
  }
  GIVEN("a length that cuts its own headers off") {
    whole.frame[whole.ip + 2] = std::byte{0};
    whole.frame[whole.ip + 3] = std::byte{30};
  }
  GIVEN("nothing behind the headers") {
    whole.frame.resize(whole.header.hdr_len);
  }
  CHECK_FALSE(segmenter.begin(whole.incoming()));
  CHECK_FALSE(segmenter.next());
}

SCENARIO("segmenter: a length field of 0 says nothing, any other is taken at its word", "[net][segmenter]") {
  Long whole(GENERATE(false, true), 3000, 1000);
  const std::size_t field = whole.ip + (whole.tcp == 34 ? 2 : 4);
  net::Segmenter segmenter;
  GIVEN("0, as Linux writes for packets beyond 64 KiB") {
    net::put_word(whole.frame, field, 0);
    REQUIRE(segmenter.begin(whole.incoming()));
    std::size_t payload = 0;
    while (const auto segment = segmenter.next()) payload += segment->frame.size() - whole.tcp - 20;
    CHECK(payload == 3000);
  }
  // No segment has data then: 40 bytes are all that IPv4 says there is; of IPv6 they begin behind its header.
  GIVEN("40, which are the headers alone") {
    net::put_word(whole.frame, field, whole.tcp == 34 ? 40 : 20);
    CHECK_FALSE(segmenter.begin(whole.incoming()));
  }
}

SCENARIO("segmenter: padding behind a packet is none of it", "[net][segmenter]") {
  Long whole(false, 100, 1000);
  whole.frame.resize(whole.frame.size() + 7);
  net::Segmenter segmenter;
  REQUIRE(segmenter.begin(whole.incoming()));
  const auto segment = segmenter.next();
  REQUIRE(segment);
  CHECK(segment->frame.size() == whole.tcp + 20 + 100);
  CHECK_FALSE(segmenter.next());
}
