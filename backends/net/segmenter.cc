#include "backends/net/segmenter.h"

#include <algorithm>

#include "backends/net/checksum.h"

namespace net {
namespace {

// RFC 791, 8200, 9293.
constexpr std::size_t kIpv4TotalLength = 2;
constexpr std::size_t kIpv4Identification = 4;
constexpr std::size_t kIpv4Checksum = 10;
constexpr std::size_t kIpv4Addresses = 12;
constexpr std::size_t kIpv6PayloadLength = 4;
constexpr std::size_t kIpv6Addresses = 8;
constexpr std::size_t kIpv6Bytes = 40;
constexpr std::size_t kTcpSequence = 4;
constexpr std::size_t kTcpFlags = 13;
constexpr std::size_t kTcpChecksum = 16;
constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kPush = 0x08;
constexpr std::uint8_t kCwr = 0x80;
constexpr std::uint8_t kTcp = 6;

std::uint32_t long_at(Head bytes, std::size_t offset) {
  return std::uint32_t{word_at(bytes, offset)} << 16 | word_at(bytes, offset + 2);
}

}  // namespace

bool Segmenter::begin(const Incoming& whole) {
  forget();
  const std::span<const std::byte> frame = whole.frame;
  const std::size_t headers = whole.header.hdr_len;
  const auto parsed = parse_frame(frame.first(std::min(frame.size(), kHeadBytes)));
  if (!parsed || whole.header.gso_size < kLeastSegment || headers > kHeadBytes) return false;
  ip_ = parsed->payload;
  tcp_ = whole.header.csum_start;
  ipv6_ = parsed->type == kEtherIpv6;
  // The type of its addresses that a routing header changes is not looked for.
  if (ipv6_ && tcp_ != ip_ + kIpv6Bytes) return false;
  headers_ = frame.first(headers);
  payload_ = frame.subspan(headers);
  // Padding behind the packet is none of its payload. A length of 0 is what Linux writes for packets beyond 64 KiB.
  const std::size_t length = word_at(headers_, ip_ + (ipv6_ ? kIpv6PayloadLength : kIpv4TotalLength));
  if (length != 0) {
    const std::size_t said = ipv6_ ? kIpv6Bytes + length : length;
    if (said < headers - ip_ || said - (headers - ip_) > payload_.size()) return false;
    payload_ = payload_.first(said - (headers - ip_));
  }
  step_ = whole.header.gso_size;
  left_ = payload_;
  return !left_.empty();
}

std::optional<Incoming> Segmenter::next() {
  if (left_.empty()) return std::nullopt;
  const bool first = left_.size() == payload_.size();
  const std::size_t bytes = std::min(step_, left_.size());
  const bool last = bytes == left_.size();
  const std::span<std::byte> segment = std::span(segment_).first(headers_.size() + bytes);
  std::ranges::copy(headers_, segment.begin());
  std::ranges::copy(left_.first(bytes), segment.begin() + static_cast<std::ptrdiff_t>(headers_.size()));
  finish_ip(segment);
  finish_tcp(segment, first, last);
  left_ = left_.subspan(bytes);
  return Incoming{.header = {}, .frame = segment};
}

void Segmenter::finish_ip(std::span<std::byte> segment) const {
  const std::size_t packet = segment.size() - ip_;
  if (ipv6_) return put_word(segment, ip_ + kIpv6PayloadLength, packet - kIpv6Bytes);
  const std::size_t number = (payload_.size() - left_.size()) / step_;
  put_word(segment, ip_ + kIpv4TotalLength, packet);
  put_word(segment, ip_ + kIpv4Identification, word_at(headers_, ip_ + kIpv4Identification) + number);
  put_word(segment, ip_ + kIpv4Checksum, 0);
  put_word(segment, ip_ + kIpv4Checksum, checksum_of(sum_of_words(segment.subspan(ip_, tcp_ - ip_))));
}

void Segmenter::finish_tcp(std::span<std::byte> segment, bool first, bool last) const {
  const std::uint32_t sequence =
      long_at(headers_, tcp_ + kTcpSequence) + static_cast<std::uint32_t>(payload_.size() - left_.size());
  put_word(segment, tcp_ + kTcpSequence, sequence >> 16);
  put_word(segment, tcp_ + kTcpSequence + 2, sequence);
  // RFC 3168, 6.1.2: one segment alone tells that the window was reduced.
  auto flags = byte_at(segment, tcp_ + kTcpFlags);
  if (!last) flags &= static_cast<std::uint8_t>(~(kFin | kPush));
  if (!first) flags &= static_cast<std::uint8_t>(~kCwr);
  segment[tcp_ + kTcpFlags] = std::byte{flags};

  const std::span<const std::byte> addresses =
      ipv6_ ? segment.subspan(ip_ + kIpv6Addresses, 32) : segment.subspan(ip_ + kIpv4Addresses, 8);
  const std::size_t length = segment.size() - tcp_;
  put_word(segment, tcp_ + kTcpChecksum, 0);
  put_word(segment, tcp_ + kTcpChecksum,
           checksum_of(sum_of_words(addresses) + kTcp + length + sum_of_words(segment.subspan(tcp_))));
}

}  // namespace net
