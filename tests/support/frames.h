// Ethernet frames for tests, put together piece by piece. Header-only; asserts nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "backends/net/ethernet.h"

namespace support {

class FrameBuilder {
 public:
  FrameBuilder& bytes(std::span<const std::uint8_t> more) {
    for (const std::uint8_t byte : more) frame_.push_back(static_cast<std::byte>(byte));
    return *this;
  }
  FrameBuilder& bytes(std::initializer_list<std::uint8_t> more) { return bytes(std::span(more.begin(), more.size())); }
  FrameBuilder& word(std::uint16_t value) {
    return bytes({static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)});
  }
  FrameBuilder& zeros(std::size_t count) {
    frame_.resize(frame_.size() + count);
    return *this;
  }

  FrameBuilder& ethernet(const net::EthernetAddress& to, const net::EthernetAddress& from) {
    return bytes(to.bytes).bytes(from.bytes);
  }
  FrameBuilder& vlan(std::uint16_t id, std::uint16_t kind = 0x8100) { return word(kind).word(id); }
  FrameBuilder& arp(const net::EthernetAddress& sender, std::initializer_list<std::uint8_t> sender_ip) {
    return word(0x0806).word(1).word(0x0800).bytes({6, 4}).word(1).bytes(sender.bytes).bytes(sender_ip).zeros(10);
  }
  // A header without options, and what follows it.
  FrameBuilder& ipv4(std::initializer_list<std::uint8_t> source, std::uint8_t protocol, std::size_t payload = 0,
                     std::uint16_t fragment = 0) {
    return word(0x0800)
        .bytes({0x45, 0})
        .word(static_cast<std::uint16_t>(20 + payload))
        .word(1)
        .word(fragment)
        .bytes({64, protocol, 0, 0})
        .bytes(source)
        .bytes({10, 0, 0, 1});
  }
  FrameBuilder& ipv6(std::span<const std::uint8_t, 16> source, std::uint8_t next, std::size_t payload) {
    return word(0x86dd)
        .bytes({0x60, 0, 0, 0})
        .word(static_cast<std::uint16_t>(payload))
        .bytes({next, 255})
        .bytes(source)
        .bytes({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  }
  FrameBuilder& udp(std::uint16_t source, std::uint16_t destination, std::size_t payload = 0) {
    return word(source).word(destination).word(static_cast<std::uint16_t>(8 + payload)).word(0).zeros(payload);
  }
  FrameBuilder& tcp(std::size_t payload) {
    return word(1000).word(2000).zeros(8).bytes({0x50, 0x10}).zeros(6).zeros(payload);
  }

  const std::vector<std::byte>& frame() const { return frame_; }
  operator std::span<const std::byte>() const { return frame_; }

 private:
  std::vector<std::byte> frame_;
};

}  // namespace support
